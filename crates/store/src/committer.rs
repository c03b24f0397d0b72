//! The one committer of the process: takes every batch that waits, commits them as a group (one fsync), and
//! tells each its verdict.

use std::{sync::Arc, thread::JoinHandle};

use base::{Error, Fault, Reply};
use kv::{Batch, Engine, Verdict};
use parking_lot::{Condvar, Mutex};

type Tell = Box<dyn FnOnce(Result<Verdict, Fault>) + Send>;

/// Batches in one group: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 256;

pub(crate) struct Committer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}
/// Bounded by what submits: each waiting batch belongs to a pool task or lane, which the pool bounds.
#[derive(Default)]
struct State {
    waiting: Vec<(Batch, Tell)>,
    closed: bool,
}

impl Committer {
    pub(crate) fn start(engine: Arc<dyn Engine>) -> Reply<Committer> {
        let queue = Arc::new(Queue::default());
        let for_thread = queue.clone();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || for_thread.work(&*engine))
            .map_err(|e| Error::fault(format!("cannot start a thread: {e}")))?;
        Ok(Committer { queue, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn submit(&self, batch: Batch, tell: Tell) {
        let mut state = self.queue.state.lock();
        if state.closed {
            drop(state);
            return tell(Err(Fault("the store is closed".into())));
        }
        state.waiting.push((batch, tell));
        drop(state);
        self.queue.wake.notify_one();
    }

    /// Commits what waits and stops.
    pub(crate) fn stop(&self) {
        self.queue.state.lock().closed = true;
        self.queue.wake.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn work(&self, engine: &dyn Engine) {
        loop {
            let group = {
                let mut state = self.state.lock();
                while state.waiting.is_empty() {
                    if state.closed {
                        return;
                    }
                    self.wake.wait(&mut state);
                }
                let many = state.waiting.len().min(GROUP_MAX);
                state.waiting.drain(..many).collect::<Vec<_>>()
            };
            let (batches, tells): (Vec<Batch>, Vec<Tell>) = group.into_iter().unzip();
            metrics::histogram!("althing_store_group_batches").record(batches.len() as f64);
            match engine.commit(batches) {
                Ok(verdicts) => {
                    for (tell, verdict) in tells.into_iter().zip(verdicts) {
                        tell(Ok(verdict));
                    }
                }
                Err(e) => {
                    let fault = Fault(e.to_string());
                    tracing::error!(error = %e, "commit failed");
                    for tell in tells {
                        tell(Err(fault.clone()));
                    }
                }
            }
        }
    }
}
