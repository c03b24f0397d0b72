//! [`View`]: a consistent snapshot with typed reads; [`Tx`]: a view that also writes.
//!
//! A transaction *is* a view (it derefs to one), so that readers are written once. Reads through a transaction see
//! its own writes and mark the owners of what they read as relied on; writes mark owners as changed. From these
//! marks the engine decides whether the commit collides with another: domain code contains no locks and no
//! asserts.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    ops::Deref,
    sync::Arc,
};

use base::{Epoch, Error, Reply, Room, Seq, UnixMs, User};
use kv::{Batch, Direction, Owner, Row as KvRow, Snapshot, Tree, Version};
use ruma::{OwnedUserId, ServerName};

use crate::{
    PresenceShown, Shared,
    cache::CacheKey,
    keys::Key,
    keyspace::{Keyspace, Kind, Tenant, owner},
    log,
    value::{Value, seal, unseal},
    witness::Asked,
};

/// A consistent snapshot of one tenant. Synchronous; lives for one request on the bounded pool.
pub struct View {
    snapshot: Box<dyn Snapshot>,
    shared: Arc<Shared>,
    tenant: Tenant,
    now: UnixMs,
    pending: Option<RefCell<Pending>>,
    /// See [`View::keep`].
    kept: RefCell<Vec<KvRow>>,
    /// See [`crate::witness`].
    pub(crate) asked: RefCell<Asked>,
}

type RowKey = (Tree, Vec<u8>);

/// Log entries that are counted by reading them: a few milliseconds.
const COUNTED_MAX: usize = 8_192;

/// What a transaction has gathered.
#[derive(Default)]
struct Pending {
    rows: BTreeMap<RowKey, Option<Vec<u8>>>,
    relied: HashSet<Owner>,
    changed: HashSet<Owner>,
    stamped: Vec<(Tree, usize, kv::Stamp)>,
    entries: Vec<log::Entry>,
    leaps: kv::Leaps,
    /// A row was written whose key no engine can hold.
    overlong: bool,
    /// How to take back the rows written since the last savepoint.
    undo: Vec<(RowKey, Option<Option<Vec<u8>>>)>,
}

impl View {
    pub(crate) fn new(
        snapshot: Box<dyn Snapshot>,
        shared: Arc<Shared>,
        tenant: Tenant,
        now: UnixMs,
    ) -> View {
        let (kept, asked) = (RefCell::default(), RefCell::default());
        View { snapshot, shared, tenant, now, pending: None, kept, asked }
    }

    /// The last log position that this view contains.
    pub fn head(&self) -> Seq {
        self.snapshot.head()
    }
    /// When the request began.
    pub fn now(&self) -> UnixMs {
        self.now
    }
    /// The name of this server.
    pub fn server_name(&self) -> &ServerName {
        &self.shared.options.server_name
    }
    /// `@localpart:server_name`.
    pub fn local_user_id(&self, localpart: &str) -> Option<OwnedUserId> {
        OwnedUserId::try_from(format!("@{localpart}:{}", self.server_name())).ok()
    }
    /// The key with which this server signs.
    pub fn signing_key(&self) -> &protocol::SigningKey {
        &self.shared.options.signing_key
    }
    /// What the operator requires of encryption in rooms.
    pub fn encryption(&self) -> &protocol::encryption::Requirement {
        &self.shared.options.encryption
    }
    /// Today's position among typing notices.
    pub fn typing_epoch(&self) -> Epoch {
        self.shared.typing.epoch()
    }
    /// Rooms in which who types has changed after `since`.
    pub fn typing_rooms(&self, since: Epoch) -> Vec<Room> {
        self.shared.typing.rooms_changed(self.tenant, since)
    }
    /// Who types in a room, if that changed after `since` (a position of an earlier process counts as 0).
    pub fn typing(&self, room: Room, since: Epoch) -> Option<Vec<User>> {
        self.shared.typing.changed(self.tenant, room, since)
    }
    /// What is shown of how present a user is; `None`: nothing is known.
    pub fn presence(&self, user: User) -> Option<PresenceShown> {
        self.shared.presence.get((self.tenant, user))
    }
    /// Whose presence has changed after a position, at most `limit`, and up to where that is all of them.
    pub fn presence_changed(&self, since: Epoch, limit: usize) -> (Vec<User>, Epoch) {
        self.shared.presence.changed(self.tenant, since, limit)
    }
    /// The process' event codec (dictionary compression).
    pub(crate) fn codec(&self) -> &crate::codec::Codec {
        &self.shared.codec
    }

