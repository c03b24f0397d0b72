//! How many requests of one server run at once: one peer must not use all of this server.

use std::{collections::HashMap, sync::Arc};

use base::{Error, Reply};
use parking_lot::Mutex;
use ruma::OwnedServerName;

/// Requests of one server at once. Transactions come one after another; the rest is questions.
const AT_ONCE_MAX: usize = 32;
/// After this a server may ask again, in milliseconds.
const RETRY_MS: u64 = 500;

/// The requests that run, by server.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<OwnedServerName, usize>>>);

/// A request that runs, until it is dropped.
pub(crate) struct Turn {
    turns: Turns,
    server: OwnedServerName,
}

impl Turns {
    /// One more request of a server.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`.
    pub(crate) fn take(&self, server: &OwnedServerName) -> Reply<Turn> {
        let mut running = self.0.lock();
        let count = running.entry(server.clone()).or_default();
        if *count >= AT_ONCE_MAX {
            let text = format!("more than {AT_ONCE_MAX} requests of your server at once");
            let mut no = Error::refusal(429, "M_LIMIT_EXCEEDED", text);
            no.retry_after_ms = Some(RETRY_MS);
            return Err(no.into());
        }
        *count += 1;
        Ok(Turn { turns: self.clone(), server: server.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.turns.0.lock();
        if let Some(count) = running.get_mut(&self.server) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn a_server_has_its_turns_and_others_have_theirs() {
        let (turns, a) = (Turns::default(), server_name!("a.example").to_owned());
        let mut taken: Vec<Turn> = (0..AT_ONCE_MAX).map(|_| turns.take(&a).unwrap()).collect();
        let Err(Error::Refused(no)) = turns.take(&a) else { panic!() };
        assert_eq!((no.status, no.errcode), (429, "M_LIMIT_EXCEEDED"));
        assert!(turns.take(&server_name!("b.example").to_owned()).is_ok());
        taken.pop();
        taken.push(turns.take(&a).unwrap());
        drop(taken);
        assert!(turns.0.lock().is_empty());
    }
}
