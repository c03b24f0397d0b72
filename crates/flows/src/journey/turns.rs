//! One at a time: who comes second to a key waits for the first, and then looks what that one left to do.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// From so many keys on, those that nobody holds are forgotten.
const KEYS_KEPT: usize = 1_000;

/// Turns by key.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<Turn<()>>>>);

impl Turns {
    /// Waits until nobody else has the key.
    pub(super) async fn take(&self, key: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            if turns.len() >= KEYS_KEPT {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            match turns.get(key).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    let turn = Arc::new(Turn::new(()));
                    turns.insert(key.to_owned(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }

    /// Has somebody the key now?
    pub(super) fn is_taken(&self, key: &str) -> bool {
        let turn = self.0.lock().get(key).and_then(Weak::upgrade);
        turn.is_some_and(|turn| turn.try_lock().is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_second_waits_and_others_do_not() {
        let turns = Turns::default();
        assert!(!turns.is_taken("a"));
        let first = turns.take("a").await;
        assert!(turns.is_taken("a"));
        let _other = turns.take("b").await;
        let second = tokio::time::timeout(std::time::Duration::from_secs(1), turns.take("a"));
        assert!(second.await.is_err());
        drop(first);
        turns.take("a").await;
    }
}
