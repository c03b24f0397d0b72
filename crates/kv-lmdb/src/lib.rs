//! The embedded engine: LMDB through `heed`.
//!
//! One process, one data file, one writer. A snapshot is an LMDB read transaction: lock-free and
//! zero-copy. A commit is one LMDB write transaction, on disk before it returns: LMDB writes new pages to
//! free places, syncs them, and only then writes and syncs the meta page that makes them the state. A
//! crash leaves the state of the last commit, never half of one; there is nothing to replay.
//!
//! What LMDB lacks is added here: before it maps a file, [`Lmdb::open`] reads the structure of the pages
//! itself (`pages`) and refuses a damaged file, since LMDB would follow wild pointers; and each commit
//! keeps a sum over all rows (`state`), so that a check finds rows that are missing or stale.
#![deny(unsafe_op_in_unsafe_fn)]

mod commit;
mod copy;
mod dir;
mod fault;
mod pages;
mod resident;
mod snapshot;
mod state;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use base::Seq;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls, types::Bytes as Raw};
use kv::{Batch, Clock, Engine, KvError, KvResult, Snapshot, Tree, Verdict};
use parking_lot::{Mutex, RwLock};

pub use self::{copy::Compacted, pages::Report};
use self::{
    dir::{Held, Known},
    pages::Depth,
    state::State,
};

/// One tree of LMDB.
type Rows = heed::Database<'static, Raw, Raw>;
type Listener = Arc<dyn Fn(Seq) + Send + Sync>;

/// The tree that holds the state row, and its key.
const STATE_TREE: &str = "state";
const STATE_KEY: &[u8] = b"state";

/// The name of a tree in the data file. Fixed on disk.
fn tree_name(tree: Tree) -> String {
    format!("tree{}", tree.0)
}

/// When an acknowledged commit is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged.
    #[default]
    Sync,
    /// Within about a second. A crash of the process loses nothing; a crash of the machine may lose
    /// the last second *or leave a store that must be restored from a backup*, because without syncing the
    /// disk may write pages in any order. For tests and imports.
    Relaxed,
}

/// How to open a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When commits are on disk.
    pub durability: Durability,
    /// The address space set aside, and so the largest size of the data file. Costs no memory and no disk.
    /// Where the system refuses that much, a smaller map is used.
    pub map_bytes: usize,
    /// Snapshots that can be held at once.
    pub snapshots_max: u32,
    /// Up to this size the data file is checked whole when the machine went down while it was open.
    pub check_bytes_max: u64,
    /// Up to this size it is checked whole at every start.
    pub check_always_bytes_max: u64,
    /// Pages of the data file that are kept mapped in this process. What goes beyond is given back about once a
    /// second; it stays in the system's page cache, and is mapped again when it is next read.
    pub resident_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            durability: Durability::Sync,
            map_bytes: 1 << 40,
            snapshots_max: 1_024,
            check_bytes_max: 2 << 30,
            check_always_bytes_max: 16 << 20,
            resident_bytes_max: 16 << 20,
        }
    }
}

/// Smaller maps than this are not tried.
const MAP_BYTES_MIN: usize = 1 << 30;
/// How long a relaxed commit may wait for the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The embedded engine.
pub struct Lmdb {
    inner: Arc<Inner>,
    clock: Clock,
    listener: RwLock<Option<Listener>>,
    /// One committer at a time, also if a caller breaks that promise.
    committing: Mutex<()>,
    flusher: Option<Flusher>,
    resident_bytes_max: u64,
}

/// What snapshots share with the engine. Fields are dropped in order: the lock goes last.
struct Inner {
    env: Env<WithoutTls>,
    trees: [Rows; Tree::COUNT as usize],
    state: Rows,
    dir: PathBuf,
    _held: Held,
}

/// Syncs behind relaxed commits.
struct Flusher {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Lmdb {
    /// Opens the store in `dir`, or creates it there.
    ///
    /// # Errors
    /// `Unavailable` if another process has it open or the system refuses; `Corrupt` if the store is damaged
    /// or not ours: nothing is repaired or thrown away, a backup must be restored.
    pub fn open(dir: &Path, options: Options) -> KvResult<Lmdb> {
        dir::make(dir)?;
        let held = Held::take(dir)?;
        let known = dir::known(dir)?;
        let report = inspect(dir, known, held.same_boot, &options)?;
        let inner = Inner::open(dir, held, &options)?;
        let state = inner.consistent_state(report)?;
        if !matches!(known, Known::Data { created: true, .. }) {
            dir::sync_parent(dir)?;
            dir::mark(dir, false)?;
        }
        let clock = Clock::default();
        clock.start(state.version);
        let flusher = match options.durability {
            Durability::Sync => None,
            Durability::Relaxed => Some(Flusher::start(inner.env.clone())?),
        };
        Ok(Lmdb {
            inner: Arc::new(inner),
            clock,
            listener: RwLock::default(),
            committing: Mutex::default(),
            flusher,
            resident_bytes_max: options.resident_bytes_max,
        })
    }

