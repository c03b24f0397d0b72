//! Takes note of which devices are in use: in memory at each request, in the store every few minutes.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use base::User;
use parking_lot::Mutex;
use store::Store;
use tokio::runtime::Handle;

use crate::{handler::Caller, outside::ClientInfo};

/// A device's last use is written down this often.
const EVERY: Duration = Duration::from_secs(300);
/// Devices remembered, 40 bytes each. When there are more, all are forgotten, which costs some early writes.
const DEVICES_MAX: usize = 100_000;

#[derive(Default)]
pub(crate) struct Seen {
    hasher: RandomState,
    last: Mutex<HashMap<u64, Instant>>,
}

impl Seen {
    /// Notes that this device is in use. Never waits.
    pub(crate) fn note(&self, store: &Store, tasks: &Handle, caller: &Caller, client: &ClientInfo) {
        if !self.is_due(caller.user, &caller.device, Instant::now()) {
            return;
        }
        let (user, device) = (caller.user, caller.device.clone());
        let (ip, agent) = (client.ip.to_string(), client.agent.clone());
        let store = store.clone();
        tasks.spawn(async move {
            let note = store
                .write(None, move |tx| accounts::session::note(tx, user, &device, &ip, &agent))
                .await;
            if let Err(error) = note {
                tracing::warn!(%error, "cannot note the use of a device");
            }
        });
    }

    fn is_due(&self, user: User, device: &str, now: Instant) -> bool {
        let key = self.hasher.hash_one((user, device));
        let mut last = self.last.lock();
        match last.get(&key) {
            Some(at) if now.duration_since(*at) < EVERY => false,
            _ => {
                if last.len() >= DEVICES_MAX {
                    last.clear();
                }
                last.insert(key, now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_due_once_per_interval() {
        let (seen, now) = (Seen::default(), Instant::now());
        assert!(seen.is_due(User(1), "A", now));
        assert!(!seen.is_due(User(1), "A", now + EVERY / 2));
        assert!(seen.is_due(User(1), "B", now));
        assert!(seen.is_due(User(1), "A", now + EVERY));
    }
}
