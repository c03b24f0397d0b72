//! `POST /keys/device_signing/upload`: the keys by which a user says which devices are theirs, and whom they trust (spec:
//! "Cross-signing").

use base::{Error, Reply, User};
use protocol::signed::Signed;
use ruma::{CanonicalJsonValue, UserId};
use store::{
    Tx,
    log::Entry,
    schema::{CROSS_SIGNING_KEYS, DEVICES},
};

use super::signed;

/// The number of the master key's usage.
pub const MASTER: u8 = 0;
/// The number of the self-signing key's usage.
pub const SELF_SIGNING: u8 = 1;
/// The number of the user-signing key's usage.
pub const USER_SIGNING: u8 = 2;

/// What a client uploads, each as JSON text.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Signs the others.
    pub master: Option<String>,
    /// Signs devices.
    pub self_signing: Option<String>,
    /// Signs other users' master keys.
    pub user_signing: Option<String>,
}

/// What came of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The keys are kept.
    Kept,
    /// They are others than those that are there: the user has to prove to be there. Nothing was written.
    NeedsProof,
}

/// Keeps the cross-signing keys of a user. Without proof that the user is there only the first ones are taken, and those that
/// are there already (spec: v1.11, MSC3967).
///
/// # Errors
/// 400 `M_INVALID_PARAM` or `M_BAD_JSON` for keys of another shape, 400 `M_MISSING_PARAM` if there is no master key, 400
/// `M_INVALID_SIGNATURE` for keys that it did not sign, 403 `M_FORBIDDEN` for a key that is the id of a device.
pub fn upload(
    tx: &mut Tx,
    (user, id): (User, &UserId),
    keys: &Keys,
    proven: bool,
) -> Reply<Outcome> {
    let given = [
        (MASTER, "master", &keys.master),
        (SELF_SIGNING, "self_signing", &keys.self_signing),
        (USER_SIGNING, "user_signing", &keys.user_signing),
    ];
    let mut new = Vec::new();
    for (usage, name, text) in given {
        if let Some(text) = text {
            new.push((usage, check(tx, (user, id), name, text)?));
        }
    }
    let old_master = stored(tx, user, MASTER)?;
    let master = new.iter().find(|(usage, _)| *usage == MASTER).map(|(_, key)| key);
    let Some(effective) = master.or(old_master.as_ref()) else {
        return Err(Error::refused(400, "M_MISSING_PARAM", "There is no master key."));
    };
    let Some((public, bytes)) = signed::public_key(effective) else {
        return Err(Error::fault("a master key has no public key"));
    };
    let signer = format!("ed25519:{public}");
    for (usage, key) in &new {
        if *usage != MASTER && !key.holds(id.as_str(), &signer, &bytes) {
            let text = "The master key did not sign this key.";
            return Err(Error::refused(400, "M_INVALID_SIGNATURE", text));
        }
    }
    let replaced =
        matches!((&old_master, master), (Some(old), Some(new)) if old.object != new.object);
    let mut changed = Vec::new();
    for (usage, key) in &new {
        let old = stored(tx, user, *usage)?;
        if old.is_none_or(|old| old.object != key.object) {
            changed.push((*usage, key));
        }
    }
    if changed.is_empty() {
        return Ok(Outcome::Kept);
    }
    if old_master.is_some() && !proven {
        return Ok(Outcome::NeedsProof);
    }
    if replaced {
        // What the old master key signed is worth nothing under the new one.
        tx.delete(&CROSS_SIGNING_KEYS, (user, SELF_SIGNING));
        tx.delete(&CROSS_SIGNING_KEYS, (user, USER_SIGNING));
        changed = new.iter().map(|(usage, key)| (*usage, key)).collect();
    }
    for (usage, key) in changed {
        let own = key.signatures.get(id.as_str()).cloned().unwrap_or_default();
        let text = signed::write(key, &signed::Signatures::from([(id.to_string(), own)]));
        tx.put(&CROSS_SIGNING_KEYS, (user, usage), &text);
    }
    tx.announce(Entry::Devices { user });
    Ok(Outcome::Kept)
}

/// The key of a user that is kept.
pub(super) fn stored(tx: &Tx, user: User, usage: u8) -> Reply<Option<Signed>> {
    let text = tx.get(&CROSS_SIGNING_KEYS, (user, usage))?;
    text.map(|text| Signed::read(&text)).transpose()
}

fn check(tx: &Tx, (user, id): (User, &UserId), usage: &str, text: &str) -> Reply<Signed> {
    let key = signed::read(text)?;
    let used_so = |name: &CanonicalJsonValue| name.as_str() == Some(usage);
    let usages = match key.object.get("usage") {
        Some(CanonicalJsonValue::Array(usages)) => usages.iter().any(used_so),
        _ => false,
    };
    if signed::text(&key, "user_id") != Some(id.as_str()) || !usages {
        let text = "a cross-signing key names its user and its usage";
        return Err(Error::invalid_param(text));
    }
    let Some((public, _)) = signed::public_key(&key) else {
        return Err(Error::invalid_param(
            "a cross-signing key has one ed25519 key, named by itself",
        ));
    };
    if tx.has(&DEVICES, (user, public.to_owned()))? {
        return Err(Error::forbidden("This key is the id of a device."));
    }
    Ok(key)
}
