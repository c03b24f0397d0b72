//! What is left of a device's keys that others claim, and how keys end with their device (spec: Client-Server API, "One-time
//! and fallback keys").

use std::{collections::BTreeMap, sync::Arc};

use base::{Reply, User};

use crate::{
    keyspace::Kind,
    schema::{
        CLAIMED_KEYS, CROSS_SIGNING_KEYS, DEVICE_KEYS, FALLBACK_KEYS, FallbackKey, ONE_TIME_KEYS,
        OneTimeKey, SIGNATURES,
    },
    view::{CacheSpace, Tx, View},
};

/// One-time keys of one device: several times what clients keep.
pub const ONE_TIME_KEYS_MAX: usize = 1_000;
/// Algorithms for which a device has a fallback key.
pub const FALLBACK_KEYS_MAX: usize = 10;
/// The algorithm that is named even when nothing is left: clients wait for its number before they upload more.
const USUAL: &str = "signed_curve25519";
/// Claimed keys that are forgotten with their device in one transaction: more than a device uploads in its life.
const CLAIMED_MAX: usize = 100_000;
/// Signatures that end with an account in one transaction.
const ENDED_MAX: usize = 100_000;

/// A row of [`ONE_TIME_KEYS`].
pub type OneTimeRow = ((User, String, String, u64), OneTimeKey);
/// A row of [`FALLBACK_KEYS`].
pub type FallbackRow = ((User, String, String), FallbackKey);

static SUPPLIES: CacheSpace = CacheSpace { tag: 136, owned: Some(Kind::OneTimeKeys) };

/// What a device has left for others to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// By algorithm, how many one-time keys nobody has claimed. The usual algorithm is always there.
    pub counts: BTreeMap<String, u64>,
    /// Algorithms whose fallback key was not given out.
    pub unused_fallbacks: Vec<String>,
}

/// What a device has left.
///
/// # Errors
/// Faults only.
pub fn supply(view: &View, user: User, device: &str) -> Reply<Arc<Supply>> {
    let hash = blake3::hash(device.as_bytes());
    let first = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    let id = u128::from(u64::from_be_bytes(first)) << 64 | u128::from(user.0);
    view.cached(&SUPPLIES, id, |view| {
        let supply = count(view, user, device)?;
        let names = supply.counts.keys().chain(&supply.unused_fallbacks);
        let bytes = names.map(|name| name.len() + 64).sum();
        Ok((supply, bytes))
    })
}

fn count(view: &View, user: User, device: &str) -> Reply<Supply> {
    let mut counts = BTreeMap::from([(USUAL.to_owned(), 0)]);
    for ((.., algorithm, _), _) in one_time_keys(view, user, device)? {
        *counts.entry(algorithm).or_insert(0) += 1;
    }
    let fallbacks = fallback_keys(view, user, device)?;
    let unused = fallbacks.into_iter().filter(|(_, key)| !key.used);
    Ok(Supply { counts, unused_fallbacks: unused.map(|((.., algorithm), _)| algorithm).collect() })
}

/// The one-time keys that a device has left, by algorithm, in the order in which they are given out.
///
/// # Errors
/// Faults only.
pub fn one_time_keys(view: &View, user: User, device: &str) -> Reply<Vec<OneTimeRow>> {
    view.under(&ONE_TIME_KEYS, (user, device.to_owned()), ONE_TIME_KEYS_MAX)
}

/// The fallback keys of a device.
///
/// # Errors
/// Faults only.
pub fn fallback_keys(view: &View, user: User, device: &str) -> Reply<Vec<FallbackRow>> {
    view.under(&FALLBACK_KEYS, (user, device.to_owned()), FALLBACK_KEYS_MAX)
}

/// Takes note that a one-time key is given out: it never is again, whatever the client uploads.
pub fn note_claimed(tx: &mut Tx, user: User, device: &str, algorithm: &str, key: &OneTimeKey) {
    tx.put(&CLAIMED_KEYS, (user, device.to_owned(), fingerprint(algorithm, key)), &());
}

/// Was a key with this name and content given out?
///
/// # Errors
/// Faults only.
pub fn was_claimed(
    view: &View,
    user: User,
    device: &str,
    algorithm: &str,
    key: &OneTimeKey,
) -> Reply<bool> {
    view.has(&CLAIMED_KEYS, (user, device.to_owned(), fingerprint(algorithm, key)))
}

fn fingerprint(algorithm: &str, key: &OneTimeKey) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in [algorithm, &key.id, &key.json] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let hash = hasher.finalize();
    u64::from_be_bytes(hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default())
}

/// Deletes the keys of a device that ends.
///
/// # Errors
/// Faults only.
pub fn end(tx: &mut Tx, user: User, device: &str) -> Reply<()> {
    if tx.has(&DEVICE_KEYS, (user, device.to_owned()))? {
        tx.delete(&DEVICE_KEYS, (user, device.to_owned()));
    }
    for (key, _) in one_time_keys(tx, user, device)? {
        tx.delete(&ONE_TIME_KEYS, key);
    }
    for (key, _) in fallback_keys(tx, user, device)? {
        tx.delete(&FALLBACK_KEYS, key);
    }
    let claimed: Vec<((User, String, u64), ())> =
        tx.under(&CLAIMED_KEYS, (user, device.to_owned()), CLAIMED_MAX)?;
    for (key, ()) in claimed {
        tx.delete(&CLAIMED_KEYS, key);
    }
    Ok(())
}

/// Deletes the cross-signing keys of a user whose account ends, and what they signed.
///
/// # Errors
/// Faults only.
pub fn end_of_account(tx: &mut Tx, user: User) -> Reply<()> {
    let keys: Vec<((User, u8), String)> =
        tx.under(&CROSS_SIGNING_KEYS, (user,), usize::from(u8::MAX))?;
    for (key, _) in keys {
        tx.delete(&CROSS_SIGNING_KEYS, key);
    }
    let made: Vec<((User, User, String, String), String)> =
        tx.under(&SIGNATURES, (user,), ENDED_MAX)?;
    for (key, _) in made {
        tx.delete(&SIGNATURES, key);
    }
    Ok(())
}
