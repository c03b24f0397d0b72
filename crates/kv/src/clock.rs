//! When each owner last changed, as far as this process has seen.
//!
//! It serves two masters: the conflict check of engines with a single committer, and the store's cache of decoded
//! values, whose entries are right as long as their owner has not changed since.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::{Owner, Version};

/// Bounded memory of changes. An owner that is not in it changed at or before the floor.
#[derive(Default)]
pub struct Clock {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    changed: HashMap<Owner, Version>,
    floor: Version,
    /// Everything up to here has been noted.
    seen: Version,
}

/// Owners remembered before the oldest half is forgotten: 1 M owners ≈ 40 MiB would be too much for a
/// small server, 64 Ki ≈ 2.5 MiB are more than change between a snapshot and its commit.
const OWNERS_MAX: usize = 65_536;

impl Clock {
    /// Starts at a version before which nothing is known.
    pub fn start(&self, at: Version) {
        let mut inner = self.inner.write();
        inner.changed.clear();
        inner.floor = at;
        inner.seen = at;
    }

    /// Notes that a commit changed these owners. Versions arrive in order.
    pub fn note(&self, version: Version, owners: impl IntoIterator<Item = Owner>) {
        let mut inner = self.inner.write();
        for owner in owners {
            inner.changed.insert(owner, version);
        }
        inner.seen = inner.seen.max(version);
        if inner.changed.len() > OWNERS_MAX {
            inner.forget_older_half();
        }
    }

    /// Up to which commit changes have been noted.
    pub fn seen(&self) -> Version {
        self.inner.read().seen
    }

    /// The last change of an owner: exact if above the floor, otherwise "at or before" what is returned.
    pub fn changed(&self, owner: Owner) -> Version {
        let inner = self.inner.read();
        inner.changed.get(&owner).copied().unwrap_or(inner.floor)
    }

    /// Did any of these owners change after `since`? Says yes when it no longer knows.
    pub fn any_changed_after(&self, owners: &[Owner], since: Version) -> bool {
        let inner = self.inner.read();
        owners.iter().any(|o| inner.changed.get(o).copied().unwrap_or(inner.floor) > since)
    }
}

impl Inner {
    fn forget_older_half(&mut self) {
        let mut versions: Vec<Version> = self.changed.values().copied().collect();
        let middle = versions.len() / 2;
        let (_, median, _) = versions.select_nth_unstable(middle);
        let median = *median;
        self.changed.retain(|_, v| *v > median);
        self.floor = self.floor.max(median);
    }
}
