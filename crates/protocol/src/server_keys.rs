//! The keys that servers publish (spec: Server-Server API, "Publishing Keys", "Querying Keys Through Another Server"),
//! and when a key counts (spec: Room Versions, version 5, "Signing key validity period").

use std::collections::BTreeMap;

use base::{Error, Reply};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, OwnedServerName, RoomVersionId, ServerName};
use serde::Deserialize;

use crate::SigningKey;
use crate::json;
use crate::signed::{Signed, decode_key};

/// No key counts for longer after it was read, whatever its server says, in milliseconds (seven days).
pub const TRUSTED_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// The largest object of published keys that is read, bytes.
pub const PUBLISHED_BYTES_MAX: usize = 64 << 10;
/// Keys of one server, old ones included, that are read.
const KEYS_MAX: usize = 500;
/// The algorithm that every server has.
const ALGORITHM: &str = "ed25519:";

/// A key of a server, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The 32 bytes of ed25519.
    pub public: [u8; 32],
    /// Until when it is known to be in use, milliseconds since 1970.
    pub valid_until: u64,
    /// When its server stopped using it, if it did.
    pub expired: Option<u64>,
}

impl Key {
    /// May requests be signed with it now?
    #[must_use]
    pub fn counts_now(&self, now: u64) -> bool {
        self.expired.is_none() && now <= self.valid_until
    }

    /// May an event that says it was sent then be signed with it? Before version 5 of rooms, times do not matter.
    #[must_use]
    pub fn counts_for(&self, version: &RoomVersionId, sent: u64) -> bool {
        let ages = crate::version::rules(version).is_none_or(|rules| rules.enforce_key_validity);
        !ages || sent <= self.expired.unwrap_or(self.valid_until)
    }
}

/// A key that its server no longer uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// With its algorithm.
    pub key_id: String,
    /// The 32 bytes of ed25519.
    pub public: [u8; 32],
    /// Since when, milliseconds since 1970.
    pub expired: u64,
}

/// What a server published of its keys, and signed.
#[derive(Clone, Debug)]
pub struct Published {
    /// Which server.
    pub server: OwnedServerName,
    /// The keys it uses, by their ids, and those that it used.
    pub keys: BTreeMap<String, Key>,
    /// Until when it says that the object counts, milliseconds since 1970.
    pub valid_until: u64,
    /// With all signatures.
    pub signed: Signed,
}

impl Published {
    /// Reads an object of keys; at least one of the keys in it has signed it. `now`: when it is read.
    ///
    /// # Errors
    /// 400 `M_BAD_JSON` if it has another shape, 403 `M_FORBIDDEN` if none of its keys has signed it.
    pub fn read(text: &str, now: u64) -> Reply<Published> {
        #[derive(Deserialize)]
        struct Object {
            server_name: OwnedServerName,
            verify_keys: BTreeMap<String, Used>,
            #[serde(default)]
            old_verify_keys: BTreeMap<String, Old>,
            valid_until_ts: u64,
        }
        #[derive(Deserialize)]
        struct Used {
            key: String,
        }
        #[derive(Deserialize)]
        struct Old {
            key: String,
            expired_ts: u64,
        }
        if text.len() > PUBLISHED_BYTES_MAX {
            return Err(Error::bad_json("too many keys"));
        }
        let signed = Signed::read(text)?;
        let bad = |e: serde_json::Error| Error::bad_json(format!("published keys: {e}"));
        let object: Object = serde_json::from_str(text).map_err(bad)?;
        let valid_until = object.valid_until_ts.min(now.saturating_add(TRUSTED_MS_MAX));
        let mut keys = BTreeMap::new();
        // A key that is used and old at once is used no more.
        let used = object.verify_keys.into_iter().map(|(id, used)| (id, used.key, None));
        let old = object.old_verify_keys.into_iter();
        let old = old.map(|(id, old)| (id, old.key, Some(old.expired_ts)));
        for (id, key, expired) in used.chain(old).take(KEYS_MAX) {
            // Of other algorithms nothing is known.
            let public = decode_key(&key).filter(|_| id.starts_with(ALGORITHM));
            let Some(public) = public else { continue };
            keys.insert(id, Key { public, valid_until, expired });
        }
        let server = object.server_name;
        let by = |(id, key): (&String, &Key)| {
            key.expired.is_none() && signed.holds(server.as_str(), id, &key.public)
        };
        if !keys.iter().any(by) {
            return Err(Error::forbidden("the published keys are not signed by one of them"));
        }
        Ok(Published { server, keys, valid_until: object.valid_until_ts, signed })
    }
}