    fn rely(&self, owner: Option<Owner>) {
        if let (Some(pending), Some(owner)) = (&self.pending, owner) {
            pending.borrow_mut().relied.insert(owner);
        }
    }

    fn open<V: Value>(&self, name: &str, key: &[u8], row: &[u8]) -> Reply<V> {
        unseal(key, row)
            .and_then(|(version, payload)| V::take(version, payload))
            .ok_or_else(|| Error::fault(format!("corrupt row in {name}, key {key:02x?}")))
    }

    /// One row.
    pub fn get<K: Key, V: Value>(&self, ks: &Keyspace<K, V>, key: K) -> Reply<Option<V>> {
        self.rely(ks.owner(self.tenant, &key));
        let key = ks.key(self.tenant, &key);
        if let Some(pending) = &self.pending {
            let full = (ks.tree, key);
            if let Some(row) = pending.borrow().rows.get(&full) {
                return row.as_ref().map(|r| self.open(ks.name, &full.1, r)).transpose();
            }
            let row = self.snapshot.get(ks.tree, &full.1)?;
            return row.map(|r| self.open(ks.name, &full.1, &r)).transpose();
        }
        self.snapshot.get(ks.tree, &key)?.map(|r| self.open(ks.name, &key, &r)).transpose()
    }

    /// Is there such a row?
    pub fn has<K: Key, V: Value>(&self, ks: &Keyspace<K, V>, key: K) -> Reply<bool> {
        Ok(self.get(ks, key)?.is_some())
    }

    /// Several rows in the order asked: one trip where trips cost.
    pub fn get_many<K: Key, V: Value>(
        &self,
        ks: &Keyspace<K, V>,
        keys: impl IntoIterator<Item = K>,
    ) -> Reply<Vec<Option<V>>> {
        let mut wanted = Vec::new();
        for key in keys {
            self.rely(ks.owner(self.tenant, &key));
            wanted.push(ks.key(self.tenant, &key));
        }
        let rows = self.snapshot.get_many(ks.tree, &wanted)?;
        wanted
            .into_iter()
            .zip(rows)
            .map(|(key, row)| {
                let full = (ks.tree, key);
                if let Some(pending) = &self.pending
                    && let Some(row) = pending.borrow().rows.get(&full)
                {
                    return row.as_ref().map(|r| self.open(ks.name, &full.1, r)).transpose();
                }
                row.map(|r| self.open(ks.name, &full.1, &r)).transpose()
            })
            .collect()
    }

    /// Rows with `from <= key < to`, at most `limit`, in the order of `direction`.
    pub fn range<K: Key, V: Value>(
        &self,
        ks: &Keyspace<K, V>,
        from: K,
        to: K,
        direction: Direction,
        limit: usize,
    ) -> Reply<Vec<(K, V)>> {
        self.rely(ks.owner(self.tenant, &from));
        let (from, to) = (ks.key(self.tenant, &from), ks.key(self.tenant, &to));
        self.scan(ks, from, to, direction, limit)
    }

    /// All rows whose key begins with the parts of `prefix`, in key order, at most `limit`.
    pub fn under<P: Key, K: Key, V: Value>(
        &self,
        ks: &Keyspace<K, V>,
        prefix: P,
        limit: usize,
    ) -> Reply<Vec<(K, V)>> {
        let mut from = ks.prefix(self.tenant);
        prefix.put(&mut from);
        if let crate::keyspace::Owned::First(kind) = ks.owned {
            let mut first = Vec::new();
            prefix.put_first(&mut first);
            self.rely(Some(owner(self.tenant, kind, &first)));
        }
        let to = after_prefix(&from);
        self.scan(ks, from, to, Direction::Forward, limit)
    }

    /// Every row of a keyspace, in key order, at most `limit`, from `after` (exclusive) on. For chores, not for requests.
    pub fn everything<K: Key, V: Value>(
        &self,
        ks: &Keyspace<K, V>,
        after: Option<K>,
        limit: usize,
    ) -> Reply<Vec<(K, V)>> {
        let prefix = ks.prefix(self.tenant);
        let to = after_prefix(&prefix);
        let from = match after {
            Some(key) => {
                let mut from = ks.key(self.tenant, &key);
                from.push(0);
                from
            }
            None => prefix,
        };
        self.scan(ks, from, to, Direction::Forward, limit)
    }

