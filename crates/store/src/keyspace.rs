//! A keyspace: one kind of row. The catalogue of all of them is [`crate::schema`].

use std::marker::PhantomData;

use kv::{Owner, Tree};

use crate::{keys::Key, value::Value};

/// The tenant: leading key bytes that views and transactions add themselves. One process may serve several
/// server names; no handler can name another tenant's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(pub u16);

/// What kind of thing owns rows, that is, what a concurrent change collides with. Small and by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A room's extremities, state and members.
    Room = 1,
    /// The rooms that a user is or was in.
    RoomsOf = 2,
    /// An account: password, flags.
    Account = 3,
    /// A user's devices and their tokens.
    Devices = 4,
    /// A user's profile.
    Profile = 5,
    /// A room's local aliases.
    Aliases = 6,
    /// An event's own row (redaction).
    Event = 7,
    /// A user's global and room account data.
    AccountData = 8,
    /// A room's receipts.
    Receipts = 9,
    /// A single row of any other kind.
    Row = 10,
    /// What waits for a user's devices.
    Inbox = 60,
    /// A user's delayed events.
    Delayed = 61,
    /// A user's thread subscriptions.
    ThreadSubscriptions = 62,
    /// What never changes about a room once this server is in it.
    RoomInfo = 100,
    /// Which servers are in a room.
    Servers = 101,
    /// A user's device keys and cross-signing keys.
    Keys = 130,
    /// The one-time keys and fallback keys of a user's devices.
    OneTimeKeys = 131,
    /// A user's backups of keys.
    Backups = 140,
    /// What is kept of the devices of a user of another server.
    RemoteLists = 150,
}

/// Who owns the rows of a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owned {
    /// Write-once rows, or rows that nobody decides anything by: never collide.
    Nobody,
    /// The first part of the key, as a thing of this kind.
    First(Kind),
    /// Each row by itself. Not to be scanned in a transaction that decides by what is absent.
    Each,
}

/// One kind of row: where it lies, its key, its value, its owner.
pub struct Keyspace<K, V> {
    /// The physical tree.
    pub tree: Tree,
    /// The byte that separates it from the tree's other keyspaces. Fixed on disk.
    pub tag: u8,
    /// For metrics and generated docs.
    pub name: &'static str,
    /// See [`Owned`].
    pub owned: Owned,
    kv: PhantomData<fn(K) -> V>,
}

impl<K: Key, V: Value> Keyspace<K, V> {
    pub(crate) const fn new(tree: Tree, tag: u8, name: &'static str, owned: Owned) -> Self {
        Keyspace { tree, tag, name, owned, kv: PhantomData }
    }

    pub(crate) fn key(&self, tenant: Tenant, key: &K) -> Vec<u8> {
        let mut out = self.prefix(tenant);
        key.put(&mut out);
        out
    }

    pub(crate) fn prefix(&self, tenant: Tenant) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.extend_from_slice(&tenant.0.to_be_bytes());
        out.push(self.tag);
        out
    }

    /// The owner of the row under `key`; `None` for [`Owned::Nobody`].
    pub(crate) fn owner(&self, tenant: Tenant, key: &K) -> Option<Owner> {
        match self.owned {
            Owned::Nobody => None,
            Owned::First(kind) => {
                let mut first = Vec::with_capacity(16);
                key.put_first(&mut first);
                Some(owner(tenant, kind, &first))
            }
            Owned::Each => Some(owner(tenant, Kind::Row, &self.key(tenant, key))),
        }
    }
}

/// The name of an owner: for 8-byte ids the id itself, otherwise a hash.
pub(crate) fn owner(tenant: Tenant, kind: Kind, first: &[u8]) -> Owner {
    let low = match first.try_into() {
        Ok(id) => u128::from(u64::from_be_bytes(id)),
        Err(_) => {
            let hash = blake3::hash(first);
            let (half, _) = hash.as_bytes().split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
            u128::from_be_bytes(*half) & ((1 << 104) - 1)
        }
    };
    Owner(u128::from(kind as u8) << 120 | u128::from(tenant.0) << 104 | low)
}
