//! The suite that every engine must pass. An engine's tests call [`run`] with a way to make it.
//!
//! Each case gets a fresh, empty engine. What the contract promises is asserted; how an engine keeps the
//! promise is not.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test suite: failing loudly is its purpose"
)]

mod commits;
mod rows;
mod views;

use crate::{
    Batch, Direction, Engine, Entry, KEY_BYTES_MAX, Owner, Row, Seq, Snapshot, Tree, Verdict,
    Version,
};

/// An engine under test.
pub trait Subject {
    /// The engine as it is open now.
    fn engine(&self) -> &dyn Engine;

    /// Closes the engine in good order and opens it again. An engine that keeps nothing does nothing.
    fn reopen(&mut self);

    /// Backs the engine up with [`Engine::backup`] and opens the copy; `None` if the engine has no such thing.
    fn restored(&self) -> Option<Box<dyn Engine>>;
}

type Case = fn(&mut dyn Subject);

/// All cases by name, for engines that want one test for each.
pub const CASES: &[(&str, Case)] = &[
    ("an empty engine stands before everything", rows::empty_engine),
    ("rows are read back", rows::rows_are_read_back),
    ("get_many answers in the order asked", rows::get_many_keeps_order),
    ("scans keep their bounds, limits and directions", rows::scans),
    ("keys compare as bytes", rows::keys_compare_as_bytes),
    ("a later row on the same key wins", rows::later_row_wins),
    ("trees are apart", rows::trees_are_apart),
    ("impossible batches are refused whole", rows::impossible_batches),
    ("large values and keys survive", rows::large_rows),
    (
        "positions are dense over batches with no, one and many entries",
        commits::positions_are_dense,
    ),
    ("stamped rows get the position of their entry", commits::stamped_rows),
    ("a leap leaves positions free", commits::leaps),
    ("log rows can be replaced and deleted", commits::log_rows_can_go),
    ("a relied-on owner that changed refuses the batch whole", commits::conflicts),
    ("a group sees its own earlier batches", commits::conflicts_within_a_group),
    ("a write that relies on nothing is never refused", commits::blind_writes),
    ("a snapshot stays as it was", views::snapshots_are_isolated),
    ("everything survives reopening and no number comes twice", views::reopening),
    ("the listener hears of each head", views::listener),
    ("the clock knows the last change", views::clock),
    ("readers see whole commits while others are made", views::concurrent_readers),
    ("concurrent increments that rely on their owner are all kept", views::no_lost_update),
    ("a snapshot may move to another thread", views::snapshot_moves),
    ("a backup opens and is equal", views::backup),
];

/// Runs every case, each on an engine of its own.
///
/// # Panics
/// At the first promise that is not kept; the case's name is on standard error.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Subject>) {
    for (name, case) in CASES {
        eprintln!("conformance: {name}");
        case(&mut *make());
    }
}

const A: Tree = Tree(1);
const B: Tree = Tree(7);

fn put(tree: Tree, key: &[u8], value: &[u8]) -> Row {
    Row::Put(tree, key.into(), value.into())
}

fn delete(tree: Tree, key: &[u8]) -> Row {
    Row::Delete(tree, key.into())
}

/// A log entry that holds `text` and its own position.
fn entry(text: &'static str) -> Entry {
    Box::new(move |seq| [text.as_bytes(), &seq.0.to_be_bytes()].concat())
}

fn rows(rows: Vec<Row>) -> Batch {
    Batch { rows, ..Batch::default() }
}

fn version(engine: &dyn Engine) -> Version {
    engine.snapshot().unwrap().version()
}

/// Commits one batch that must be accepted.
fn commit(engine: &dyn Engine, batch: Batch) -> (Version, Seq) {
    let verdicts = engine.commit(vec![batch]).unwrap();
    assert_eq!(verdicts.len(), 1);
    accepted(verdicts[0]).unwrap()
}

fn accepted(verdict: Verdict) -> Option<(Version, Seq)> {
    match verdict {
        Verdict::At { version, first } => Some((version, first)),
        Verdict::Conflict => None,
    }
}

fn get(snapshot: &dyn Snapshot, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
    snapshot.get(tree, key).unwrap().map(|v| v.into_owned())
}

fn now(engine: &dyn Engine, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
    get(&*engine.snapshot().unwrap(), tree, key)
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn scan(s: &dyn Snapshot, tree: Tree, from: &[u8], to: &[u8], d: Direction, limit: usize) -> Pairs {
    let rows = s.scan(tree, from, to, d, limit).unwrap();
    rows.into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect()
}

fn everything(s: &dyn Snapshot) -> Vec<Pairs> {
    let end = [0xff; KEY_BYTES_MAX + 1];
    let all = |tree| scan(s, Tree(tree), b"", &end, Direction::Forward, usize::MAX);
    (0..Tree::COUNT).map(all).collect()
}

fn log(s: &dyn Snapshot) -> Pairs {
    scan(s, Tree::LOG, b"", &[0xff; 9], Direction::Forward, usize::MAX)
}

/// A batch on one owner that leaves a row behind if it was accepted.
fn on(owner: u128, since: Version, key: &[u8]) -> Batch {
    Batch {
        since,
        relied: vec![Owner(owner)],
        changed: vec![Owner(owner)],
        rows: vec![put(A, key, b"")],
        entries: vec![entry("on")],
        ..Batch::default()
    }
}
