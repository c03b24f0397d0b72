//! The engine for tests and simulation: nothing survives the process.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    path::Path,
    sync::Arc,
};

use base::Seq;
use parking_lot::{Mutex, RwLock};

use crate::{
    Batch, Bytes, Clock, Direction, Engine, KvError, KvResult, LOG_BEGIN, Owner, Row, Snapshot,
    Tree, Verdict, Version, check_key,
};

/// Rows of a shelf before it is split in two: what a commit copies for each shelf it touches while a
/// snapshot is alive.
const SHELF_ROWS_MAX: usize = 256;

type Shared = Arc<[u8]>;
type Pair<'a> = (Bytes<'a>, Bytes<'a>);
type Shelf = BTreeMap<Shared, Shared>;
type Listener = Arc<dyn Fn(Seq) + Send + Sync>;

/// An engine in RAM. A snapshot shares all rows with the engine; a commit copies the shelves it touches.
#[derive(Default)]
pub struct Memory {
    state: RwLock<State>,
    /// One committer at a time, also if a caller breaks that promise.
    committing: Mutex<()>,
    clock: Clock,
    listener: RwLock<Option<Listener>>,
}

#[derive(Clone)]
struct State {
    version: Version,
    head: Seq,
    trees: [Arc<Shelves>; Tree::COUNT as usize],
}

impl Default for State {
    fn default() -> State {
        State { version: Version::default(), head: LOG_BEGIN, trees: Default::default() }
    }
}

/// One tree: shelves by the smallest key that belongs on them. The first stands at the empty key.
#[derive(Clone, Default)]
struct Shelves(BTreeMap<Shared, Arc<Shelf>>);

impl Shelves {
    fn get(&self, key: &[u8]) -> Option<&Shared> {
        let (_, shelf) = self.0.range::<[u8], _>(up_to(key)).next_back()?;
        shelf.get(key)
    }

    fn put(&mut self, key: Shared, value: Shared) {
        let Some((_, shelf)) = self.0.range_mut::<[u8], _>(up_to(&key)).next_back() else {
            let only = Shelf::from([(key, value)]);
            self.0.insert(Shared::from([]), Arc::new(only));
            return;
        };
        let shelf = Arc::make_mut(shelf);
        shelf.insert(key, value);
        if shelf.len() > SHELF_ROWS_MAX
            && let Some(middle) = shelf.keys().nth(SHELF_ROWS_MAX / 2).cloned()
        {
            let upper = shelf.split_off(&middle);
            self.0.insert(middle, Arc::new(upper));
        }
    }

    fn delete(&mut self, key: &[u8]) {
        let Some((start, shelf)) = self.0.range_mut::<[u8], _>(up_to(key)).next_back() else {
            return;
        };
        if !shelf.contains_key(key) {
            return;
        }
        let shelf = Arc::make_mut(shelf);
        shelf.remove(key);
        // The first shelf stays even when empty: every key must find one.
        if shelf.is_empty() && !start.is_empty() {
            let start = start.clone();
            self.0.remove(&start);
        }
    }

    /// Rows with `from <= key < to`, where `from < to`.
    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Vec<Pair<'_>> {
        let first =
            self.0.range::<[u8], _>(up_to(from)).next_back().map_or(from, |(start, _)| &**start);
        let shelves = self.0.range::<[u8], _>((Bound::Included(first), Bound::Excluded(to)));
        let wanted = (Bound::Included(from), Bound::Excluded(to));
        let rows = shelves.flat_map(|(_, shelf)| shelf.range::<[u8], _>(wanted)).map(lend);
        match direction {
            Direction::Forward => rows.take(limit).collect(),
            Direction::Backward => rows.rev().take(limit).collect(),
        }
    }
}

fn lend<'a>((key, value): (&'a Shared, &'a Shared)) -> Pair<'a> {
    (Bytes::Borrowed(key), Bytes::Borrowed(value))
}

fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

