//! `POST /keys/claim`, of clients and of other servers: keys that are given out once.

use std::collections::BTreeMap;

use base::{Error, Reply, User};
use ruma::UserId;
use serde_json::{Map, Value};
use store::{
    Direction, Tx, device_keys,
    schema::{DEVICE_KEYS, FALLBACK_KEYS, ONE_TIME_KEYS, OneTimeKey},
    user,
};

/// Keys that one request may claim: the devices of a large room are claimed in portions.
const CLAIMS_MAX: usize = 10_000;

/// By user, by device: the algorithm.
pub type Claims = BTreeMap<String, BTreeMap<String, String>>;

/// What was given out.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// By user, by device.
    pub keys: Map<String, Value>,
    /// Devices that had no one-time key left, and gave their fallback key.
    pub by_fallback: u64,
    /// Devices that had none left, and no fallback key either.
    pub nothing: u64,
}

/// Gives out a key of each device that has one, in the order in which they were uploaded, then fallback keys; by user, by
/// device. Users of other servers, and whoever and whatever is not known, are passed over.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for too many claims.
pub fn claim(tx: &mut Tx, claims: &Claims) -> Reply<Given> {
    if claims.values().map(BTreeMap::len).sum::<usize>() > CLAIMS_MAX {
        return Err(Error::invalid_param(format!("at most {CLAIMS_MAX} keys at once")));
    }
    let mut all = Given::default();
    for (id, devices) in claims {
        let Ok(parsed) = <&UserId>::try_from(id.as_str()) else { continue };
        if !user::is_local(tx, parsed) {
            continue;
        }
        let Some(user) = user::find(tx, parsed)? else { continue };
        let mut given = Map::new();
        for (device, algorithm) in devices {
            let (name, key) = match one(tx, user, device, algorithm)? {
                Some(one) => one,
                None => match fallback(tx, user, device, algorithm)? {
                    Some(fallback) => {
                        all.by_fallback += 1;
                        fallback
                    }
                    None => {
                        all.nothing += u64::from(has_keys(tx, user, device)?);
                        continue;
                    }
                },
            };
            given.insert(device.clone(), Value::Object(Map::from_iter([(name, key)])));
        }
        if !given.is_empty() {
            all.keys.insert(id.clone(), Value::Object(given));
        }
    }
    Ok(all)
}

/// Names that no key can have are no keys either.
fn fit(device: &str, algorithm: &str) -> bool {
    let limit = base::limits::ID_BYTES_MAX;
    device.len() <= limit && algorithm.len() <= limit
}

fn has_keys(tx: &Tx, user: User, device: &str) -> Reply<bool> {
    Ok(fit(device, "") && tx.has(&DEVICE_KEYS, (user, device.to_owned()))?)
}

fn one(tx: &mut Tx, user: User, device: &str, algorithm: &str) -> Reply<Option<(String, Value)>> {
    if !fit(device, algorithm) {
        return Ok(None);
    }
    let key = |order| (user, device.to_owned(), algorithm.to_owned(), order);
    let rows: Vec<((User, String, String, u64), OneTimeKey)> =
        tx.range(&ONE_TIME_KEYS, key(0), key(u64::MAX), Direction::Forward, 1)?;
    let Some((key, one_time)) = rows.into_iter().next() else { return Ok(None) };
    tx.delete(&ONE_TIME_KEYS, key);
    device_keys::note_claimed(tx, user, device, algorithm, &one_time);
    named(algorithm, &one_time.id, &one_time.json).map(Some)
}

fn fallback(
    tx: &mut Tx,
    user: User,
    device: &str,
    algorithm: &str,
) -> Reply<Option<(String, Value)>> {
    if !fit(device, algorithm) {
        return Ok(None);
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
