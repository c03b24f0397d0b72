//! `POST /keys/upload`: the keys of one device.

use std::collections::{BTreeMap, BTreeSet};

use base::{Error, Reply, User};
use ruma::{CanonicalJsonValue, UserId};
use serde_json::Value;
use store::{
    Tx, device_changes, device_keys,
    device_keys::{FALLBACK_KEYS_MAX, ONE_TIME_KEYS_MAX, Supply},
    schema::{DEVICE_KEYS, DEVICES, FALLBACK_KEYS, FallbackKey, ONE_TIME_KEYS, OneTimeKey},
};

use super::signed;

/// An algorithm's name, bytes.
const ALGORITHM_BYTES_MAX: usize = 64;
/// A one-time or fallback key, bytes.
const KEY_BYTES_MAX: usize = 4 << 10;

/// What a client uploads; key ids are `<algorithm>:<id>`, values JSON text.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// The device's identity keys.
    pub device_keys: Option<String>,
    /// One-time keys.
    pub one_time_keys: BTreeMap<String, String>,
    /// Fallback keys, one for an algorithm.
    pub fallback_keys: BTreeMap<String, String>,
}

/// Keeps the keys of a device. What is there already changes nothing, and is announced to nobody. Returns what the device
/// has left for others to claim.
///
/// # Errors
/// 400 `M_INVALID_PARAM` or `M_BAD_JSON` for keys of somebody else, of another shape, or too many; 400 `M_UNKNOWN` for
/// another one-time key under the id of one that is still there; 404 `M_NOT_FOUND` if the device is no more.
pub fn upload(
    tx: &mut Tx,
    (user, id): (User, &UserId),
    device: &str,
    new: &Upload,
) -> Reply<Supply> {
    if device.is_empty() || !tx.has(&DEVICES, (user, device.to_owned()))? {
        return Err(Error::not_found("There is no such device."));
    }
    if let Some(keys) = &new.device_keys {
        identity(tx, (user, id), device, keys)?;
    }
    if !new.one_time_keys.is_empty() {
        one_time(tx, user, device, &new.one_time_keys)?;
    }
    if !new.fallback_keys.is_empty() {
        fallback(tx, user, device, &new.fallback_keys)?;
    }
    Ok((*device_keys::supply(tx, user, device)?).clone())
}

fn identity(tx: &mut Tx, (user, id): (User, &UserId), device: &str, text: &str) -> Reply<()> {
    let new = signed::read(text)?;
    let theirs = signed::text(&new, "user_id") == Some(id.as_str())
        && signed::text(&new, "device_id") == Some(device);
    if !theirs {
        return Err(Error::invalid_param("`user_id` and `device_id` are not those of the caller"));
    }
    if !matches!(new.object.get("keys"), Some(CanonicalJsonValue::Object(_)))
        || !matches!(new.object.get("algorithms"), Some(CanonicalJsonValue::Array(_)))
    {
        return Err(Error::bad_json("device keys have `keys` and `algorithms`"));
    }
    // Nobody but the user signs what the user uploads.
    let own = new.signatures.get(id.as_str()).cloned().unwrap_or_default();
    let mut signatures = signed::Signatures::from([(id.to_string(), own)]);
    let key = (user, device.to_owned());
    let old = tx.get(&DEVICE_KEYS, key.clone())?;
    if let Some(old) = &old {
        let old = signed::read(old)?;
        if old.object == new.object {
            // Signatures that other keys made of the same object stay.
            let own = signatures.entry(id.to_string()).or_default();
            for (key, made) in old.signatures.get(id.as_str()).into_iter().flatten() {
                own.entry(key.clone()).or_insert_with(|| made.clone());
            }
        }
    }
    let text = signed::write(&new, &signatures);
    if old.as_ref() != Some(&text) {
        tx.put(&DEVICE_KEYS, key, &text);
        device_changes::announce(tx, user, device);
    }
    Ok(())
}

/// Parts `<algorithm>:<id>`.
fn parts(name: &str) -> Reply<(&str, &str)> {
    let bad = || Error::invalid_param("a key is named <algorithm>:<id>");
    let (algorithm, id) = name.split_once(':').ok_or_else(bad)?;
    let fits = !algorithm.is_empty()
        && algorithm.len() <= ALGORITHM_BYTES_MAX
        && id.len() <= base::limits::ID_BYTES_MAX;
    fits.then_some((algorithm, id)).ok_or_else(bad)
}

/// A key is text or an object; what it says, so that it can be held against another.
fn read(json: &str) -> Reply<Value> {
    let value: Value = serde_json::from_str(json).map_err(|e| Error::bad_json(e.to_string()))?;
    let shaped = value.is_string() || value.get("key").is_some_and(Value::is_string);
    if !shaped || json.len() > KEY_BYTES_MAX {
        return Err(Error::bad_json("a one-time key is text, or an object with `key`"));
    }
    Ok(value)
}

fn one_time(tx: &mut Tx, user: User, device: &str, new: &BTreeMap<String, String>) -> Reply<()> {
    let there = device_keys::one_time_keys(tx, user, device)?;
    let mut count = there.len();
    let mut names = BTreeMap::new();
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for ((.., algorithm, order), key) in there {
        next.insert(algorithm.clone(), order.saturating_add(1));
        names.insert((algorithm, key.id), key.json);
    }
    for (name, json) in new {
        let (algorithm, id) = parts(name)?;
        let value = read(json)?;
        if let Some(old) = names.get(&(algorithm.to_owned(), id.to_owned())) {
            if read(old)? == value {
                continue;
            }
            let text = format!("One time key {name} already exists, and is another.");
            return Err(Error::refused(400, "M_UNKNOWN", text));
        }
        let row = OneTimeKey { id: id.to_owned(), json: value.to_string() };
        // The answer to an earlier upload was lost, and in the meantime somebody claimed the key.
        if device_keys::was_claimed(tx, user, device, algorithm, &row)? {
            continue;
        }
        count += 1;
        if count > ONE_TIME_KEYS_MAX {
            let text = format!("a device has at most {ONE_TIME_KEYS_MAX} one-time keys");
            return Err(Error::invalid_param(text));
        }
        let next = next.entry(algorithm.to_owned()).or_insert(0);
        tx.put(&ONE_TIME_KEYS, (user, device.to_owned(), algorithm.to_owned(), *next), &row);
        *next = next.saturating_add(1);
    }
    Ok(())
}

fn fallback(tx: &mut Tx, user: User, device: &str, new: &BTreeMap<String, String>) -> Reply<()> {
    let there = device_keys::fallback_keys(tx, user, device)?;
    let mut algorithms: BTreeSet<String> =
        there.into_iter().map(|((.., algorithm), _)| algorithm).collect();
    let mut given = BTreeSet::new();
    for (name, json) in new {
        let (algorithm, id) = parts(name)?;
        let json = read(json)?.to_string();
        if !given.insert(algorithm) {
            return Err(Error::invalid_param("there is one fallback key for an algorithm"));
        }
        algorithms.insert(algorithm.to_owned());
        if algorithms.len() > FALLBACK_KEYS_MAX {
            return Err(Error::invalid_param("too many algorithms"));
        }
        let key = (user, device.to_owned(), algorithm.to_owned());
        let old = tx.get(&FALLBACK_KEYS, key.clone())?;
        // A key that was given out does not become fresh by being uploaded again.
        if old.is_some_and(|old| old.id == id && old.json == json) {
            continue;
        }
        tx.put(&FALLBACK_KEYS, key, &FallbackKey { id: id.to_owned(), json, used: false });
    }
    Ok(())
}
