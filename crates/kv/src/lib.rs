//! The narrow contract between the store and an engine: bytes only.
//!
//! An engine keeps a few ordered trees of byte keys and values, gives consistent snapshots, and commits
//! batches atomically, durably and in one order. It knows nothing of Matrix and nothing of key layout.
//!
//! **Conflicts.** A batch names the owners it *relied on* and the owners it *changed*, and the version
//! its snapshot had. A commit refuses if a relied-on owner changed after that version. That is the
//! whole of concurrency control.
//!
//! **Two counters.** [`Version`] counts commits (every one); [`Seq`] counts log entries (a batch may
//! carry none, one or several). Both are in commit order; versions are dense, positions are but for [`Leaps`].
#![forbid(unsafe_code)]

mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;

use std::{borrow::Cow, fmt, path::Path, sync::Arc};

pub use base::Seq;
pub use clock::Clock;
pub use memory::Memory;

/// A count of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A physical tree. Few, by access pattern; the store's schema says what lies where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tree(pub u8);

impl Tree {
    /// How many trees there are: `Tree(0)` … `Tree(TREES - 1)`. Fixed on disk.
    pub const COUNT: u8 = 8;
    /// The log: key = [`Seq`] as 8 bytes big-endian. Its rows are written by
    /// [`Batch::entries`], but may be deleted or replaced by ordinary rows (retention, erasure).
    pub const LOG: Tree = Tree(0);
}

/// The name under which rows collide: a hash of tenant, kind of owner and first key part.
/// Two different owners with one hash would only collide without need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u128);

/// A row that only the commit can finish, because it holds the position of a log entry.
pub type Stamp = Box<dyn FnOnce(Seq) -> (Vec<u8>, Vec<u8>) + Send>;

/// Where the log of a new store begins: its first entry is at the next position. Those up to here are given to
/// nothing that happens here, so that what happened elsewhere before can be put in front of it.
pub const LOG_BEGIN: Seq = Seq(1 << 40);

/// The position of the `n`th entry of a log that began at [`LOG_BEGIN`].
#[must_use]
pub const fn position(n: u64) -> Seq {
    Seq(LOG_BEGIN.0 + n)
}

/// Positions that a leap leaves free.
pub const LEAP: u64 = 1 << 20;

/// Where positions are left free between the entries of a batch, so that something can be put there later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaps(Vec<usize>);

impl Leaps {
    /// Leaves [`LEAP`] positions free before the entry with this index. Indices come in rising order; one that is named
    /// twice counts once.
    pub fn before(&mut self, entry: usize) {
        if self.0.last() != Some(&entry) {
            self.0.push(entry);
        }
    }

    /// Forgets those before the entries from this index on.
    pub fn truncate(&mut self, entry: usize) {
        self.0.retain(|leap| *leap < entry);
    }

    /// The position of an entry of a batch for whose first one this is the next position.
    #[must_use]
    pub fn position(&self, first: Seq, entry: usize) -> Seq {
        let leaps = self.0.partition_point(|leap| *leap <= entry) as u64;
        Seq(first.0.saturating_add(entry as u64).saturating_add(leaps.saturating_mul(LEAP)))
    }
}

/// One change of a batch.
pub enum Row {
    /// Sets a row.
    Put(Tree, Vec<u8>, Vec<u8>),
    /// Removes a row, if there.
    Delete(Tree, Vec<u8>),
    /// Sets the row (key, value) that the function makes of the position of the batch's
    /// `entry`-th log entry.
    Stamped {
        /// Where the row goes.
        tree: Tree,
        /// Index into [`Batch::entries`].
        entry: usize,
        /// Makes key and value.
        make: Stamp,
    },
}

/// What one action changes, committed whole or not at all.
#[derive(Default)]
pub struct Batch {
    /// The version of the snapshot from which the batch was computed.
    pub since: Version,
    /// Owners whose change after `since` refuses the batch.
    pub relied: Vec<Owner>,
    /// Owners that this batch changes.
    pub changed: Vec<Owner>,
    /// The rows, applied in order: a later row on the same key wins.
    pub rows: Vec<Row>,
    /// Log entries, numbered in order. Their value bytes are stored as they are.
    pub entries: Vec<Entry>,
    /// Where their numbers leap.
    pub leaps: Leaps,
}

/// Keys have 1 to this many bytes: what the embedded engine can hold. All engines refuse others, so that
/// a store can move between them.
pub const KEY_BYTES_MAX: usize = 511;

/// May a row have this key?
///
/// # Errors
/// `Unavailable` naming what is wrong; trying again won't help.
pub fn check_key(key: &[u8]) -> KvResult<()> {
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(()),
        0 => Err(KvError::Unavailable("batch refused: an empty key".into())),
        n => Err(KvError::Unavailable(format!(
            "batch refused: a key of {n} bytes; at most {KEY_BYTES_MAX} are possible"
        ))),
    }
}

