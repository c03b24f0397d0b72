//! Decoded values in memory, all under one byte budget, right by construction: each is tagged with the version of
//! the snapshot it was made from, and is used only if its owner has not changed since.

use std::{any::Any, sync::Arc};

use kv::Version;
use quick_cache::{Weighter, sync::Cache as Quick};

use crate::keyspace::Tenant;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) space: u8,
    pub(crate) tenant: Tenant,
    pub(crate) id: u128,
}

#[derive(Clone)]
struct Cached {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u32,
    made_at: Version,
}

#[derive(Clone)]
struct Bytes;
impl Weighter<CacheKey, Cached> for Bytes {
    fn weight(&self, _: &CacheKey, cached: &Cached) -> u64 {
        u64::from(cached.bytes)
    }
}

/// What an entry costs beside its value: key, tag, and the map's own bookkeeping.
const ENTRY_OVERHEAD: usize = 128;
/// Only sizes the map at the start; events are the most frequent entries, about 1 KiB each.
const TYPICAL_ENTRY: u64 = 1024;

pub(crate) struct Cache {
    quick: Quick<CacheKey, Cached, Bytes>,
}

impl Cache {
    pub(crate) fn new(bytes_max: u64) -> Cache {
        let items = usize::try_from(bytes_max / TYPICAL_ENTRY).unwrap_or(usize::MAX).max(64);
        Cache { quick: Quick::with_weighter(items, bytes_max, Bytes) }
    }

    /// The value, if made at or after its owner's last change, both no later than what the reader sees.
    pub(crate) fn get<T: Any + Send + Sync>(
        &self,
        key: &CacheKey,
        last_change: Version,
        reader: Version,
    ) -> Option<Arc<T>> {
        let cached = self.quick.get(key)?;
        // Value and reader must stand on the same side of the owner's last change.
        let right = last_change <= cached.made_at.min(reader);
        if right { cached.value.downcast().ok() } else { None }
    }

    pub(crate) fn put<T: Any + Send + Sync>(
        &self,
        key: CacheKey,
        value: Arc<T>,
        bytes: usize,
        made_at: Version,
    ) {
        let bytes = u32::try_from(bytes + ENTRY_OVERHEAD).unwrap_or(u32::MAX);
        self.quick.insert(key, Cached { value, bytes, made_at });
    }

    /// Bytes in use, by the weights that the makers gave.
    pub(crate) fn bytes(&self) -> u64 {
        self.quick.weight()
    }
}
