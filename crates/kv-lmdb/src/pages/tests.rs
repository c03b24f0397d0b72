//! The reader of pages against stores that LMDB wrote.

use kv::{Batch, Engine, Row};

use super::*;
use crate::{Lmdb, Options, dir};

fn full(dir: &Path) -> Report {
    check(&dir::data(dir), Depth::Full).unwrap().unwrap()
}

/// Small, fast, the same every time.
struct Dice(u64);
impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// A batch of every kind of change: small and large values, rewritten within the batch, long keys,
/// few keys that change often, deletions of whole stretches.
fn changes(dice: &mut Dice) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..=dice.below(60) {
        let tree = Tree(1 + dice.below(3) as u8);
        let mut key = dice.below(2_000).to_be_bytes()[5..].to_vec();
        if tree == Tree(3) {
            key.resize(3 + (usize::from(key[2]) * 2).min(508), 7);
        }
        let len = match dice.below(20) {
            0 => 2_000 + dice.below(20_000),
            1 => 1_900 + dice.below(300),
            _ => dice.below(300),
        };
        if dice.below(3) == 0 {
            batch.rows.push(Row::Delete(tree, key));
        } else {
            if dice.below(5) == 0 {
                let other = dice.below(10_000);
                batch.rows.push(Row::Put(tree, key.clone(), dice.bytes(other)));
            }
            batch.rows.push(Row::Put(tree, key, dice.bytes(len)));
        }
    }
    for _ in 0..dice.below(4) {
        let len = dice.below(60);
        let value = dice.bytes(len);
        batch.entries.push(Box::new(move |_| value));
    }
    if dice.below(30) == 0 {
        let from = dice.below(2_000);
        let gone = (from..from + 500).map(|n| n.to_be_bytes()[5..].to_vec());
        batch.rows.extend(gone.map(|key| Row::Delete(Tree(1), key)));
    }
    batch
}

#[test]
fn whatever_lmdb_writes_is_found_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice(5);
    for round in 0..4 {
        let store = Lmdb::open(dir.path(), Options::default()).unwrap();
        let mut held = None;
        for n in 0..120 {
            let group = (0..=dice.below(3)).map(|_| changes(&mut dice)).collect();
            store.commit(group).unwrap();
            // A snapshot held for a while keeps pages from being reused.
            if n % 40 == 0 {
                held = Some(store.snapshot().unwrap());
            }
            let report = full(dir.path());
            let state = store.inner.state(&store.inner.env.read_txn().unwrap()).unwrap();
            assert_eq!(report.sums, Some(state.sums), "round {round}, commit {n}");
            check(&dir::data(dir.path()), Depth::Edges).unwrap().unwrap();
        }
        drop(held);
    }
    let report = full(dir.path());
    assert!(report.rows > 2_000 && report.free_bytes > 0);
    let len = std::fs::metadata(dir::data(dir.path())).unwrap().len();
    assert!(report.used_bytes + report.free_bytes >= len, "every page is in use or free");
}

#[test]
fn deep_trees_are_walked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Lmdb::open(dir.path(), Options::default()).unwrap();
    for round in 0..10_u32 {
        let long = |n: u32| [&(n * 7919 % 20_011).to_be_bytes()[..], &[1; 480]].concat();
        let rows = (0..1_000).map(|n| Row::Put(Tree(2), long(round * 1_000 + n), vec![1; 10]));
        store.commit(vec![Batch { rows: rows.collect(), ..Batch::default() }]).unwrap();
        assert_eq!(full(dir.path()).rows, u64::from(round + 1) * 1_000);
    }
    for round in 0..10_u32 {
        let long = |n: u32| [&(n * 7919 % 20_011).to_be_bytes()[..], &[1; 480]].concat();
        let rows = (0..1_000).map(|n| Row::Delete(Tree(2), long(round * 1_000 + n)));
        store.commit(vec![Batch { rows: rows.collect(), ..Batch::default() }]).unwrap();
        assert_eq!(full(dir.path()).rows, u64::from(9 - round) * 1_000);
    }
}

#[test]
fn a_store_without_rows_is_whole_and_a_strange_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    drop(Lmdb::open(dir.path(), Options::default()).unwrap());
    assert_eq!(full(dir.path()).rows, 0);
    let strange = dir.path().join("strange");
    for content in [vec![], vec![0; 10_000], b"SQLite format 3\0".repeat(1_000)] {
        std::fs::write(&strange, content).unwrap();
        assert!(matches!(check(&strange, Depth::Full), Err(kv::KvError::Corrupt(_))));
    }
}