    /// Checks every page and row of the store in `dir`, which must not be open.
    ///
    /// # Errors
    /// `Corrupt` with what is wrong; `Unavailable` if the store is open or cannot be read.
    pub fn check(dir: &Path) -> KvResult<Report> {
        let held = Held::take(dir)?;
        let options = Options { check_always_bytes_max: u64::MAX, ..Options::default() };
        let report = inspect(dir, dir::known(dir)?, false, &options)?;
        let Some(report) = report else {
            return Err(KvError::Unavailable(format!("there is no store in {}", dir.display())));
        };
        Inner::open(dir, held, &options)?.consistent_state(Some(report))?;
        Ok(report)
    }

    /// Makes everything that was committed durable now. Only relaxed stores need it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> KvResult<()> {
        self.inner.env.force_sync().map_err(|e| fault::lmdb("syncing", e))
    }
}

/// Looks at the pages before LMDB does. `None`: there is nothing to look at.
fn inspect(
    dir: &Path,
    known: Known,
    same_boot: bool,
    options: &Options,
) -> KvResult<Option<Report>> {
    let Known::Data { created, closed, bytes } = known else { return Ok(None) };
    let intact = closed || same_boot;
    let whole =
        bytes <= options.check_always_bytes_max || (!intact && bytes <= options.check_bytes_max);
    let depth = if whole { Depth::Full } else { Depth::Edges };
    let started = Instant::now();
    let report = pages::check(&dir::data(dir), depth)?;
    if report.is_none() && created {
        return Err(fault::corrupt("the data file is empty although it had been filled"));
    }
    let took_ms = started.elapsed().as_millis();
    if intact || whole {
        tracing::debug!(bytes, ?depth, took_ms, "store checked");
    } else {
        tracing::warn!(
            bytes,
            took_ms,
            "the machine went down while the store was open, and it is too large to be checked whole at start"
        );
    }
    Ok(report)
}

impl Inner {
    fn open(dir: &Path, held: Held, options: &Options) -> KvResult<Inner> {
        let env = open_env(dir, options)?;
        env.clear_stale_readers().map_err(|e| fault::lmdb("opening the store", e))?;
        let (trees, state) = open_trees(&env)?;
        Ok(Inner { env, trees, state, dir: dir.to_owned(), _held: held })
    }

    fn rows(&self, tree: Tree) -> KvResult<&Rows> {
        let rows = self.trees.get(usize::from(tree.0));
        rows.ok_or_else(|| KvError::Unavailable(format!("there is no tree {}", tree.0)))
    }

    fn state(&self, txn: &RoTxn<'_>) -> KvResult<State> {
        match self.state.get(txn, STATE_KEY) {
            Ok(Some(bytes)) => State::decode(bytes),
            Ok(None) => Err(fault::corrupt("the store's state row is missing")),
            Err(e) => Err(fault::lmdb("reading the state row", e)),
        }
    }

    /// The state, if it agrees with the rows.
    fn consistent_state(&self, report: Option<Report>) -> KvResult<State> {
        let fault = |e| fault::lmdb("reading the log", e);
        let txn = self.env.read_txn().map_err(fault)?;
        let state = self.state(&txn)?;
        let log = self.rows(Tree::LOG)?;
        if let Some((last, _)) = log.last(&txn).map_err(fault)?
            && last > &state.head.0.to_be_bytes()[..]
        {
            return Err(fault::corrupt("the log goes on behind its head"));
        }
        match report.and_then(|r| r.sums) {
            Some(sums) if sums != state.sums => {
                Err(fault::corrupt("the rows are not those that were committed"))
            }
            _ => Ok(state),
        }
    }
}

