//! A disk that loses what was not synced when its server crashes, and that fails now and then.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base::Seq;
use kv::{Batch, Clock, Engine, KvError, KvResult, Memory, Snapshot, Verdict};
use parking_lot::Mutex;

use crate::dice::Dice;

/// How a disk behaves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Commits of a thousand that fail; half of them are written all the same.
    pub failing_per_mille: u32,
    /// Commits between two syncs. 1: each is synced before it is acknowledged, as the contract of engines demands. More
    /// breaks that promise on purpose, to see that it is noticed.
    pub sync_every: u32,
}

/// A disk. It outlives the processes that use it.
pub(crate) struct Disk {
    platter: Mutex<Memory>,
    dice: Mutex<Dice>,
    habits: Habits,
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub(crate) fn new(habits: Habits, dice: Dice) -> Arc<Disk> {
        Arc::new(Disk { platter: Mutex::default(), dice: Mutex::new(dice), habits })
    }

    /// What a process sees of it that begins now: what was synced.
    pub(crate) fn mount(self: &Arc<Disk>) -> Arc<Mounted> {
        let memory = self.platter.lock().copy();
        let (gone, unsynced) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Mounted { memory, disk: self.clone(), gone, unsynced })
    }
}

/// A disk in use by one process.
pub(crate) struct Mounted {
    memory: Memory,
    disk: Arc<Disk>,
    gone: AtomicBool,
    unsynced: Mutex<u32>,
}

impl Mounted {
    /// The process is gone: nothing more of it reaches the disk.
    pub(crate) fn unmount(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Everything written is on the disk.
    pub(crate) fn sync(&self) {
        *self.unsynced.lock() = 0;
        *self.disk.platter.lock() = self.memory.copy();
    }

    fn written(&self) {
        let mut unsynced = self.unsynced.lock();
        *unsynced += 1;
        if *unsynced >= self.disk.habits.sync_every {
            drop(unsynced);
            self.sync();
        }
    }
}

fn no(why: &str) -> KvError {
    KvError::Unavailable(why.to_owned())
}

impl Engine for Mounted {
    fn snapshot(&self) -> KvResult<Box<dyn Snapshot>> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(no("the process is gone"));
        }
        self.memory.snapshot()
    }

    fn commit(&self, group: Vec<Batch>) -> KvResult<Vec<Verdict>> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(no("the process is gone"));
        }
        let (fails, all_the_same) = {
            let mut dice = self.disk.dice.lock();
            (dice.chance(self.disk.habits.failing_per_mille), dice.chance(500))
        };
        if fails && !all_the_same {
            return Err(no("the disk failed"));
        }
        let verdicts = self.memory.commit(group)?;
        self.written();
        if fails { Err(no("the disk failed after writing")) } else { Ok(verdicts) }
    }

    fn on_commit(&self, listener: Arc<dyn Fn(Seq) + Send + Sync>) {
        self.memory.on_commit(listener);
    }

    fn clock(&self) -> &Clock {
        self.memory.clock()
    }

    fn backup(&self, to: &Path) -> KvResult<()> {
        self.memory.backup(to)
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}

#[cfg(test)]
mod tests {
    use kv::{Row, Tree};

    use super::*;

    fn put(engine: &dyn Engine, key: u8) -> KvResult<Vec<Verdict>> {
        let rows = vec![Row::Put(Tree(1), vec![key], vec![key])];
        engine.commit(vec![Batch { rows, ..Batch::default() }])
    }
    fn has(engine: &dyn Engine, key: u8) -> bool {
        engine.snapshot().unwrap().get(Tree(1), &[key]).unwrap().is_some()
    }

    #[test]
    fn what_was_synced_survives_a_crash_and_nothing_else() {
        let habits = Habits { failing_per_mille: 0, sync_every: 2 };
        let disk = Disk::new(habits, Dice::new(1, "disk"));
        let first = disk.mount();
        (1..=3).for_each(|n| drop(put(&*first, n).unwrap()));
        first.unmount();
        assert!(put(&*first, 4).is_err() && first.snapshot().is_err());
        let second = disk.mount();
        assert_eq!([1, 2, 3, 4].map(|n| has(&*second, n)), [true, true, false, false]);
    }

    #[test]
    fn a_commit_that_fails_may_have_been_written() {
        let habits = Habits { failing_per_mille: 1_000, sync_every: 1 };
        let mounted = Disk::new(habits, Dice::new(1, "disk")).mount();
        (0..50).for_each(|n| assert!(put(&*mounted, n).is_err()));
        let written = (0..50).filter(|n| has(&*mounted, *n)).count();
        assert!((1..50).contains(&written));
    }
}
