//! A snapshot: an LMDB read transaction that owns what it needs.

use std::{ops::Bound, sync::Arc};

use base::Seq;
use heed::{RoTxn, WithoutTls};
use kv::{Bytes, Direction, KEY_BYTES_MAX, KvResult, Snapshot, Tree, Version};

use crate::{Inner, fault};

/// Lends rows straight from the map. Fields are dropped in order: the transaction goes first.
pub(crate) struct View {
    txn: RoTxn<'static, WithoutTls>,
    inner: Arc<Inner>,
    version: Version,
    head: Seq,
}

impl View {
    pub(crate) fn take(inner: &Arc<Inner>) -> KvResult<View> {
        let txn = inner.env.clone().static_read_txn();
        let txn = txn.map_err(|e| fault::lmdb("taking a snapshot", e))?;
        let state = inner.state(&txn)?;
        let inner = Arc::clone(inner);
        Ok(View { txn, inner, version: state.version, head: state.head })
    }
}

impl Snapshot for View {
    fn head(&self) -> Seq {
        self.head
    }

    fn version(&self) -> Version {
        self.version
    }

    fn get<'a>(&'a self, tree: Tree, key: &[u8]) -> KvResult<Option<Bytes<'a>>> {
        let rows = self.inner.rows(tree)?;
        // LMDB refuses to look for keys that it cannot hold.
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        match rows.get(&self.txn, key) {
            Ok(value) => Ok(value.map(Bytes::Borrowed)),
            Err(e) => Err(fault::lmdb("reading a row", e)),
        }
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
        let rows = self.inner.rows(tree)?;
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        // LMDB cannot look for the empty key, and no key is smaller.
        let low = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
        let range = (low, Bound::Excluded(to));
        let fault = |e| fault::lmdb("scanning rows", e);
        let lend = |row: heed::Result<(&'a [u8], &'a [u8])>| match row {
            Ok((key, value)) => Ok((Bytes::Borrowed(key), Bytes::Borrowed(value))),
            Err(e) => Err(fault(e)),
        };
        match direction {
            Direction::Forward => {
                rows.range(&self.txn, &range).map_err(fault)?.take(limit).map(lend).collect()
            }
            Direction::Backward => {
                rows.rev_range(&self.txn, &range).map_err(fault)?.take(limit).map(lend).collect()
            }
        }
    }
}
