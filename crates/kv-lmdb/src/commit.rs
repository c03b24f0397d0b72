//! A group of batches as one LMDB write transaction.

use std::collections::HashSet;

use base::Seq;
use heed::{PutFlags, RwTxn};
use kv::{Batch, Clock, KvResult, Owner, Row, Tree, Verdict, Version, check_key};

use crate::{
    Inner, Rows, STATE_KEY, fault,
    state::{State, row_sum},
};

pub(crate) struct Done {
    pub(crate) verdicts: Vec<Verdict>,
    /// The log's head, if the group moved it.
    pub(crate) new_head: Option<Seq>,
}

/// Commits the group; the clock hears of it only when it is on disk.
pub(crate) fn commit(inner: &Inner, clock: &Clock, group: Vec<Batch>) -> KvResult<Done> {
    for batch in &group {
        batch.check()?;
    }
    let mut verdicts = Vec::with_capacity(group.len());
    if group.is_empty() {
        return Ok(Done { verdicts, new_head: None });
    }
    let mut writer = Writer::begin(inner)?;
    let before = writer.state;
    let mut changed: Vec<(Version, Vec<Owner>)> = Vec::with_capacity(group.len());
    let mut changed_here: HashSet<Owner> = HashSet::new();
    for mut batch in group {
        if batch.relied.iter().any(|o| changed_here.contains(o))
            || clock.any_changed_after(&batch.relied, batch.since)
        {
            verdicts.push(Verdict::Conflict);
            continue;
        }
        let owners = std::mem::take(&mut batch.changed);
        verdicts.push(writer.apply(batch)?);
        changed_here.extend(&owners);
        changed.push((writer.state.version, owners));
    }
    if changed.is_empty() {
        return Ok(Done { verdicts, new_head: None });
    }
    let after = writer.finish()?;
    for (version, owners) in changed {
        clock.note(version, owners);
    }
    Ok(Done { verdicts, new_head: (after.head > before.head).then_some(after.head) })
}

/// The open transaction. Dropped without [`Writer::finish`], it leaves nothing behind.
struct Writer<'a> {
    inner: &'a Inner,
    txn: RwTxn<'a>,
    state: State,
}

impl<'a> Writer<'a> {
    fn begin(inner: &'a Inner) -> KvResult<Writer<'a>> {
        let txn = inner.env.write_txn().map_err(|e| fault::lmdb("beginning a commit", e))?;
        let state = inner.state(&txn)?;
        Ok(Writer { inner, txn, state })
    }

    fn apply(&mut self, batch: Batch) -> KvResult<Verdict> {
        let first = self.state.head.next();
        self.state.version.0 += 1;
        for (at, entry) in batch.entries.into_iter().enumerate() {
            let seq = batch.leaps.position(first, at);
            self.append(seq, &entry(seq))?;
            self.state.head = seq;
        }
        for row in batch.rows {
            match row {
                Row::Put(tree, key, value) => self.put(tree, &key, &value)?,
                Row::Delete(tree, key) => self.delete(tree, &key)?,
                Row::Stamped { tree, entry, make } => {
                    let (key, value) = make(batch.leaps.position(first, entry));
                    check_key(&key)?;
                    self.put(tree, &key, &value)?;
                }
            }
        }
        Ok(Verdict::At { version: self.state.version, first })
    }

    /// Adds a log entry behind all others, which fills pages better than a put.
    fn append(&mut self, seq: Seq, value: &[u8]) -> KvResult<()> {
        let key = seq.0.to_be_bytes();
        let rows = *self.inner.rows(Tree::LOG)?;
        match rows.put_with_flags(&mut self.txn, PutFlags::APPEND, &key, value) {
            Ok(()) => {
                self.sum(Tree::LOG, |sum| sum.wrapping_add(row_sum(&key, value)));
                Ok(())
            }
            Err(heed::Error::Mdb(heed::MdbError::KeyExist)) => {
                Err(fault::corrupt("the log goes on behind its head"))
            }
            Err(e) => Err(fault::lmdb("writing a log entry", e)),
        }
    }

    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> KvResult<()> {
        let rows = *self.inner.rows(tree)?;
        let fault = |e| fault::lmdb("writing a row", e);
        let new = row_sum(key, value);
        // Most rows are new: then this is the only descent.
        let old = rows.get_or_put(&mut self.txn, key, value).map_err(fault)?;
        let old = old.map(|old| (row_sum(key, old), old == value));
        if let Some((old, same)) = old {
            if same {
                return Ok(());
            }
            rows.put(&mut self.txn, key, value).map_err(fault)?;
            self.sum(tree, |sum| sum.wrapping_sub(old));
        }
        self.sum(tree, |sum| sum.wrapping_add(new));
        Ok(())
    }

    fn delete(&mut self, tree: Tree, key: &[u8]) -> KvResult<()> {
        let rows: Rows = *self.inner.rows(tree)?;
        let fault = |e| fault::lmdb("deleting a row", e);
        let Some(old) = rows.get(&self.txn, key).map_err(fault)?.map(|old| row_sum(key, old))
        else {
            return Ok(());
        };
        rows.delete(&mut self.txn, key).map_err(fault)?;
        self.sum(tree, |sum| sum.wrapping_sub(old));
        Ok(())
    }

    fn sum(&mut self, tree: Tree, change: impl FnOnce(u64) -> u64) {
        if let Some(sum) = self.state.sums.get_mut(usize::from(tree.0)) {
            *sum = change(*sum);
        }
    }

    /// Writes the state row and commits. After an error LMDB has not made the new state the current one.
    fn finish(mut self) -> KvResult<State> {
        let fault = |e| fault::lmdb("committing", e);
        let row = self.state.encode();
        self.inner.state.put(&mut self.txn, STATE_KEY, &row).map_err(fault)?;
        self.txn.commit().map_err(fault)?;
        Ok(self.state)
    }
}
