//! Sweeps what was kept for devices that were deleted.

use accounts::device::sweep;
use base::{Reply, Seq};
use store::{Tx, follow::Follower, log::Entry};

/// Transaction ids looked at in one transaction.
const AT_ONCE: usize = 500;

pub(crate) struct Sweep;

impl Follower for Sweep {
    fn id(&self) -> &'static str {
        "sweep"
    }

    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::DevicesGone { .. })
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        let Entry::DevicesGone { user, after } = entry else { return Ok(()) };
        if let Some(after) = sweep(tx, *user, *after, AT_ONCE)? {
            tx.announce(Entry::DevicesGone { user: *user, after });
        }
        Ok(())
    }
}