impl State {
    fn tree(&self, tree: Tree) -> KvResult<&Shelves> {
        self.trees.get(usize::from(tree.0)).map(|t| &**t).ok_or_else(|| no_tree(tree))
    }

    fn put(&mut self, tree: Tree, key: Vec<u8>, value: Vec<u8>) -> KvResult<()> {
        let tree = self.trees.get_mut(usize::from(tree.0)).ok_or_else(|| no_tree(tree))?;
        Arc::make_mut(tree).put(key.into(), value.into());
        Ok(())
    }

    fn delete(&mut self, tree: Tree, key: &[u8]) -> KvResult<()> {
        let tree = self.trees.get_mut(usize::from(tree.0)).ok_or_else(|| no_tree(tree))?;
        Arc::make_mut(tree).delete(key);
        Ok(())
    }

    /// Applies a batch that passed the conflict check.
    fn apply(&mut self, batch: Batch) -> KvResult<Verdict> {
        let first = self.head.next();
        self.version.0 += 1;
        for (at, entry) in batch.entries.into_iter().enumerate() {
            let seq = batch.leaps.position(first, at);
            self.put(Tree::LOG, seq.0.to_be_bytes().to_vec(), entry(seq))?;
            self.head = seq;
        }
        for row in batch.rows {
            match row {
                Row::Put(tree, key, value) => self.put(tree, key, value)?,
                Row::Delete(tree, key) => self.delete(tree, &key)?,
                Row::Stamped { tree, entry, make } => {
                    let (key, value) = make(batch.leaps.position(first, entry));
                    check_key(&key)?;
                    self.put(tree, key, value)?;
                }
            }
        }
        Ok(Verdict::At { version: self.version, first })
    }
}

fn no_tree(tree: Tree) -> KvError {
    KvError::Unavailable(format!("there is no tree {}", tree.0))
}

impl Memory {
    /// An engine of its own that begins with what is in this one now.
    #[must_use]
    pub fn copy(&self) -> Memory {
        let state = self.state.read().clone();
        let clock = Clock::default();
        clock.start(state.version);
        Memory { state: RwLock::new(state), clock, ..Memory::default() }
    }
}

impl Engine for Memory {
    fn snapshot(&self) -> KvResult<Box<dyn Snapshot>> {
        Ok(Box::new(self.state.read().clone()))
    }

    fn commit(&self, group: Vec<Batch>) -> KvResult<Vec<Verdict>> {
        let one_at_a_time = self.committing.lock();
        for batch in &group {
            batch.check()?;
        }
        // Worked out on a copy, so that a group fails whole and readers never wait.
        let mut next = self.state.read().clone();
        let head_before = next.head;
        let mut changed: Vec<(Version, Vec<Owner>)> = Vec::new();
        let mut changed_here: HashSet<Owner> = HashSet::new();
        let mut verdicts = Vec::with_capacity(group.len());
        for mut batch in group {
            if batch.relied.iter().any(|o| changed_here.contains(o))
                || self.clock.any_changed_after(&batch.relied, batch.since)
            {
                verdicts.push(Verdict::Conflict);
                continue;
            }
            let owners = std::mem::take(&mut batch.changed);
            verdicts.push(next.apply(batch)?);
            changed_here.extend(&owners);
            changed.push((next.version, owners));
        }
        let head = next.head;
        {
            let mut state = self.state.write();
            for (version, owners) in changed {
                self.clock.note(version, owners);
            }
            *state = next;
        }
        drop(one_at_a_time);
        if head > head_before {
            let listener = self.listener.read().clone();
            if let Some(listener) = listener {
                listener(head);
            }
        }
        Ok(verdicts)
    }

