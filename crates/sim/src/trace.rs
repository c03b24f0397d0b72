//! What happened in a run, in order: a hash of it, by which two runs are compared, and on request its lines.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The trace of one run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    began: Instant,
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// `keep`: its lines too.
    #[must_use]
    pub(crate) fn new(keep: bool) -> Trace {
        let lines = keep.then(Vec::new);
        Trace(Arc::new(Mutex::new(Inner { began: Instant::now(), hash: 0, lines })))
    }

    /// Something happened.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let mut inner = self.0.lock();
        let line = format!("{:>9} {what}", inner.began.elapsed().as_millis());
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        inner.hash = line.as_bytes().iter().fold(inner.hash ^ 0xcbf2_9ce4_8422_2325, fold);
        if let Some(lines) = &mut inner.lines {
            lines.push(line);
        }
    }

    /// The hash of all that happened.
    #[must_use]
    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().hash
    }

    /// The lines, if they were kept.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().lines.clone().unwrap_or_default()
    }
}