    fn scan<K: Key, V: Value>(
        &self,
        ks: &Keyspace<K, V>,
        from: Vec<u8>,
        to: Vec<u8>,
        direction: Direction,
        limit: usize,
    ) -> Reply<Vec<(K, V)>> {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let skip = ks.prefix(self.tenant).len();
        let read = |key: &[u8], row: &[u8]| -> Reply<(K, V)> {
            let parts = K::take(key.get(skip..).unwrap_or_default())
                .ok_or_else(|| Error::fault(format!("corrupt key in {}: {key:02x?}", ks.name)))?;
            Ok((parts, self.open(ks.name, key, row)?))
        };
        let Some(pending) = &self.pending else {
            let rows = self.snapshot.scan(ks.tree, &from, &to, direction, limit)?;
            return rows.iter().map(|(k, v)| read(k, v)).collect();
        };
        let pending = pending.borrow();
        let own: Vec<_> =
            pending.rows.range((ks.tree, from.clone())..(ks.tree, to.clone())).collect();
        // Each of our own rows may hide one of the snapshot's.
        let rows = self.snapshot.scan(ks.tree, &from, &to, direction, limit + own.len())?;
        let mut merged: BTreeMap<&[u8], Option<&[u8]>> =
            rows.iter().map(|(k, v)| (&**k, Some(&**v))).collect();
        merged.extend(own.iter().map(|((_, k), v)| (k.as_slice(), v.as_deref())));
        let live = merged.into_iter().filter_map(|(k, v)| Some((k, v?)));
        match direction {
            Direction::Forward => live.take(limit).map(|(k, v)| read(k, v)).collect(),
            Direction::Backward => live.rev().take(limit).map(|(k, v)| read(k, v)).collect(),
        }
    }

    /// Log entries with `after < position <= upto`, oldest first, at most `limit`, of this tenant.
    pub fn log(&self, after: Seq, upto: Seq, limit: usize) -> Reply<Vec<(Seq, log::Entry)>> {
        let upto = upto.min(self.head());
        if after >= upto {
            return Ok(Vec::new());
        }
        if let Some(recent) = self.shared.tail.recent(self.tenant, after, upto, limit) {
            return Ok(recent);
        }
        let rows = self.snapshot.scan(
            Tree::LOG,
            &after.next().0.to_be_bytes(),
            &upto.next().0.to_be_bytes(),
            Direction::Forward,
            limit,
        )?;
        let mut entries = Vec::with_capacity(rows.len());
        for (key, row) in &rows {
            let (seq, tenant, entry) = log::read(key, row)?;
            if tenant == self.tenant {
                entries.push((seq, entry));
            }
        }
        Ok(entries)
    }

    /// Are there more entries behind a position than that? Positions leap, so their difference does not tell. Of what was before this
    /// process, no more than 8,192 are counted.
    ///
    /// # Errors
    /// Faults only.
    pub fn is_far(&self, after: Seq, most: usize) -> Reply<bool> {
        if self.head().0.saturating_sub(after.0) <= most as u64 {
            return Ok(false);
        }
        if let Some(count) = self.shared.tail.count(after, self.head()) {
            return Ok(count > most);
        }
        let most = most.min(COUNTED_MAX);
        Ok(self.log(after, self.head(), most + 1)?.len() > most)
    }

    /// A decoded value that is expensive to make again: from the cache if its owner has not changed since it was
    /// made, otherwise from `load`, which says how many bytes it weighs. `space` names the kind of value.
    pub fn cached<T: Any + Send + Sync>(
        &self,
        space: &'static CacheSpace,
        id: u128,
        load: impl FnOnce(&View) -> Reply<(T, usize)>,
    ) -> Reply<Arc<T>> {
        let owner = space.owned.map(|kind| {
            let low = (id & u128::from(u64::MAX)) as u64;
            owner(self.tenant, kind, &low.to_be_bytes())
        });
        self.rely(owner);
        let own_change = match (&self.pending, owner) {
            (Some(pending), Some(owner)) => pending.borrow().changed.contains(&owner),
            _ => false,
        };
        if own_change {
            return load(self).map(|(value, _)| Arc::new(value));
        }
        let key = CacheKey { space: space.tag, tenant: self.tenant, id };
        let clock = self.shared.engine.clock();
        // A commit may be in the snapshot a moment before the clock knows of it.
        let trusted = owner.is_none() || clock.seen() >= self.snapshot.version();
        let last_change = owner.map_or(Version(0), |o| clock.changed(o));
        if trusted
            && let Some(hit) =
                self.shared.cache.get::<T>(&key, last_change, self.snapshot.version())
        {
            return Ok(hit);
        }
        let (value, bytes) = load(self)?;
        let value = Arc::new(value);
        // A change that this snapshot does not contain: right for us, wrong for the next.
        if last_change <= self.snapshot.version() {
            self.shared.cache.put(key, value.clone(), bytes, self.snapshot.version());
        }
        Ok(value)
    }