    fn on_commit(&self, listener: Arc<dyn Fn(Seq) + Send + Sync>) {
        *self.listener.write() = Some(listener);
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn backup(&self, _to: &Path) -> KvResult<()> {
        Err(KvError::Unavailable("the memory engine keeps nothing that could be backed up".into()))
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

impl Snapshot for State {
    fn head(&self) -> Seq {
        self.head
    }

    fn version(&self) -> Version {
        self.version
    }

    fn get<'a>(&'a self, tree: Tree, key: &[u8]) -> KvResult<Option<Bytes<'a>>> {
        Ok(self.tree(tree)?.get(key).map(|v| Bytes::Borrowed(&**v)))
    }

    fn get_many<'a>(&'a self, tree: Tree, keys: &[Vec<u8>]) -> KvResult<Vec<Option<Bytes<'a>>>> {
        keys.iter().map(|key| self.get(tree, key)).collect()
    }

    fn scan<'a>(
        &'a self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> KvResult<Vec<(Bytes<'a>, Bytes<'a>)>> {
        let tree = self.tree(tree)?;
        if from >= to {
            return Ok(Vec::new());
        }
        Ok(tree.scan(from, to, direction, limit))
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use crate::conformance::{Subject, run};

    impl Subject for Memory {
        fn engine(&self) -> &dyn Engine {
            self
        }
        fn reopen(&mut self) {}
        fn restored(&self) -> Option<Box<dyn Engine>> {
            None
        }
    }

    #[test]
    fn memory_keeps_the_contract() {
        run(&mut || Box::new(Memory::default()));
    }

    #[test]
    fn a_copy_goes_its_own_way() {
        let batch = |since, value: &[u8]| Batch {
            since,
            relied: vec![Owner(1)],
            changed: vec![Owner(1)],
            rows: vec![Row::Put(Tree(3), vec![1], value.into())],
            ..Batch::default()
        };
        let one = Memory::default();
        one.commit(vec![batch(Version(0), b"a")]).unwrap();
        let two = one.copy();
        two.commit(vec![batch(Version(1), b"b")]).unwrap();
        let value = |of: &Memory| {
            let snapshot = of.snapshot().unwrap();
            snapshot.get(Tree(3), &[1]).unwrap().unwrap().into_owned()
        };
        assert_eq!((value(&one), value(&two)), (b"a".to_vec(), b"b".to_vec()));
        // What was computed before the copy was made collides there too.
        let late = two.copy().commit(vec![batch(Version(1), b"c")]).unwrap();
        assert!(matches!(late[..], [Verdict::Conflict]));
    }

    #[test]
    fn a_tree_is_the_same_however_it_grew() {
        // Against the standard map, across many splits, removals and snapshots.
        let memory = Memory::default();
        let mut oracle: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut dice = 1_u64;
        for _ in 0..200 {
            let mut batch = Batch::default();
            for _ in 0..50 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = ((dice >> 33) % 3_000).to_be_bytes()[6..].to_vec();
                if dice >> 60 < 5 {
                    oracle.remove(&key);
                    batch.rows.push(Row::Delete(Tree(3), key));
                } else {
                    oracle.insert(key.clone(), dice.to_le_bytes().into());
                    batch.rows.push(Row::Put(Tree(3), key, dice.to_le_bytes().into()));
                }
            }
            let _held = memory.snapshot().unwrap();
            memory.commit(vec![batch]).unwrap();
            let snapshot = memory.snapshot().unwrap();
            for direction in [Direction::Forward, Direction::Backward] {
                let mut found: Vec<(Vec<u8>, Vec<u8>)> = snapshot
                    .scan(Tree(3), &[1], &[10], direction, usize::MAX)
                    .unwrap()
                    .into_iter()
                    .map(|(k, v)| (k.into_owned(), v.into_owned()))
                    .collect();
                if direction == Direction::Backward {
                    found.reverse();
                }
                let wanted: Vec<(Vec<u8>, Vec<u8>)> =
                    oracle.range(vec![1]..vec![10]).map(|(k, v)| (k.clone(), v.clone())).collect();
                assert!(found == wanted);
            }
        }
    }
}