/// Opens LMDB with the largest map that the system gives.
fn open_env(dir: &Path, options: &Options) -> KvResult<Env<WithoutTls>> {
    let mut map_bytes = options.map_bytes;
    loop {
        let mut open = EnvOpenOptions::new().read_txn_without_tls();
        open.map_size(map_bytes)
            .max_readers(options.snapshots_max)
            .max_dbs(u32::from(Tree::COUNT) + 1);
        if options.durability == Durability::Relaxed {
            #[expect(unsafe_code, reason = "LMDB's flags are unsafe to set")]
            // SAFETY: NO_SYNC breaks no memory rule. Pages may reach the disk in any order, so after a power
            // loss the file may be damaged; `pages` looks at it before it is mapped again.
            unsafe {
                open.flags(EnvFlags::NO_SYNC);
            }
        }
        #[expect(unsafe_code, reason = "LMDB maps the data file")]
        // SAFETY: mapping a file is sound while nothing but LMDB changes it. `Held` keeps every other process of
        // ours out, heed refuses a second opening within this one, nothing in this crate writes to the
        // file while it is mapped, and its pages were checked to lie inside of it.
        let opened = unsafe { open.open(dir) };
        match opened {
            Err(heed::Error::Io(e))
                if e.kind() == io::ErrorKind::OutOfMemory && map_bytes / 4 >= MAP_BYTES_MIN =>
            {
                map_bytes /= 4;
                tracing::warn!(map_bytes, "the system refuses a larger map of the store");
            }
            other => return other.map_err(|e| fault::lmdb("opening the store", e)),
        }
    }
}

type Trees = ([Rows; Tree::COUNT as usize], Rows);

/// Opens the trees; a store without them gets them and its first state row.
fn open_trees(env: &Env<WithoutTls>) -> KvResult<Trees> {
    let txn = env.write_txn().map_err(|e| fault::lmdb("opening the store", e))?;
    let opened: heed::Result<_> = env.create_databases_and_commit(txn, |opener, txn| {
        let state = opener.create_database::<Raw, Raw>(txn, Some(STATE_TREE))?;
        let mut trees = Vec::new();
        let mut empty = true;
        for tree in 0..Tree::COUNT {
            let rows = opener.create_database::<Raw, Raw>(txn, Some(&tree_name(Tree(tree))))?;
            empty &= rows.is_empty(txn)?;
            trees.push(rows);
        }
        if empty && state.is_empty(txn)? {
            state.put(
                txn,
                STATE_KEY,
                &State { head: kv::LOG_BEGIN, ..State::default() }.encode(),
            )?;
        }
        Ok(match <[_; Tree::COUNT as usize]>::try_from(trees) {
            Ok(trees) => CommitOrAbort::Commit((trees, state)),
            Err(_) => CommitOrAbort::Abort(()),
        })
    });
    let opened = opened.map_err(|e| fault::lmdb("opening the store", e))?;
    opened.commit().ok_or_else(|| fault::corrupt("the store has not the trees it should have"))
}

impl Engine for Lmdb {
    fn snapshot(&self) -> KvResult<Box<dyn Snapshot>> {
        Ok(Box::new(snapshot::View::take(&self.inner)?))
    }

    fn commit(&self, group: Vec<Batch>) -> KvResult<Vec<Verdict>> {
        let done = {
            let _one_at_a_time = self.committing.lock();
            commit::commit(&self.inner, &self.clock, group)?
        };
        if let Some(head) = done.new_head {
            let listener = self.listener.read().clone();
            if let Some(listener) = listener {
                listener(head);
            }
        }
        Ok(done.verdicts)
    }

    fn on_commit(&self, listener: Arc<dyn Fn(Seq) + Send + Sync>) {
        *self.listener.write() = Some(listener);
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn backup(&self, to: &Path) -> KvResult<()> {
        copy::backup(&self.inner.env, to)
    }

    fn tend(&self) {
        resident::trim(&dir::data(&self.inner.dir), self.resident_bytes_max);
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.env.real_disk_size().unwrap_or(0)
    }

    fn name(&self) -> &'static str {
        "lmdb"
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        if let Some(flusher) = self.flusher.take() {
            flusher.stop();
        }
        // Nothing is lost if this fails: the next start checks more.
        if let Err(e) = self.sync().and_then(|()| dir::mark(&self.inner.dir, true)) {
            tracing::warn!(error = %e, "the store could not be closed in order");
        }
    }
}

impl Flusher {
    fn start(env: Env<WithoutTls>) -> KvResult<Flusher> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store-sync".into()).spawn(move || {
            while stopped.recv_timeout(SYNC_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
                if let Err(e) = env.force_sync() {
                    tracing::error!(error = %e, "relaxed commits cannot be synced");
                }
            }
        });
        let thread = thread
            .map_err(|e| KvError::Unavailable(format!("starting the store's sync thread: {e}")))?;
        Ok(Flusher { stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        // A panic there has been reported already.
        let _panicked = self.thread.join();
    }
}
