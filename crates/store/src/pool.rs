//! The bounded pool on which views and transactions run, so that no async task ever blocks. A simulator has no threads: it
//! gives a [`Scheduler`] in their place.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use base::{Error, Reply};
use parking_lot::{Condvar, Mutex};

/// A piece of work: a reader, a transaction, a commit. Does not wait for other work, and does not panic.
pub type Task = Box<dyn FnOnce() + Send>;

/// Runs the work of a store in place of its threads, each task once, in whatever order and at whatever time. A task that
/// is dropped is one that a crash came before.
pub type Scheduler = Arc<dyn Fn(Task) + Send + Sync>;

/// Runs work on the thread that brings it, one task after the other: what a task brings comes after it.
#[must_use]
pub fn inline() -> Scheduler {
    let queue: Arc<Mutex<(VecDeque<Task>, bool)>> = Arc::default();
    Arc::new(move |task| {
        {
            let mut state = queue.lock();
            state.0.push_back(task);
            if std::mem::replace(&mut state.1, true) {
                return;
            }
        }
        loop {
            let mut state = queue.lock();
            let Some(task) = state.0.pop_front() else {
                state.1 = false;
                return;
            };
            drop(state);
            task();
        }
    })
}

/// Tasks that may wait: at 10 µs each, 16 Ki are 160 ms of work for one thread; more would only add latency.
const WAITING_MAX: usize = 16_384;

pub(crate) struct Pool {
    shared: Arc<Waiting>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    scheduler: Option<Scheduler>,
}

#[derive(Default)]
struct Waiting {
    state: Mutex<State>,
    wake: Condvar,
}
#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    closed: bool,
}

impl Pool {
    pub(crate) fn start(threads: usize, name: &str) -> Reply<Pool> {
        let shared = Arc::new(Waiting::default());
        let mut handles = Vec::new();
        for n in 0..threads {
            let shared = shared.clone();
            let handle = std::thread::Builder::new()
                .name(format!("{name}-{n}"))
                .spawn(move || shared.work())
                .map_err(|e| Error::fault(format!("cannot start a thread: {e}")))?;
            handles.push(handle);
        }
        Ok(Pool { shared, threads: Mutex::new(handles), scheduler: None })
    }

    /// Has no threads.
    pub(crate) fn scheduled(scheduler: Scheduler) -> Pool {
        Pool { shared: Arc::default(), threads: Mutex::default(), scheduler: Some(scheduler) }
    }

    /// Queues a task; refuses with 503 when too many wait.
    pub(crate) fn run(&self, task: Task) -> Reply<()> {
        let mut state = self.shared.state.lock();
        if state.closed || state.tasks.len() >= WAITING_MAX {
            return Err(Error::refused(503, "M_UNKNOWN", "the server is too busy or stopping"));
        }
        if let Some(scheduler) = &self.scheduler {
            drop(state);
            scheduler(Box::new(move || drop(catch_unwind(AssertUnwindSafe(task)))));
            return Ok(());
        }
        state.tasks.push_back(task);
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// What a task ends with: at once, on its thread. A scheduler may let other work come between.
    pub(crate) fn finish(&self, task: Task) {
        match &self.scheduler {
            Some(scheduler) => scheduler(task),
            None => task(),
        }
    }

    /// Tasks waiting now.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state.lock().tasks.len()
    }

    /// Finishes what is queued and stops.
    pub(crate) fn stop(&self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_all();
        let me = std::thread::current().id();
        for handle in self.threads.lock().drain(..).filter(|h| h.thread().id() != me) {
            // A thread that panicked outside a task has nothing left to tell us.
            let _ = handle.join();
        }
    }
}

impl Waiting {
    fn work(&self) {
        loop {
            let mut state = self.state.lock();
            let task = loop {
                if let Some(task) = state.tasks.pop_front() {
                    break task;
                }
                if state.closed {
                    return;
                }
                self.wake.wait(&mut state);
            };
            drop(state);
            // The task reports its own panic to whoever waits for it; this only keeps the thread alive.
            let _ = catch_unwind(AssertUnwindSafe(task));
        }
    }
}
