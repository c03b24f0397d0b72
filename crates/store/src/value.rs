//! How values lie on disk: a version byte, a checksum bound to the key, the payload.
//!
//! The checksum covers the key, so a row that a torn page or a fault of the engine serves under another's key is
//! found out and reported as corruption, never taken for data. Old versions are upgraded when read.

use serde::{Serialize, de::DeserializeOwned};

/// What can be stored.
pub trait Value: Sized {
    /// Today's layout. Old ones stay readable in [`Value::take`].
    const VERSION: u8 = 1;
    /// Appends the payload.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads a payload of the given version.
    fn take(version: u8, payload: &[u8]) -> Option<Self>;
}

/// Stores a type through serde and postcard: fields in order, small integers small.
macro_rules! stored {
    ($($t:ty),* $(,)?) => { $(
        impl $crate::value::Value for $t {
            fn put(&self, out: &mut Vec<u8>) { $crate::value::put_serde(self, out) }
            fn take(version: u8, payload: &[u8]) -> Option<Self> {
                (version == <Self as $crate::value::Value>::VERSION).then(|| $crate::value::take_serde(payload)).flatten()
            }
        }
    )* }
}
pub(crate) use stored;

pub(crate) fn put_serde<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and our types have no state that postcard refuses; should one ever,
    // the row is left empty and reading it back is reported as corruption.
    if let Ok(bytes) = postcard::to_stdvec(value) {
        out.extend_from_slice(&bytes);
    }
}
pub(crate) fn take_serde<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    postcard::from_bytes(payload).ok()
}

impl Value for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: u8, payload: &[u8]) -> Option<Self> {
        payload.is_empty().then_some(())
    }
}
impl Value for String {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes())
    }
    fn take(_: u8, payload: &[u8]) -> Option<Self> {
        String::from_utf8(payload.to_vec()).ok()
    }
}
impl Value for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self)
    }
    fn take(_: u8, payload: &[u8]) -> Option<Self> {
        Some(payload.to_vec())
    }
}
macro_rules! number_values {
    ($($t:ident)*) => { $(
        impl Value for base::$t {
            fn put(&self, out: &mut Vec<u8>) { out.extend_from_slice(&self.0.to_be_bytes()) }
            fn take(_: u8, payload: &[u8]) -> Option<Self> {
                payload.try_into().ok().map(|b| base::$t(u64::from_be_bytes(b)))
            }
        }
    )* }
}
number_values!(User Room Event Seq UnixMs);
impl Value for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes())
    }
    fn take(_: u8, payload: &[u8]) -> Option<Self> {
        payload.try_into().ok().map(u64::from_be_bytes)
    }
}

const HEADER: usize = 5;

fn checksum(key: &[u8], version: u8, payload: &[u8]) -> [u8; 4] {
    let mut h = crc32fast::Hasher::new();
    h.update(key);
    h.update(&[version]);
    h.update(payload);
    h.finalize().to_le_bytes()
}

/// Value bytes for the row under `key` (the whole key, tenant and tag included).
pub(crate) fn seal<V: Value>(key: &[u8], value: &V) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    value.put(&mut out);
    let sum = checksum(key, V::VERSION, out.get(HEADER..).unwrap_or_default());
    if let Some((version, rest)) = out.split_first_mut() {
        *version = V::VERSION;
        if let Some(place) = rest.first_chunk_mut::<4>() {
            *place = sum;
        }
    }
    out
}

/// Version and payload of a row, if its checksum says that it belongs under `key`.
pub(crate) fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&version, rest) = row.split_first()?;
    let (sum, payload) = rest.split_first_chunk::<4>()?;
    (checksum(key, version, payload) == *sum).then_some((version, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_under_another_key_or_with_a_flipped_bit_is_refused() {
        let row = seal(b"key", &"value".to_owned());
        assert_eq!(unseal(b"key", &row), Some((1, &b"value"[..])));
        assert_eq!(unseal(b"kez", &row), None);
        for i in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[i / 8] ^= 1 << (i % 8);
            assert_eq!(unseal(b"key", &bad), None, "bit {i}");
        }
        assert_eq!(unseal(b"key", b""), None);
    }
}