/// What this server publishes of its own keys.
///
/// # Errors
/// A fault.
pub fn publish(
    server: &ServerName,
    key: &SigningKey,
    retired: &[Retired],
    valid_until: u64,
) -> Reply<String> {
    use serde_json::json;
    let old: serde_json::Map<_, _> = retired
        .iter()
        .map(|old| {
            let text = ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(old.public);
            (old.key_id.clone(), json!({ "key": text.encode(), "expired_ts": old.expired }))
        })
        .collect();
    let object = json!({
        "server_name": server.as_str(),
        "valid_until_ts": valid_until,
        "verify_keys": { key.key_id(): { "key": key.public_key() } },
        "old_verify_keys": old,
    });
    let mut object = json::canonical_object(&object.to_string())?;
    key.sign_json(server.as_str(), &mut object)?;
    Ok(json::canonical_text(&object))
}

/// A published object with the signature of a notary beside those that it has.
///
/// # Errors
/// 400 `M_BAD_JSON` if it is none.
pub fn countersign(text: &str, notary: &ServerName, key: &SigningKey) -> Reply<String> {
    let mut object: CanonicalJsonObject = json::canonical_object(text)?;
    if !matches!(object.get("signatures"), Some(CanonicalJsonValue::Object(_))) {
        return Err(Error::bad_json("`signatures` is no object"));
    }
    key.sign_json(notary.as_str(), &mut object)?;
    Ok(json::canonical_text(&object))
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn key(seed: u8, version: &str) -> SigningKey {
        SigningKey::generate([seed; 32], version).unwrap()
    }

    fn public(key: &SigningKey) -> [u8; 32] {
        decode_key(&key.public_key()).unwrap()
    }

    #[test]
    fn what_is_published_is_read_back() {
        let (a, now) = (server_name!("a.example"), 1_000_000);
        let (new, old) = (key(1, "new"), key(2, "old"));
        let old_public = public(&old);
        let retired =
            [Retired { key_id: old.key_id().to_owned(), public: old_public, expired: 77 }];
        let text = publish(a, &new, &retired, now + 5_000).unwrap();
        let read = Published::read(&text, now).unwrap();
        assert_eq!((read.server.as_str(), read.valid_until), ("a.example", now + 5_000));
        let valid_until = now + 5_000;
        let used = Key { public: public(&new), valid_until, expired: None };
        let gone = Key { public: old_public, valid_until, expired: Some(77) };
        assert_eq!(read.keys["ed25519:new"], used);
        assert_eq!(read.keys["ed25519:old"], gone);
        let text = countersign(&text, server_name!("n.example"), &old).unwrap();
        let read = Published::read(&text, now).unwrap();
        assert!(read.signed.holds("n.example", "ed25519:old", &old_public));
        assert!(read.signed.holds("a.example", "ed25519:new", &public(&new)));
    }

    #[test]
    fn nobody_is_believed_for_more_than_seven_days() {
        let text = publish(server_name!("a.example"), &key(1, "k"), &[], 1 << 50).unwrap();
        let read = Published::read(&text, 1_000).unwrap();
        assert_eq!(read.keys["ed25519:k"].valid_until, 1_000 + TRUSTED_MS_MAX);
    }

    #[test]
    fn keys_that_none_of_them_has_signed_are_refused() {
        let text = publish(server_name!("a.example"), &key(1, "k"), &[], 5).unwrap();
        assert!(Published::read(&text, 0).is_ok());
        for wrong in [
            text.replace("a.example", "b.example"),
            text.replacen("\"valid_until_ts\":5", "\"valid_until_ts\":6", 1),
            text.replace(&key(1, "k").public_key(), &key(2, "k").public_key()),
            text.replace("ed25519:k", "ed25519:l").replacen("ed25519:l", "ed25519:k", 1),
            text.replace("valid_until_ts", "valid"),
            "{}".to_owned(),
        ] {
            assert!(Published::read(&wrong, 0).is_err(), "{wrong}");
        }
    }

    #[test]
    fn when_a_key_counts_depends_on_the_version_of_the_room() {
        let used = Key { public: [0; 32], valid_until: 100, expired: None };
        let gone = Key { expired: Some(50), ..used };
        let (old, new) = (RoomVersionId::V4, RoomVersionId::V5);
        for (key, sent, holds) in
            [(used, 100, true), (used, 101, false), (gone, 50, true), (gone, 51, false)]
        {
            assert_eq!(key.counts_for(&new, sent), holds);
            assert!(key.counts_for(&old, sent));
        }
        assert!(used.counts_now(100) && !used.counts_now(101) && !gone.counts_now(1));
    }
}
