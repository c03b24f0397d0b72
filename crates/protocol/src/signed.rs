//! JSON objects that somebody signed (spec: Appendices, "Signing JSON", "Checking for a Signature").

use std::collections::BTreeMap;

use base::{Error, Reply};
use ruma::serde::{Base64, base64::Standard};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, SigningKeyAlgorithm};

use crate::json;

/// An object without its signatures, and these.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The object without `signatures` and `unsigned`.
    pub object: CanonicalJsonObject,
    /// Who signed: entity → key id → signature.
    pub signatures: BTreeMap<String, BTreeMap<String, String>>,
    text: String,
}

impl Signed {
    /// Takes an object apart.
    ///
    /// # Errors
    /// 400 `M_BAD_JSON` if it is no canonical object.
    pub fn read(text: &str) -> Reply<Signed> {
        let mut object = json::canonical_object(text)?;
        object.remove("unsigned");
        let signatures = match object.remove("signatures") {
            Some(CanonicalJsonValue::Object(all)) => serde_json::to_value(all),
            Some(_) => return Err(Error::bad_json("`signatures` is no object")),
            None => Ok(serde_json::json!({})),
        };
        let signatures = signatures.and_then(serde_json::from_value);
        let signatures =
            signatures.map_err(|_| Error::bad_json("`signatures` has another shape"))?;
        let text = json::canonical_text(&object);
        Ok(Signed { object, signatures, text })
    }

    /// Is the entity's signature with this key there, and does it hold? The public key is the 32 bytes of ed25519.
    #[must_use]
    pub fn holds(&self, entity: &str, key_id: &str, public_key: &[u8]) -> bool {
        let signature = self.signatures.get(entity).and_then(|keys| keys.get(key_id));
        signature.is_some_and(|signature| verify(&self.text, signature, public_key))
    }
}

/// Is this the signature, in base64, of the text?
#[must_use]
pub fn verify(text: &str, signature: &str, public_key: &[u8]) -> bool {
    let Ok(signature) = Base64::<Standard>::parse(signature) else { return false };
    ruma::signatures::verify_canonical_json_bytes(
        &SigningKeyAlgorithm::Ed25519,
        public_key,
        signature.as_bytes(),
        text.as_bytes(),
    )
    .is_ok()
}

/// A public key of ed25519 out of its base64.
#[must_use]
pub fn decode_key(text: &str) -> Option<[u8; 32]> {
    Base64::<Standard>::parse(text).ok()?.as_bytes().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    #[test]
    fn a_signature_holds_for_its_object_entity_and_key_only() {
        let key = SigningKey::generate([7; 32], "k").unwrap();
        let public = decode_key(&key.public_key()).unwrap();
        let mut object = json::canonical_object(r#"{"b":[1],"a":"x"}"#).unwrap();
        key.sign_json("a.example", &mut object).unwrap();
        object.insert("unsigned".into(), CanonicalJsonValue::Bool(true));
        let text = json::canonical_text(&object);
        let signed = Signed::read(&text).unwrap();
        assert!(signed.holds("a.example", "ed25519:k", &public));
        assert!(!signed.holds("b.example", "ed25519:k", &public));
        assert!(!signed.holds("a.example", "ed25519:l", &public));
        assert!(!signed.holds("a.example", "ed25519:k", &[8; 32]));
        let other = Signed::read(&text.replace("[1]", "[2]")).unwrap();
        assert!(!other.holds("a.example", "ed25519:k", &public));
        assert!(Signed::read(r#"{"signatures":1}"#).is_err());
        assert!(Signed::read("[]").is_err());
    }
}
