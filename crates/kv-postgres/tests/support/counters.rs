//! Counters that all nodes increase: what is lost or done twice shows in their sum.

use std::sync::atomic::{AtomicBool, Ordering};

use kv::{Engine, KvResult, Owner, Row, Snapshot, Tree, Verdict};

use super::support::{Mark, marked};

/// Tells the threads of a test to end when dropped, also when the test has failed: a scope waits for them.
pub(crate) struct Ending<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Where the counters lie.
const COUNTERS: Tree = Tree(5);

/// Adds one to a counter, trying anew at each conflict. Gives the number of conflicts.
pub(crate) fn increment(engine: &dyn Engine, counter: u8, mark: Mark) -> KvResult<usize> {
    let owner = Owner(u128::MAX - u128::from(counter));
    let mut conflicts = 0;
    loop {
        let snapshot = engine.snapshot()?;
        let now = read_counter(&*snapshot, counter)?;
        let mut batch = marked(mark);
        batch.since = snapshot.version();
        drop(snapshot);
        batch.relied = vec![owner];
        batch.changed.push(owner);
        batch.rows.push(Row::Put(COUNTERS, vec![counter], (now + 1).to_be_bytes().to_vec()));
        match engine.commit(vec![batch])?.first() {
            Some(Verdict::At { .. }) => return Ok(conflicts),
            _ => conflicts += 1,
        }
    }
}

pub(crate) fn read_counter(snapshot: &dyn Snapshot, counter: u8) -> KvResult<u64> {
    let bytes = snapshot.get(COUNTERS, &[counter])?;
    Ok(bytes.map_or(0, |b| u64::from_be_bytes(b.as_ref().try_into().unwrap())))
}
