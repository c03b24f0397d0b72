//! Chance, by seed: everybody throws dice of their own, so that what one does more or less changes nothing for the others.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Dice of somebody.
pub(crate) struct Dice(StdRng);

impl Dice {
    /// The dice of this one in the run of this seed.
    #[must_use]
    pub(crate) fn new(seed: u64, whose: &str) -> Dice {
        // FNV-1a: the same in every process.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let name = whose.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fold);
        Dice(StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name))
    }

    /// One of `0 .. n`; 0 if there is none.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n.max(1))
    }

    /// Does what happens so many times in a thousand happen?
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.0.random_range(0..1_000) < per_mille
    }

    /// At least `from`, less than `to`.
    pub(crate) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.random_range(from..to.max(from + 1)))
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}
