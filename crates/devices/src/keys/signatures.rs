//! `POST /keys/signatures/upload`: signatures on keys that are there already.
//!
//! Three kinds are kept: by the self-signing key on the user's own devices and by those devices on the user's own master
//! key, which everybody sees; and by the user-signing key on others' master keys, which nobody else ever does.

use std::collections::BTreeMap;

use base::{Error, Reply, User};
use protocol::signed::Signed;
use ruma::UserId;
use serde_json::{Map, Value, json};
use store::{
    Tx, device_changes,
    log::Entry,
    schema::{CROSS_SIGNING_KEYS, DEVICE_KEYS, SIGNATURES},
    user,
};

use super::{
    cross_signing::{MASTER, SELF_SIGNING, USER_SIGNING, stored},
    signed,
};

/// Keys that one request may sign.
const KEYS_MAX: usize = 1_000;

/// By user, by key (a device's id, or a public key): the signed object as JSON text.
pub type SignedKeys = BTreeMap<String, BTreeMap<String, String>>;

/// The caller.
type Me<'a> = (User, &'a UserId);

/// Keeps signatures that the caller made. `elsewhere`: the master keys of users of other servers, by user, as their servers
/// have them. Returns what was refused, by user, by key.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for too many keys.
pub fn upload(
    tx: &mut Tx,
    me: Me<'_>,
    keys: &SignedKeys,
    elsewhere: &Map<String, Value>,
) -> Reply<Map<String, Value>> {
    if keys.values().map(BTreeMap::len).sum::<usize>() > KEYS_MAX {
        return Err(Error::invalid_param(format!("at most {KEYS_MAX} keys at once")));
    }
    let mut failures = Map::new();
    for (whose, keys) in keys {
        let Ok(id) = <&UserId>::try_from(whose.as_str()) else { continue };
        let mut refused = Map::new();
        for (name, object) in keys {
            let done = signed::read(object).and_then(|new| {
                if id == me.1 {
                    own(tx, me, name, &new)
                } else {
                    other(tx, me, id, name, &new, elsewhere)
                }
            });
            match done {
                Ok(()) => {}
                Err(Error::Refused(no)) => {
                    let why = json!({"errcode": no.errcode, "error": no.message});
                    refused.insert(name.clone(), why);
                }
                Err(fault) => return Err(fault),
            }
        }
        if !refused.is_empty() {
            failures.insert(whose.clone(), Value::Object(refused));
        }
    }
    Ok(failures)
}

fn unknown() -> Error {
    Error::not_found("There is no such key.")
}

fn invalid() -> Error {
    Error::refused(400, "M_INVALID_SIGNATURE", "Invalid signature.")
}

fn same(new: &Signed, old: &Signed) -> Reply<()> {
    let text = "The key is another than the one that is known.";
    (new.object == old.object).then_some(()).ok_or_else(|| Error::invalid_param(text))
}

/// The signatures of the caller that are not there yet.
fn added<'a>(new: &'a Signed, old: &'a Signed, id: &'a UserId) -> BTreeMap<&'a String, &'a String> {
    let there = old.signatures.get(id.as_str());
    let made = new.signatures.get(id.as_str()).into_iter().flatten();
    made.filter(|(key, made)| there.is_none_or(|there| there.get(*key) != Some(made))).collect()
}

/// A device of the caller's, or the caller's master key.
fn own(tx: &mut Tx, (user, id): Me<'_>, name: &str, new: &Signed) -> Reply<()> {
    if name.len() > base::limits::ID_BYTES_MAX {
        return Err(unknown());
    }
    if let Some(text) = tx.get(&DEVICE_KEYS, (user, name.to_owned()))? {
        let old = Signed::read(&text)?;
        same(new, &old)?;
        let signer = stored(tx, user, SELF_SIGNING)?;
        let signer = signer.as_ref().and_then(signed::public_key);
        let (public, bytes) = signer.ok_or_else(invalid)?;
        let by = format!("ed25519:{public}");
        let added = added(new, &old, id);
        if added.keys().any(|key| **key != by)
            || !added.is_empty() && !new.holds(id.as_str(), &by, &bytes)
        {
            return Err(invalid());
        }
        if !added.is_empty() {
            tx.put(&DEVICE_KEYS, (user, name.to_owned()), &merged(&old, id, &added));
            device_changes::announce(tx, user, name);
        }
        return Ok(());
    }
    let old = stored(tx, user, MASTER)?.ok_or_else(unknown)?;
    if signed::public_key(&old).is_none_or(|(public, _)| public != name) {
        return Err(unknown());
    }
    same(new, &old)?;
    let added = added(new, &old, id);
    for by in added.keys() {
        let device = by.strip_prefix("ed25519:").ok_or_else(invalid)?;
        if device.len() > base::limits::ID_BYTES_MAX {
            return Err(invalid());
        }
        let keys = tx.get(&DEVICE_KEYS, (user, device.to_owned()))?.ok_or_else(invalid)?;
        let bytes = signed::device_key(&Signed::read(&keys)?, device).ok_or_else(invalid)?;
        if !new.holds(id.as_str(), by, &bytes) {
            return Err(invalid());
        }
    }
    if !added.is_empty() {
        tx.put(&CROSS_SIGNING_KEYS, (user, MASTER), &merged(&old, id, &added));
        tx.announce(Entry::Devices { user });
    }
    Ok(())
}

fn merged(old: &Signed, id: &UserId, added: &BTreeMap<&String, &String>) -> String {
    let mut all = old.signatures.clone();
    let own = all.entry(id.to_string()).or_default();
    own.extend(added.iter().map(|(key, made)| ((*key).clone(), (*made).clone())));
    signed::write(old, &all)
}

/// Another user's master key.
fn other(
    tx: &mut Tx,
    (user, id): Me<'_>,
    whose: &UserId,
    name: &str,
    new: &Signed,
    elsewhere: &Map<String, Value>,
) -> Reply<()> {
    let local = user::is_local(tx, whose);
    let old = match user::find(tx, whose)?.filter(|_| local) {
        Some(target) => stored(tx, target, MASTER)?,
        None => {
            elsewhere.get(whose.as_str()).map(|key| signed::read(&key.to_string())).transpose()?
        }
    };
    let old = old.ok_or_else(unknown)?;
    if signed::public_key(&old).is_none_or(|(public, _)| public != name) {
        return Err(unknown());
    }
    same(new, &old)?;
    let signer = stored(tx, user, USER_SIGNING)?;
    let (public, bytes) = signer.as_ref().and_then(signed::public_key).ok_or_else(invalid)?;
    let by = format!("ed25519:{public}");
    if !new.holds(id.as_str(), &by, &bytes) {
        return Err(invalid());
    }
    let made =
        new.signatures.get(id.as_str()).and_then(|made| made.get(&by)).ok_or_else(invalid)?;
    let target = user::intern(tx, whose)?;
    let key = (user, target, name.to_owned(), by);
    if tx.get(&SIGNATURES, key.clone())?.as_ref() != Some(made) {
        tx.put(&SIGNATURES, key, made);
        tx.announce(Entry::Signed { by: user, of: target });
    }
    Ok(())
}
