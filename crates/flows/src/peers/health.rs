//! Which servers rest: those that could not be reached, until their time has come. In memory only; after a start, each is
//! asked once.
//!
//! The first rest is a second, each further one twice as long, up to an hour, less a random part of up to a half. One
//! answer ends it, and so does a request of that server. Failures of requests that were under way together count once.

use std::collections::HashMap;

use base::UnixMs;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};

const REST_FIRST_MS: u64 = 1_000;
const REST_MAX_MS: u64 = 3_600_000;
/// Servers that are remembered. Beyond, those whose rest is over are forgotten first.
const REMEMBERED_MAX: usize = 20_000;

#[derive(Clone, Copy)]
struct Rest {
    failures: u32,
    /// The last failure that counted.
    failed_at: UnixMs,
    until: UnixMs,
}

#[derive(Default)]
pub(super) struct Health(Mutex<HashMap<OwnedServerName, Rest>>);

impl Health {
    /// Until when a server rests, if it does.
    pub(super) fn rests(&self, server: &ServerName, now: UnixMs) -> Option<UnixMs> {
        self.0.lock().get(server).map(|rest| rest.until).filter(|until| now < *until)
    }

    /// A request that began then has failed. `roll`: any number, from which the random part follows.
    pub(super) fn failed(&self, server: &ServerName, began: UnixMs, now: UnixMs, roll: u64) {
        let mut all = self.0.lock();
        let before = all.get(server).copied();
        // It was under way when an earlier failure was counted, or somebody insisted during the rest.
        if before.is_some_and(|rest| began <= rest.failed_at || began < rest.until) {
            return;
        }
        if before.is_none() && all.len() >= REMEMBERED_MAX {
            all.retain(|_, rest| now < rest.until);
            if all.len() >= REMEMBERED_MAX {
                return;
            }
        }
        let failures = before.map_or(0, |rest| rest.failures).saturating_add(1);
        let longest = REST_FIRST_MS.saturating_mul(1 << (failures - 1).min(20)).min(REST_MAX_MS);
        let length = longest / 2 + roll % (longest - longest / 2 + 1);
        let rest = Rest { failures, failed_at: now, until: UnixMs(now.0.saturating_add(length)) };
        all.insert(server.to_owned(), rest);
    }

    /// It has answered, or speaks to us. Says whether it was thought to be away.
    pub(super) fn is_there(&self, server: &ServerName) -> bool {
        let mut all = self.0.lock();
        // Nearly always nothing is remembered.
        !all.is_empty() && all.remove(server).is_some()
    }

    /// How many rest.
    pub(super) fn resting(&self, now: UnixMs) -> usize {
        self.0.lock().values().filter(|rest| now < rest.until).count()
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn rests_grow_with_each_failure_and_end_with_an_answer() {
        let (health, a) = (Health::default(), server_name!("a.example"));
        let mut now = UnixMs(1_000_000);
        let mut lengths = Vec::new();
        for _ in 0..20 {
            health.failed(a, now, now, rand::random());
            let until = health.rests(a, now).unwrap();
            lengths.push(until.0 - now.0);
            assert_eq!(health.rests(a, until), None);
            now = until;
        }
        for (n, length) in lengths.iter().enumerate() {
            let longest = (1_000 << n.min(12)).min(3_600_000);
            assert!((longest / 2..=longest).contains(length), "{n}: {length}");
        }
        assert!(health.is_there(a));
        assert!(!health.is_there(a));
        health.failed(a, now, now, rand::random());
        assert!(health.rests(a, now).unwrap().0 <= now.0 + 1_000);
    }

    #[test]
    fn failures_of_what_was_under_way_together_count_once() {
        let (health, a) = (Health::default(), server_name!("a.example"));
        let (began, now) = (UnixMs(1_000), UnixMs(9_000));
        for _ in 0..16 {
            health.failed(a, began, now, rand::random());
        }
        let until = health.rests(a, now).unwrap();
        assert!(until.0 <= now.0 + 1_000);
        // Nor does insisting make it longer.
        health.failed(a, UnixMs(now.0 + 1), UnixMs(now.0 + 2), rand::random());
        assert_eq!(health.rests(a, now), Some(until));
        assert_eq!(health.resting(now), 1);
        assert_eq!(health.resting(until), 0);
    }
}
