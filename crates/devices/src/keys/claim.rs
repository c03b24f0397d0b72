//! `POST /keys/claim`, of clients and of other servers: keys that are given out once.

use std::collections::BTreeMap;

use base::{Error, Reply, User};
use ruma::UserId;
use serde_json::{Map, Value};
use store::{
    Direction, Tx, device_keys,
    schema::{FALLBACK_KEYS, ONE_TIME_KEYS, OneTimeKey},
    user,
};

/// Keys that one request may claim: the devices of a large room are claimed in portions.
const CLAIMS_MAX: usize = 10_000;

/// By user, by device: the algorithm.
pub type Claims = BTreeMap<String, BTreeMap<String, String>>;

/// Gives out a key of each device that has one, in the order in which they were uploaded, then fallback keys; by user, by
/// device. Users of other servers, and whoever and whatever is not known, are passed over.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for too many claims.
pub fn claim(tx: &mut Tx, claims: &Claims) -> Reply<Map<String, Value>> {
    if claims.values().map(BTreeMap::len).sum::<usize>() > CLAIMS_MAX {
        return Err(Error::invalid_param(format!("at most {CLAIMS_MAX} keys at once")));
    }
    let mut all = Map::new();
    for (id, devices) in claims {
        let Ok(parsed) = <&UserId>::try_from(id.as_str()) else { continue };
        if !user::is_local(tx, parsed) {
            continue;
        }
        let Some(user) = user::find(tx, parsed)? else { continue };
        let mut given = Map::new();
        for (device, algorithm) in devices {
            if let Some((name, key)) = one(tx, user, device, algorithm)? {
                given.insert(device.clone(), Value::Object(Map::from_iter([(name, key)])));
            }
        }
        if !given.is_empty() {
            all.insert(id.clone(), Value::Object(given));
        }
    }
    Ok(all)
}

fn one(tx: &mut Tx, user: User, device: &str, algorithm: &str) -> Reply<Option<(String, Value)>> {
    let limit = base::limits::ID_BYTES_MAX;
    if device.len() > limit || algorithm.len() > limit {
        return Ok(None);
    }
    let key = |order| (user, device.to_owned(), algorithm.to_owned(), order);
    let rows: Vec<((User, String, String, u64), OneTimeKey)> =
        tx.range(&ONE_TIME_KEYS, key(0), key(u64::MAX), Direction::Forward, 1)?;
    if let Some((key, one_time)) = rows.into_iter().next() {
        tx.delete(&ONE_TIME_KEYS, key);
        device_keys::note_claimed(tx, user, device, algorithm, &one_time);
        return named(algorithm, &one_time.id, &one_time.json).map(Some);
    }
    let key = (user, device.to_owned(), algorithm.to_owned());
    let Some(mut fallback) = tx.get(&FALLBACK_KEYS, key.clone())? else { return Ok(None) };
    let given = named(algorithm, &fallback.id, &fallback.json)?;
    if !fallback.used {
        fallback.used = true;
        tx.put(&FALLBACK_KEYS, key, &fallback);
    }
    Ok(Some(given))
}

fn named(algorithm: &str, id: &str, json: &str) -> Reply<(String, Value)> {
    let value = serde_json::from_str(json)
        .map_err(|e| Error::fault(format!("a one-time key is no JSON: {e}")))?;
    Ok((format!("{algorithm}:{id}"), value))
}