    /// Asks for a row to be written after this view is done, if it was a plain read: for what was computed on the way, can
    /// always be computed again, and says itself what it is valid for. May be dropped.
    pub fn keep<K: Key, V: Value>(&self, ks: &Keyspace<K, V>, key: K, value: &V) {
        if self.pending.is_none() {
            let key = ks.key(self.tenant, &key);
            let row = seal(&key, value);
            self.kept.borrow_mut().push(KvRow::Put(ks.tree, key, row));
        }
    }

    /// The batch of what was kept, if anything was.
    pub(crate) fn into_kept(self) -> Option<Batch> {
        let rows = self.kept.into_inner();
        let since = self.snapshot.version();
        (!rows.is_empty()).then(|| Batch { since, rows, ..Batch::default() })
    }

    /// A value that knows by itself for which position it is right: whatever was last remembered.
    pub fn recall<T: Any + Send + Sync>(
        &self,
        space: &'static CacheSpace,
        id: u128,
    ) -> Option<Arc<T>> {
        let key = CacheKey { space: space.tag, tenant: self.tenant, id };
        self.shared.cache.get::<T>(&key, Version(0), Version(u64::MAX))
    }

    /// See [`View::recall`]. Nothing is remembered from within a transaction, which may yet be taken back.
    pub fn remember<T: Any + Send + Sync>(
        &self,
        space: &'static CacheSpace,
        id: u128,
        value: Arc<T>,
        bytes: usize,
    ) {
        if self.pending.is_none() {
            let key = CacheKey { space: space.tag, tenant: self.tenant, id };
            self.shared.cache.put(key, value, bytes, self.snapshot.version());
        }
    }
}

/// A kind of cached value. `owned`: the kind of owner whose change makes it stale, found by the low 64 bits of
/// the id; `None`: the value never changes.
pub struct CacheSpace {
    /// Unique.
    pub tag: u8,
    /// See above.
    pub owned: Option<Kind>,
}

fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut to = prefix.to_vec();
    while let Some(last) = to.pop() {
        if last < 0xFF {
            to.push(last + 1);
            break;
        }
    }
    to
}

/// A transaction: a view with writes. Its function may be run again on a conflict, so it has no effect but this one.
pub struct Tx {
    view: View,
}

impl Deref for Tx {
    type Target = View;
    fn deref(&self) -> &View {
        &self.view
    }
}

impl Tx {
    pub(crate) fn new(mut view: View) -> Tx {
        view.pending = Some(RefCell::default());
        Tx { view }
    }

    fn pending(&mut self) -> &mut Pending {
        self.view.pending.get_or_insert_with(RefCell::default).get_mut()
    }

    /// Sets a row.
    pub fn put<K: Key, V: Value>(&mut self, ks: &Keyspace<K, V>, key: K, value: &V) {
        let owner = ks.owner(self.view.tenant, &key);
        let key = ks.key(self.view.tenant, &key);
        let row = seal(&key, value);
        let pending = self.pending();
        pending.changed.extend(owner);
        pending.set((ks.tree, key), Some(row));
    }

    /// Sets a row that was never there before: nobody can have relied on it, so no owner is marked changed.
    pub fn put_new<K: Key, V: Value>(&mut self, ks: &Keyspace<K, V>, key: K, value: &V) {
        let key = ks.key(self.view.tenant, &key);
        let row = seal(&key, value);
        self.pending().set((ks.tree, key), Some(row));
    }

    /// Removes a row.
    pub fn delete<K: Key, V: Value>(&mut self, ks: &Keyspace<K, V>, key: K) {
        let owner = ks.owner(self.view.tenant, &key);
        let key = ks.key(self.tenant, &key);
        let pending = self.pending();
        pending.changed.extend(owner);
        pending.set((ks.tree, key), None);
    }

