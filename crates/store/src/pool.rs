//! The bounded pool on which views and transactions run, so that no async task ever blocks.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use base::{Error, Reply};
use parking_lot::{Condvar, Mutex};

type Task = Box<dyn FnOnce() + Send>;

/// Tasks that may wait: at 10 µs each, 16 Ki are 160 ms of work for one thread; more would only add latency.
const WAITING_MAX: usize = 16_384;

pub(crate) struct Pool {
    shared: Arc<Waiting>,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
        Ok(Pool { shared, threads: Mutex::new(handles) })
    }

    /// Queues a task; refuses with 503 when too many wait.
    pub(crate) fn run(&self, task: Task) -> Reply<()> {
        let mut state = self.shared.state.lock();
        if state.closed || state.tasks.len() >= WAITING_MAX {
            return Err(Error::refused(503, "M_UNKNOWN", "the server is too busy or stopping"));
        }
        state.tasks.push_back(task);
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
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
