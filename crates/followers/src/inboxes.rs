//! How many messages wait for devices: counted by a slow walk over all inboxes, as a figure for the operator. A message too
//! many or too few, for what came or went while it walked, does not matter.

use std::time::Duration;

use base::{Reply, Seq, User};
use store::{Store, inbox};
use tokio::sync::watch;

/// Messages looked at in one step.
const STEP: usize = 1_000;
/// Between two steps.
const EVERY: Duration = Duration::from_secs(1);
/// Between two walks.
const REST: Duration = Duration::from_secs(30);

/// What a walk has counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Walk {
    last: Option<(User, String, Seq)>,
    all: u64,
    /// For the device of `last`.
    here: u64,
    deepest: u64,
}

impl Walk {
    /// Counts on. Says no at the end.
    async fn step(&mut self, store: &Store) -> Reply<bool> {
        let after = self.last.clone();
        let places = store.read(move |view| inbox::walk(view, after, STEP)).await?;
        let more = places.len() == STEP;
        for place in places {
            let same = self.last.as_ref().is_some_and(|(user, device, _)| {
                (*user, device.as_str()) == (place.0, place.1.as_str())
            });
            self.here = if same { self.here + 1 } else { 1 };
            self.deepest = self.deepest.max(self.here);
            self.all += 1;
            self.last = Some(place);
        }
        Ok(more)
    }
}

/// Counts until `stop` turns true.
pub async fn run(store: Store, mut stop: watch::Receiver<bool>) {
    let mut walk = Walk::default();
    while !*stop.borrow() {
        let pause = match walk.step(&store).await {
            Ok(true) => EVERY,
            Ok(false) => {
                metrics::gauge!("althing_to_device_waiting").set(walk.all as f64);
                metrics::gauge!("althing_to_device_deepest").set(walk.deepest as f64);
                walk = Walk::default();
                REST
            }
            Err(error) => {
                tracing::error!(%error, "messages that wait are not counted");
                REST
            }
        };
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::Options;

    use super::*;

    #[tokio::test]
    async fn the_deepest_inbox_is_found_across_the_steps_of_a_walk() {
        let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
        let options = Options::new("x.org".try_into().unwrap(), Arc::new(key));
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        let fill = |user, device: &'static str, many| {
            let put = move |tx: &mut store::Tx| {
                (0..many).for_each(|_| inbox::put(tx, User(user), device, "{}"));
                Ok(())
            };
            store.write_here(put).unwrap();
        };
        fill(1, "A", 990);
        fill(1, "B", 1_200);
        fill(2, "A", 3);
        let mut walk = Walk::default();
        while walk.step(&store).await.unwrap() {}
        assert_eq!((walk.all, walk.deepest), (2_193, 1_200));
    }
}