    /// Adds a log entry. Its position is known only at the commit: see [`Tx::put_at`].
    pub fn announce(&mut self, entry: log::Entry) -> Announced {
        let entries = &mut self.pending().entries;
        entries.push(entry);
        Announced(entries.len() - 1)
    }

    /// Leaves positions free before the entry that is announced next: what happened before it and is not known yet can be put
    /// there.
    pub fn leap(&mut self) {
        let pending = self.pending();
        pending.leaps.before(pending.entries.len());
    }

    /// Sets a row that holds the position of an announced entry, in key or value. It cannot be read
    /// before the commit. Marks the owner of `owner_key` as changed (any key with the right first part).
    pub fn put_at<K: Key + 'static, V: Value + 'static>(
        &mut self,
        ks: &'static Keyspace<K, V>,
        at: Announced,
        make: impl FnOnce(Seq) -> (K, V) + Send + 'static,
    ) {
        let tenant = self.view.tenant;
        self.pending().stamped.push((
            ks.tree,
            at.0,
            Box::new(move |seq| {
                let (key, value) = make(seq);
                let key = ks.key(tenant, &key);
                let row = seal(&key, &value);
                (key, row)
            }),
        ));
    }

    /// Marks the owner of a row as changed without writing it (for rows written with [`Tx::put_at`]).
    pub fn touch<K: Key, V: Value>(&mut self, ks: &Keyspace<K, V>, key: K) {
        let owner = ks.owner(self.view.tenant, &key);
        self.pending().changed.extend(owner);
    }

    /// A number never handed out before, small and rising: ids of users, rooms, events.
    pub fn fresh(&self) -> Reply<u64> {
        self.view.shared.ids.fresh()
    }

    /// Unpredictable bytes, for tokens and opaque ids.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        self.view.shared.random()
    }

    pub(crate) fn savepoint(&mut self) -> Savepoint {
        let pending = self.pending();
        pending.undo.clear();
        Savepoint { stamped: pending.stamped.len(), entries: pending.entries.len() }
    }

    /// Takes back what was written since the savepoint. What was read stays relied on.
    pub(crate) fn roll_back(&mut self, to: Savepoint) {
        let pending = self.pending();
        while let Some((key, before)) = pending.undo.pop() {
            match before {
                Some(row) => pending.rows.insert(key, row),
                None => pending.rows.remove(&key),
            };
        }
        pending.stamped.truncate(to.stamped);
        pending.entries.truncate(to.entries);
        pending.leaps.truncate(to.entries);
    }

    /// Was a key written, since this was last asked, that no engine can hold? Such a job must not spoil its group.
    pub(crate) fn take_overlong(&mut self) -> bool {
        std::mem::take(&mut self.pending().overlong)
    }

    /// The batch to commit; `None` if nothing was written.
    pub(crate) fn into_batch(self) -> Option<Batch> {
        let since = self.view.snapshot.version();
        let tenant = self.view.tenant;
        let pending = self.view.pending?.into_inner();
        if pending.rows.is_empty() && pending.entries.is_empty() {
            return None;
        }
        let mut rows: Vec<KvRow> = Vec::with_capacity(pending.rows.len() + pending.stamped.len());
        for ((tree, key), row) in pending.rows {
            rows.push(match row {
                Some(row) => KvRow::Put(tree, key, row),
                None => KvRow::Delete(tree, key),
            });
        }
        for (tree, entry, make) in pending.stamped {
            rows.push(KvRow::Stamped { tree, entry, make });
        }
        let entries = pending.entries.into_iter().map(|entry| log::write(tenant, entry)).collect();
        Some(Batch {
            since,
            relied: pending.relied.into_iter().collect(),
            changed: pending.changed.into_iter().collect(),
            rows,
            entries,
            leaps: pending.leaps,
        })
    }
}

/// An entry announced in this transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced(usize);

pub(crate) struct Savepoint {
    stamped: usize,
    /// Entries announced before it.
    pub(crate) entries: usize,
}

impl Pending {
    fn set(&mut self, key: RowKey, row: Option<Vec<u8>>) {
        self.overlong |= key.1.len() > kv::KEY_BYTES_MAX;
        let before = self.rows.insert(key.clone(), row);
        self.undo.push((key, before));
    }
}

#[cfg(test)]
mod tests;
