//! What a group of batches comes to: numbers given, rows finished, conflicts decided. No I/O.

use std::collections::{BTreeMap, HashMap};

use base::Seq;
use kv::{Batch, KvResult, Owner, Row, Tree, Verdict, Version, check_key};

/// What the database says under the lock.
pub(crate) struct Basis {
    pub(crate) version: u64,
    pub(crate) head: u64,
    /// Owners that aren't in `owners` changed at or before this version.
    pub(crate) floor: u64,
    /// Last changes of the owners that the group relies on.
    pub(crate) owners: HashMap<Owner, u64>,
}

impl Basis {
    fn changed(&self, owner: &Owner) -> u64 {
        self.owners.get(owner).copied().unwrap_or(self.floor)
    }
}

/// Rows of one tree after the whole group: the value to set, or `None` to delete.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A transaction that only has to be written.
pub(crate) struct Plan {
    /// The version on which it builds; on any other it is void.
    pub(crate) base: u64,
    /// Names this transaction among all that could have its version.
    pub(crate) id: [u8; 16],
    pub(crate) version: u64,
    pub(crate) head: u64,
    pub(crate) head_before: u64,
    pub(crate) floor: u64,
    pub(crate) floor_raised: bool,
    /// Owners changed, by accepted batch.
    pub(crate) changes: Vec<Vec<Owner>>,
    pub(crate) trees: BTreeMap<u8, Rows>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Plan {
    /// Decides and finishes a group. Its functions are used up by this, also if it fails because one of
    /// them made an impossible key.
    pub(crate) fn new(group: Vec<Batch>, basis: &Basis, id: [u8; 16]) -> KvResult<Plan> {
        let mut plan = Plan {
            base: basis.version,
            id,
            version: basis.version,
            head: basis.head,
            head_before: basis.head,
            floor: basis.floor,
            floor_raised: false,
            changes: Vec::new(),
            trees: BTreeMap::new(),
            verdicts: Vec::with_capacity(group.len()),
        };
        // Last changes by earlier batches of the group.
        let mut here: HashMap<Owner, u64> = HashMap::new();
        for batch in group {
            let since = batch.since.0;
            let changed = |o: &Owner| here.get(o).copied().unwrap_or_else(|| basis.changed(o));
            if batch.relied.iter().any(|o| changed(o) > since) {
                plan.verdicts.push(Verdict::Conflict);
                continue;
            }
            plan.accept(batch)?;
            for owner in plan.changes.last().into_iter().flatten() {
                here.insert(*owner, plan.version);
            }
        }
        Ok(plan)
    }

    fn accept(&mut self, batch: Batch) -> KvResult<()> {
        let first = Seq(self.head + 1);
        self.version += 1;
        for (at, entry) in batch.entries.into_iter().enumerate() {
            let seq = batch.leaps.position(first, at);
            self.head = seq.0;
            self.set(Tree::LOG, seq.0.to_be_bytes().to_vec(), Some(entry(seq)));
        }
        for row in batch.rows {
            match row {
                Row::Put(tree, key, value) => self.set(tree, key, Some(value)),
                Row::Delete(tree, key) => self.set(tree, key, None),
                Row::Stamped { tree, entry, make } => {
                    // Batch::check has seen that there is such an entry.
                    let (key, value) = make(batch.leaps.position(first, entry));
                    check_key(&key)?;
                    self.set(tree, key, Some(value));
                }
            }
        }
        self.changes.push(batch.changed);
        let version = Version(self.version);
        self.verdicts.push(Verdict::At { version, first });
        Ok(())
    }

    // One statement may not touch a key twice, so the last row on a key is found here.
    fn set(&mut self, tree: Tree, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.trees.entry(tree.0).or_default().insert(key, value);
    }

    /// The owners changed by the group, each with its last change.
    pub(crate) fn owners(&self) -> BTreeMap<Owner, u64> {
        let numbered = (self.base + 1..).zip(&self.changes);
        numbered.flat_map(|(version, owners)| owners.iter().map(move |o| (*o, version))).collect()
    }

    /// When the version passes a multiple of a tenth of the history, what is older than the whole
    /// history is given up.
    pub(crate) fn raise_floor(&mut self, history: u64) {
        let step = (history / 10).max(1);
        let floor = self.version.saturating_sub(history);
        if self.version / step == self.base / step || floor <= self.floor {
            return;
        }
        self.floor = floor;
        self.floor_raised = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis() -> Basis {
        let owners = HashMap::from([(Owner(1), 8)]);
        Basis { version: 10, head: 100, floor: 5, owners }
    }

    fn batch(since: u64, relied: &[u128], changed: &[u128]) -> Batch {
        Batch {
            since: Version(since),
            relied: relied.iter().map(|o| Owner(*o)).collect(),
            changed: changed.iter().map(|o| Owner(*o)).collect(),
            ..Batch::default()
        }
    }

    fn verdicts(group: Vec<Batch>) -> Vec<bool> {
        let plan = Plan::new(group, &basis(), [0; 16]).unwrap();
        plan.verdicts.iter().map(|v| *v != Verdict::Conflict).collect()
    }

    #[test]
    fn a_change_after_the_snapshot_refuses_and_one_before_does_not() {
        assert_eq!(verdicts(vec![batch(7, &[1], &[]), batch(8, &[1], &[])]), [false, true]);
    }

    #[test]
    fn an_owner_nobody_remembers_refuses_below_the_floor_only() {
        assert_eq!(verdicts(vec![batch(4, &[2], &[]), batch(5, &[2], &[])]), [false, true]);
        assert_eq!(verdicts(vec![batch(0, &[], &[2])]), [true]);
    }

    #[test]
    fn a_refused_batch_changes_nothing_for_those_behind_it() {
        let group = vec![batch(7, &[1], &[2]), batch(10, &[2], &[3]), batch(10, &[3], &[])];
        assert_eq!(verdicts(group), [false, true, false]);
    }

    #[test]
    fn numbers_are_dense_over_a_group_and_the_last_row_on_a_key_wins() {
        let entry = |n: u8| -> kv::Entry { Box::new(move |_| vec![n]) };
        let mut one = batch(10, &[], &[1]);
        one.entries = vec![entry(1), entry(2)];
        one.rows = vec![Row::Put(Tree(3), b"k".to_vec(), b"1".to_vec())];
        let mut two = batch(10, &[], &[1, 2]);
        two.rows = vec![Row::Delete(Tree(3), b"k".to_vec())];
        let plan = Plan::new(vec![one, batch(0, &[1], &[]), two], &basis(), [0; 16]).unwrap();
        let at = |version, first| Verdict::At { version: Version(version), first: Seq(first) };
        assert_eq!(plan.verdicts, [at(11, 101), Verdict::Conflict, at(12, 103)]);
        assert_eq!((plan.version, plan.head), (12, 102));
        assert_eq!(plan.trees[&3], Rows::from([(b"k".to_vec(), None)]));
        assert_eq!(plan.trees[&0].len(), 2);
        assert_eq!(plan.owners(), BTreeMap::from([(Owner(1), 12), (Owner(2), 12)]));
    }

    #[test]
    fn the_floor_rises_in_steps_and_never_falls() {
        let mut plan = Plan::new(vec![batch(0, &[], &[])], &basis(), [0; 16]).unwrap();
        plan.version = 129;
        plan.base = 121;
        plan.raise_floor(100);
        assert_eq!((plan.floor, plan.floor_raised), (5, false));
        plan.version = 130;
        plan.raise_floor(100);
        assert_eq!((plan.floor, plan.floor_raised), (30, true));
        plan.raise_floor(1000);
        assert_eq!(plan.floor, 30);
    }
}
