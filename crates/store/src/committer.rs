//! The one committer of the process: takes every batch that waits, commits them as a group (one fsync), and
//! tells each its verdict.
//!
//! There is no thread for it: whoever submits a batch while nobody commits does so, for itself and for all who submit
//! meanwhile. A lone write thus changes threads as rarely as can be, and a busy store has one thread that does nothing else.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use base::Fault;
use kv::{Batch, Engine, Verdict};
use parking_lot::{Condvar, Mutex};

type Tell = Box<dyn FnOnce(Result<Verdict, Fault>) + Send>;

/// Batches in one group: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 256;

pub(crate) struct Committer {
    engine: Arc<dyn Engine>,
    state: Mutex<State>,
    idle: Condvar,
}

/// Bounded by what submits: each waiting batch belongs to a pool task or lane, which the pool bounds.
#[derive(Default)]
struct State {
    waiting: Vec<(Batch, Tell)>,
    /// Somebody commits, and will take what is waiting.
    busy: bool,
    closed: bool,
}

impl Committer {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Committer {
        Committer { engine, state: Mutex::default(), idle: Condvar::new() }
    }

    /// Hands over a batch. Returns when it was committed by this thread, or at once if another commits. `after` is
    /// called behind each group that this thread committed.
    pub(crate) fn submit(&self, batch: Batch, tell: Tell, after: impl Fn()) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return tell(Err(Fault("the store is closed".into())));
        }
        state.waiting.push((batch, tell));
        if state.busy {
            return;
        }
        state.busy = true;
        drop(state);
        while let Some(group) = self.next_group() {
            self.commit(group);
            after();
        }
    }

    /// What waits; `None` ends this thread's turn.
    fn next_group(&self) -> Option<Vec<(Batch, Tell)>> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            state.busy = false;
            self.idle.notify_all();
            return None;
        }
        let many = state.waiting.len().min(GROUP_MAX);
        Some(state.waiting.drain(..many).collect())
    }

    fn commit(&self, group: Vec<(Batch, Tell)>) {
        let (batches, tells): (Vec<Batch>, Vec<Tell>) = group.into_iter().unzip();
        metrics::histogram!("althing_store_group_batches").record(batches.len() as f64);
        // A panic must not end the turn with others waiting.
        let committed = catch_unwind(AssertUnwindSafe(|| self.engine.commit(batches)));
        let verdicts: Vec<Result<Verdict, Fault>> = match committed {
            Ok(Ok(verdicts)) => verdicts.into_iter().map(Ok).collect(),
            Ok(Err(e)) => {
                tracing::error!(error = %e, "commit failed");
                tells.iter().map(|_| Err(Fault(e.to_string()))).collect()
            }
            Err(_) => tells.iter().map(|_| Err(Fault("the commit panicked".into()))).collect(),
        };
        for (tell, verdict) in tells.into_iter().zip(verdicts) {
            // Whoever panics when told has nobody left to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| tell(verdict)));
        }
    }

    /// Waits until what was handed over is committed; refuses what comes later.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        while state.busy {
            self.idle.wait(&mut state);
        }
    }
}
