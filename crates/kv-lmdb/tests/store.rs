//! What is particular to the embedded engine: one process, compacting, strange directories.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

use kv::{Batch, Engine, KvError, Row, Tree, Version, position};
use kv_lmdb::{Lmdb, Options};

fn open(dir: &Path) -> Result<Lmdb, KvError> {
    Lmdb::open(dir, Options::default())
}

fn put(store: &Lmdb, rows: impl Iterator<Item = u32>, len: usize) {
    let rows = rows.map(|n| Row::Put(Tree(1), n.to_be_bytes().into(), vec![n as u8; len]));
    let entries: Vec<kv::Entry> = vec![Box::new(|_| vec![1])];
    store.commit(vec![Batch { rows: rows.collect(), entries, ..Batch::default() }]).unwrap();
}

#[test]
fn a_store_is_open_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for refused in
        [open(dir.path()).err(), Lmdb::check(dir.path()).err(), Lmdb::compact(dir.path()).err()]
    {
        let message = refused.unwrap().to_string();
        assert!(message.contains("in use") && message.contains(&std::process::id().to_string()));
    }
    drop(store);
    open(dir.path()).unwrap();
}

#[test]
fn a_snapshot_outlives_the_engine_and_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    put(&store, 0..10, 100);
    let snapshot = store.snapshot().unwrap();
    drop(store);
    assert_eq!(snapshot.get(Tree(1), &[0, 0, 0, 7]).unwrap().unwrap().as_ref(), [7; 100]);
    assert!(open(dir.path()).is_err(), "its pages could be reused");
    drop(snapshot);
    open(dir.path()).unwrap();
}

#[test]
fn compacting_gives_space_back_and_keeps_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    put(&store, 0..5_000, 500);
    let delete = (100..5_000_u32).map(|n| Row::Delete(Tree(1), n.to_be_bytes().into()));
    store.commit(vec![Batch { rows: delete.collect(), ..Batch::default() }]).unwrap();
    assert!(store.disk_bytes() > 2_000_000);
    drop(store);
    let done = Lmdb::compact(dir.path()).unwrap();
    assert!(done.before_bytes > 2_000_000 && done.after_bytes < 300_000, "{done:?}");
    let report = Lmdb::check(dir.path()).unwrap();
    assert_eq!((report.rows, report.free_bytes), (101, 0));
    let store = open(dir.path()).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.version(), snapshot.head()), (Version(2), position(1)));
    assert_eq!(snapshot.get(Tree(1), &[0, 0, 0, 99]).unwrap().unwrap().as_ref(), [99; 500]);
    put(&store, 0..1, 1);
    assert_eq!(store.snapshot().unwrap().head(), position(2));
}

#[test]
fn where_there_is_no_store_there_is_nothing_to_check_or_compact() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Lmdb::check(dir.path()), Err(KvError::Unavailable(_))));
    assert!(matches!(Lmdb::compact(dir.path()), Err(KvError::Unavailable(_))));
    assert!(!dir.path().join("data.mdb").exists());
}

#[test]
fn a_bare_data_file_is_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    put(&open(&from).unwrap(), 0..100, 50);
    fs::create_dir(&to).unwrap();
    fs::copy(from.join("data.mdb"), to.join("data.mdb")).unwrap();
    assert_eq!(open(&to).unwrap().snapshot().unwrap().head(), position(1));
    fs::remove_file(to.join("data.mdb")).unwrap();
    assert!(matches!(open(&to), Err(KvError::Corrupt(_))), "it was known to hold data");
}

#[test]
fn a_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("data.mdb"), b"SQLite format 3\0".repeat(10_000)).unwrap();
    assert!(matches!(open(dir.path()), Err(KvError::Corrupt(_))));
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    for content in [vec![], vec![0; 8_192]] {
        let at = dir.path().join(content.len().to_string());
        fs::create_dir(&at).unwrap();
        fs::write(at.join("data.mdb"), content).unwrap();
        assert_eq!(open(&at).unwrap().snapshot().unwrap().version(), Version(0));
    }
}

#[test]
fn a_full_map_is_said_and_leaves_the_store_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { map_bytes: 1 << 20, ..Options::default() };
    let store = Lmdb::open(dir.path(), options).unwrap();
    put(&store, 0..100, 100);
    let rows = (0..2_000_u32).map(|n| Row::Put(Tree(1), n.to_be_bytes().into(), vec![0; 1_000]));
    let refused = store.commit(vec![Batch { rows: rows.collect(), ..Batch::default() }]);
    assert!(refused.unwrap_err().to_string().contains("map"));
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.version(), Version(1));
    assert_eq!(snapshot.get(Tree(1), &[0, 0, 0, 5]).unwrap().unwrap().as_ref(), [5; 100]);
    drop(snapshot);
    put(&store, 0..100, 101);
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.snapshot().unwrap().version(), Version(2));
    put(&store, 0..2_000, 1_000);
}

#[test]
fn too_many_snapshots_are_refused_not_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { snapshots_max: 8, ..Options::default() };
    let store = Lmdb::open(dir.path(), options).unwrap();
    let mut held: Vec<_> = (0..8).map(|_| store.snapshot().unwrap()).collect();
    assert!(matches!(store.snapshot(), Err(KvError::Unavailable(_))));
    held.pop();
    store.snapshot().unwrap();
}

#[test]
fn a_store_too_large_to_be_checked_whole_is_looked_at_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { check_bytes_max: 0, check_always_bytes_max: 0, ..Options::default() };
    for round in 1..=5 {
        let store = Lmdb::open(dir.path(), options).unwrap();
        assert_eq!(store.snapshot().unwrap().version(), Version(round - 1));
        put(&store, 0..3_000, 100 + round as usize);
        drop(store);
        // As after a crash, every other time.
        if round % 2 == 0 {
            fs::write(dir.path().join("store"), "althing embedded store\nopen\n").unwrap();
        }
    }
    let data = dir.path().join("data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    bytes[2 * 4_096..].fill(0);
    fs::write(&data, bytes).unwrap();
    assert!(matches!(Lmdb::open(dir.path(), options), Err(KvError::Corrupt(_))));
}
