//! Numbers for users, rooms and events: dense, rising, never reused. Each process claims blocks of them in the
//! store and hands them out from memory.

use base::{Error, Reply};
use parking_lot::Mutex;

/// Numbers claimed at once: one commit per million events; what a crash wastes of a block is not missed in 2^64.
pub(crate) const BLOCK: u64 = 1 << 20;

type Claim = Box<dyn Fn() -> Reply<u64> + Send + Sync>;

#[derive(Default)]
pub(crate) struct Ids {
    block: Mutex<(u64, u64)>,
    claim: std::sync::OnceLock<Claim>,
}

impl Ids {
    /// How to claim a block: returns its first number.
    pub(crate) fn claim_with(&self, claim: Claim) {
        let _ = self.claim.set(claim);
    }

    pub(crate) fn fresh(&self) -> Reply<u64> {
        let mut block = self.block.lock();
        if block.0 == block.1 {
            let claim = self.claim.get().ok_or_else(|| Error::fault("the store is not open"))?;
            let first = claim()?;
            *block = (first, first + BLOCK);
        }
        let id = block.0;
        block.0 += 1;
        Ok(id)
    }
}
