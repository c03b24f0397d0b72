//! What other processes changed, brought into this process' [`Clock`].
//!
//! Invariant: before a snapshot of version V is used, the clock has noted every commit up to V; or
//! has been started anew at V or later, after which no older belief holds.

use kv::{Clock, KvError, KvResult, Owner, Version};
use parking_lot::Mutex;
use tokio_postgres::Row;

use crate::trouble::{Outcome, Trouble};

/// The batches that one transaction committed: the versions `first ..= last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Owners changed, by batch.
    pub(crate) changes: Vec<Vec<Owner>>,
}

/// The clock and the lock under which it is brought forward.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) clock: Clock,
    noting: Mutex<()>,
}

impl History {
    /// Brings the clock to `at` (or leaves it further on), given the groups found after what it had seen.
    pub(crate) fn catch_up(&self, at: Version, mut groups: Vec<Group>) {
        if self.clock.seen() >= at {
            return;
        }
        // Noted one by one and in order: an older change noted after a newer would hide it.
        let _in_order = self.noting.lock();
        let seen = self.clock.seen();
        if seen >= at {
            return;
        }
        groups.retain(|group| group.last > seen.0);
        groups.sort_unstable_by_key(|group| group.last);
        let mut next = seen.0 + 1;
        for group in &groups {
            if group.first > next {
                break;
            }
            next = group.last + 1;
        }
        if next != at.0 + 1 {
            self.clock.start(at);
            return;
        }
        for group in groups {
            for (version, owners) in (group.first..).zip(group.changes) {
                self.clock.note(Version(version), owners);
            }
        }
    }
}

/// Bytes of one owner.
pub(crate) const OWNER_BYTES: usize = 16;

/// The changes of a group as a column: for each batch a count (4 bytes) and so many owners, all
/// big-endian.
pub(crate) fn encode(changes: &[Vec<Owner>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for owners in changes {
        bytes.extend_from_slice(&u32::try_from(owners.len()).unwrap_or(u32::MAX).to_be_bytes());
        for owner in owners {
            bytes.extend_from_slice(&owner.0.to_be_bytes());
        }
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Vec<Owner>>> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
        let (owners, rest) = rest.split_at_checked(count.checked_mul(OWNER_BYTES)?)?;
        let (owners, _) = owners.as_chunks::<OWNER_BYTES>();
        changes.push(owners.iter().map(|o| Owner(u128::from_be_bytes(*o))).collect());
        bytes = rest;
    }
    Some(changes)
}

/// A counter of the database. Negative ones cannot be.
pub(crate) fn count(row: &Row, column: usize) -> Outcome<u64> {
    let n: i64 = row.try_get(column)?;
    u64::try_from(n).map_err(|_| Trouble::corrupt(format!("a counter of the database is {n}")))
}

/// For a parameter. A counter that doesn't fit will never be reached.
pub(crate) fn big(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The group in three columns (first, version, changes) from `column` on.
pub(crate) fn group(row: &Row, column: usize) -> Outcome<Group> {
    let (first, last) = (count(row, column)?, count(row, column + 1)?);
    let changes = decode(row.try_get(column + 2)?);
    let changes =
        changes.filter(|c| last >= first && u64::try_from(c.len()).ok() == Some(last - first + 1));
    let Some(changes) = changes else {
        return Err(Trouble::corrupt(format!("the changes of commit {last} cannot be read")));
    };
    Ok(Group { first, last, changes })
}

/// Versions never go back while a process lives. If they do, the database was put back to an older
/// state, and what this process remembers of it is wrong.
pub(crate) fn never_back(seen: Version, found: Version) -> KvResult<()> {
    if found >= seen {
        return Ok(());
    }
    Err(KvError::Corrupt(format!(
        "the database went back from version {} to {}: restart all nodes",
        seen.0, found.0
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(first: u64, changes: &[&[u128]]) -> Group {
        let changes: Vec<Vec<Owner>> =
            changes.iter().map(|owners| owners.iter().map(|o| Owner(*o)).collect()).collect();
        Group { first, last: first + changes.len() as u64 - 1, changes }
    }

    #[test]
    fn changes_survive_their_encoding() {
        let changes = group(1, &[&[1, u128::MAX], &[], &[7]]).changes;
        assert_eq!(decode(&encode(&changes)), Some(changes));
        assert_eq!(decode(&encode(&[])), Some(vec![]));
    }

    #[test]
    fn torn_changes_are_not_believed() {
        let bytes = encode(&group(1, &[&[1, 2]]).changes);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&bytes[..3]), None);
    }

    #[test]
    fn each_owner_has_the_version_of_its_last_batch_whatever_the_order_of_arrival() {
        let history = History::default();
        let groups = vec![group(3, &[&[2]]), group(1, &[&[1, 2], &[1]])];
        history.catch_up(Version(3), groups);
        assert_eq!(history.clock.changed(Owner(1)), Version(2));
        assert_eq!(history.clock.changed(Owner(2)), Version(3));
        assert_eq!(history.clock.seen(), Version(3));
        // A reader that was slower brings what is known already.
        history.catch_up(Version(2), vec![group(1, &[&[1, 2], &[1]])]);
        assert_eq!(history.clock.changed(Owner(2)), Version(3));
    }

    #[test]
    fn a_group_known_in_part_is_no_gap() {
        let history = History::default();
        history.clock.start(Version(5));
        history.catch_up(Version(7), vec![group(4, &[&[1], &[2], &[3], &[4]])]);
        assert_eq!(history.clock.changed(Owner(4)), Version(7));
        assert_eq!(history.clock.changed(Owner(9)), Version(5));
    }

    #[test]
    fn after_a_gap_no_owner_is_believed_unchanged() {
        for groups in [vec![], vec![group(3, &[&[1]])], vec![group(1, &[&[1]])]] {
            let history = History::default();
            history.catch_up(Version(3), groups);
            assert_eq!(history.clock.changed(Owner(8)), Version(3));
            assert_eq!(history.clock.seen(), Version(3));
        }
    }
}
