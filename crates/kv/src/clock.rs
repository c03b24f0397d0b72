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

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions 1, 2, 3 …, each with one owner of that number.
    fn noted(count: usize) -> Clock {
        let clock = Clock::default();
        (1..=count as u64).for_each(|n| clock.note(Version(n), [Owner(n.into())]));
        clock
    }

    fn remembered(clock: &Clock) -> usize {
        clock.inner.read().changed.len()
    }

    #[test]
    fn as_many_owners_as_there_is_room_for_are_known_exactly() {
        let clock = noted(OWNERS_MAX);
        assert_eq!(remembered(&clock), OWNERS_MAX);
        assert_eq!(clock.changed(Owner(1)), Version(1));
        assert!(!clock.any_changed_after(&[Owner(1)], Version(1)));
        assert!(clock.any_changed_after(&[Owner(2), Owner(1)], Version(1)));
        assert_eq!(clock.changed(Owner(0)), Version(0), "never seen, at or before the start");
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let clock = noted(OWNERS_MAX + 1);
        let half = OWNERS_MAX as u64 / 2;
        assert!(remembered(&clock).abs_diff(OWNERS_MAX / 2) <= 1);
        for recent in [half + 2, half + 1_000, OWNERS_MAX as u64 + 1] {
            assert_eq!(clock.changed(Owner(recent.into())), Version(recent));
            assert!(!clock.any_changed_after(&[Owner(recent.into())], Version(recent)));
        }
        for old in [1, 1_000, half] {
            let floor = clock.changed(Owner(old.into()));
            assert!(floor >= Version(old) && floor.0.abs_diff(half) <= 1);
            assert!(clock.any_changed_after(&[Owner(old.into())], Version(old)));
            assert!(!clock.any_changed_after(&[Owner(old.into())], floor));
        }
        assert_eq!(clock.seen(), Version(OWNERS_MAX as u64 + 1));
    }

    #[test]
    fn one_commit_with_more_owners_than_there_is_room_for_does_not_fill_the_memory() {
        let clock = Clock::default();
        clock.note(Version(7), (0..=OWNERS_MAX as u128).map(Owner));
        assert_eq!(remembered(&clock), 0);
        assert!(clock.any_changed_after(&[Owner(1)], Version(6)));
        assert!(!clock.any_changed_after(&[Owner(1)], Version(7)));
    }

    #[test]
    fn a_clock_that_starts_knows_nothing_before() {
        let clock = noted(3);
        clock.start(Version(9));
        assert_eq!((clock.seen(), remembered(&clock)), (Version(9), 0));
        assert_eq!(clock.changed(Owner(1)), Version(9));
        assert!(clock.any_changed_after(&[Owner(1)], Version(8)));
        assert!(!clock.any_changed_after(&[Owner(1)], Version(9)));
    }
}
