//! A transaction on its way: run by whoever has the lane, as often as it takes.

use std::{cell::RefCell, sync::Arc};

use base::{Error, Fault, Reply, Seq};
use parking_lot::Mutex;

use crate::{Tx, Written, witness::Asked};

/// A transaction that is being done: its function, what that returned last, and what it has asked.
pub(crate) struct Work<F, T> {
    f: F,
    reply: Option<Reply<T>>,
    pub(crate) asked: Asked,
}

impl<T, F: FnMut(&mut Tx) -> Reply<T>> Work<F, T> {
    pub(crate) fn new(f: F, possible: bool) -> Arc<Mutex<Work<F, T>>> {
        let asked = Asked { possible, ..Asked::default() };
        Arc::new(Mutex::new(Work { f, reply: None, asked }))
    }

    /// Runs it once; says whether what it wrote is to be kept.
    pub(crate) fn run(&mut self, tx: &mut Tx) -> bool {
        self.reply = None;
        self.asked.wanted.clear();
        tx.asked.swap(&RefCell::new(std::mem::take(&mut self.asked)));
        let reply = (self.f)(tx);
        self.asked = tx.asked.take();
        let keep = reply.is_ok() && self.asked.wanted.is_empty();
        self.reply = Some(reply);
        keep
    }
}

/// What it came to.
pub(crate) fn settle<F, T>(
    outcome: Result<Seq, Fault>,
    work: &Mutex<Work<F, T>>,
) -> Reply<Written<T>> {
    let seq = outcome?;
    match work.lock().reply.take() {
        Some(reply) => reply.map(|value| Written { value, seq }),
        None => Err(Error::fault("a transaction panicked")),
    }
}
