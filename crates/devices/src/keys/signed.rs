//! Keys as signed objects: how they are read, held against each other, and written.

use std::collections::BTreeMap;

use base::{Error, Reply};
use protocol::{json::canonical_text, signed::Signed};
use ruma::CanonicalJsonValue;

/// One key object, bytes. Device keys have some hundreds, and a few signatures.
pub(super) const KEY_BYTES_MAX: usize = 32 << 10;

/// By entity, by key id.
pub(super) type Signatures = BTreeMap<String, BTreeMap<String, String>>;

/// Reads a key object of bounded size.
pub(super) fn read(text: &str) -> Reply<Signed> {
    if text.len() > KEY_BYTES_MAX {
        return Err(Error::too_large(format!("a key has at most {KEY_BYTES_MAX} bytes")));
    }
    Signed::read(text)
}

/// The object with these signatures, as canonical JSON.
pub(super) fn write(signed: &Signed, signatures: &Signatures) -> String {
    let mut object = signed.object.clone();
    let value = |signature: &String| CanonicalJsonValue::String(signature.clone());
    let keys = |keys: &BTreeMap<String, String>| {
        let keys = keys.iter().map(|(id, signature)| (id.clone(), value(signature)));
        CanonicalJsonValue::Object(keys.collect())
    };
    let all = signatures.iter().filter(|(_, made)| !made.is_empty());
    let all: ruma::CanonicalJsonObject =
        all.map(|(entity, made)| (entity.clone(), keys(made))).collect();
    if !all.is_empty() {
        object.insert("signatures".into(), CanonicalJsonValue::Object(all));
    }
    canonical_text(&object)
}

/// Text in a field.
pub(super) fn text<'a>(signed: &'a Signed, field: &str) -> Option<&'a str> {
    signed.object.get(field).and_then(CanonicalJsonValue::as_str)
}

/// The one ed25519 key of a cross-signing key, in base64; `None`: it has another shape.
pub(super) fn public_key(signed: &Signed) -> Option<(&str, [u8; 32])> {
    let CanonicalJsonValue::Object(keys) = signed.object.get("keys")? else { return None };
    let mut keys = keys.iter();
    let (Some((id, CanonicalJsonValue::String(key))), None) = (keys.next(), keys.next()) else {
        return None;
    };
    let named: &str = id.as_ref();
    let bytes = protocol::signed::decode_key(key)?;
    (named.strip_prefix("ed25519:") == Some(key.as_str())).then_some((key.as_str(), bytes))
}

/// The ed25519 key of a device.
pub(super) fn device_key(signed: &Signed, device: &str) -> Option<[u8; 32]> {
    let CanonicalJsonValue::Object(keys) = signed.object.get("keys")? else { return None };
    let key = keys.get(format!("ed25519:{device}").as_str())?.as_str()?;
    protocol::signed::decode_key(key)
}
