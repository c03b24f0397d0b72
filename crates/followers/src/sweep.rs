//! Sweeps what was kept for devices that were deleted, and the keys of backups that were.

use accounts::device::sweep;
use base::{Reply, Seq};
use store::{Tx, follow::Follower, key_backup, log::Entry};

/// Transaction ids or keys looked at in one transaction.
const AT_ONCE: usize = 500;

pub(crate) struct Sweep;

impl Follower for Sweep {
    fn id(&self) -> &'static str {
        "sweep"
    }

    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::DevicesGone { .. } | Entry::ShelfGone { .. })
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        match entry {
            Entry::DevicesGone { user, after } => {
                if let Some(after) = sweep(tx, *user, *after, AT_ONCE)? {
                    tx.announce(Entry::DevicesGone { user: *user, after });
                }
            }
            Entry::ShelfGone { user, shelf } => {
                let more = key_backup::sweep(tx, *user, *shelf, AT_ONCE)?;
                if more {
                    key_backup::leave(tx, *user, *shelf);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