impl Batch {
    /// Is the batch well-formed: do its trees and entries exist, are its keys possible? Engines ask
    /// before they write anything, so that a caller's bug refuses a group whole. The keys of
    /// [`Row::Stamped`] are known only later: engines call [`check_key`] for them.
    ///
    /// # Errors
    /// `Unavailable` naming what is wrong; trying the same batch again won't help.
    pub fn check(&self) -> KvResult<()> {
        for row in &self.rows {
            let (Row::Put(tree, ..) | Row::Delete(tree, _) | Row::Stamped { tree, .. }) = row;
            if tree.0 >= Tree::COUNT {
                return Err(KvError::Unavailable(format!("batch refused: no tree {}", tree.0)));
            }
            match row {
                Row::Put(_, key, _) | Row::Delete(_, key) => check_key(key)?,
                Row::Stamped { entry, .. } if *entry >= self.entries.len() => {
                    return Err(KvError::Unavailable(format!(
                        "batch refused: no log entry {entry}"
                    )));
                }
                Row::Stamped { .. } => {}
            }
        }
        Ok(())
    }
}

/// A log entry before it has its number: the function makes the value from the position, because the
/// store's checksum is bound to the key.
pub type Entry = Box<dyn FnOnce(Seq) -> Vec<u8> + Send>;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Durable. `first` is the next position after what was there before: that of its first log entry, if there is one and
    /// no leap before it ([`Leaps::position`] tells the others).
    At {
        /// This commit's version.
        version: Version,
        /// The next position when it came.
        first: Seq,
    },
    /// A relied-on owner had changed; nothing was written.
    Conflict,
}

/// What went wrong in an engine. Never part of normal operation.
#[derive(Clone, Debug)]
pub enum KvError {
    /// The engine cannot be reached or refused; trying again may help.
    Unavailable(String),
    /// What was read cannot be true (torn page, broken row, foreign file). Never tried again.
    Corrupt(String),
}
impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KvError::Unavailable(m) => write!(f, "store unavailable: {m}"),
            KvError::Corrupt(m) => write!(f, "store corrupt: {m}"),
        }
    }
}
impl std::error::Error for KvError {}
impl From<KvError> for base::Error {
    fn from(e: KvError) -> Self {
        base::Error::fault(e.to_string())
    }
}
/// Result of an engine call.
pub type KvResult<T> = Result<T, KvError>;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// Bytes that a snapshot lends (zero-copy) or gives.
pub type Bytes<'a> = Cow<'a, [u8]>;

/// An engine. Cheap to share; all calls may block, so they run on the bounded pool.
pub trait Engine: Send + Sync + 'static {
    /// A consistent view of everything committed. Readers never wait for writers. Held briefly:
    /// an old snapshot keeps pages from being reused.
    fn snapshot(&self) -> KvResult<Box<dyn Snapshot>>;

    /// Commits batches in the given order, each atomically, each with its own verdict: a batch in
    /// the group sees the effect of those before it when conflicts are checked. When this returns, everything
    /// accepted is durable (unless the engine was opened relaxed) and visible to new snapshots.
    /// An error means that *nothing is known* of the whole group: the caller reports a fault for each.
    /// Called by one thread at a time.
    fn commit(&self, group: Vec<Batch>) -> KvResult<Vec<Verdict>>;

    /// Registers the one listener that is told of a new log head, by this process' commits or another's.
    /// Hints may be late or merged, never early.
    fn on_commit(&self, listener: Arc<dyn Fn(Seq) + Send + Sync>);

    /// When did this owner last change, as far as this process knows: see [`Clock`]. A commit may be visible
    /// to snapshots a moment before it is noted here: of a snapshot whose version is above
    /// [`Clock::seen`], the clock says nothing.
    fn clock(&self) -> &Clock;

    /// Writes a consistent, compacted copy of the whole store to `to` (which must not exist) while
    /// the engine serves. Engines with their own backup tools may refuse with `Unavailable` and say which.
    fn backup(&self, to: &Path) -> KvResult<()>;

    /// Housekeeping. Called about once a second; short.
    fn tend(&self) {}

    /// Bytes on disk now, for metrics; 0 if unknown.
    fn disk_bytes(&self) -> u64;

    /// A short name for logs and metrics: `memory`, `lmdb`, `postgres`.
    fn name(&self) -> &'static str;
}

/// A consistent view. Not shared between threads at once, but may move between them.
pub trait Snapshot: Send {
    /// The last log position in the snapshot.
    fn head(&self) -> Seq;
    /// The last commit in the snapshot.
    fn version(&self) -> Version;
    /// One row.
    fn get<'a>(&'a self, tree: Tree, key: &[u8]) -> KvResult<Option<Bytes<'a>>>;
    /// Several rows of one tree, in the order asked; one trip where trips cost.
    fn get_many<'a>(&'a self, tree: Tree, keys: &[Vec<u8>]) -> KvResult<Vec<Option<Bytes<'a>>>>;
    /// At most `limit` rows with `from <= key < to`, in key order of `direction`. Keys compare as bytes.
    fn scan<'a>(
        &'a self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> KvResult<Vec<(Bytes<'a>, Bytes<'a>)>>;
}
