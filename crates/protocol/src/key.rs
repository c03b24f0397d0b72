//! The server's signing key (spec: Appendices, Signing JSON; algorithm ed25519).

use std::fmt;

use base::{Fault, Reply};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ruma::CanonicalJsonObject;
use ruma::signatures::{Ed25519KeyPair, KeyPair};

/// What comes before the 32 bytes of seed in a PKCS #8 document (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Reads base64 with or without padding, and with stray bits at its end, as the spec's own example
/// has.
const BASE64_ANY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An ed25519 key pair with its version, the part of the key id behind `ed25519:`.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: [u8; 32],
    key_id: String,
}

impl SigningKey {
    /// The key of these 32 random bytes, which the caller draws.
    ///
    /// # Errors
    /// A fault if the version is empty or has a character other than `a-z A-Z 0-9 _` (spec: key
    /// ids).
    pub fn generate(seed: [u8; 32], version: &str) -> Reply<SigningKey> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if version.is_empty() || !version.chars().all(plain) {
            return Err(Fault(format!("not a signing key version: {version:?}")).into());
        }
        let document: Vec<u8> = PKCS8_PREFIX.iter().chain(seed.iter()).copied().collect();
        let pair = Ed25519KeyPair::from_der(&document, version.to_owned())
            .map_err(|error| Fault(format!("signing key: {error}")))?;
        Ok(SigningKey { pair, seed, key_id: format!("ed25519:{version}") })
    }

    /// Reads the line `ed25519 <version> <base64 seed>`, as in Synapse's `signing.key`.
    ///
    /// # Errors
    /// A fault that says what is wrong, without quoting the seed.
    pub fn parse(text: &str) -> Reply<SigningKey> {
        let mut words = text.split_whitespace();
        let (Some("ed25519"), Some(version), Some(seed), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Fault("a signing key is: ed25519 <version> <seed>".to_owned()).into());
        };
        let seed = BASE64_ANY.decode(seed).ok().and_then(|bytes| bytes.try_into().ok());
        let seed =
            seed.ok_or_else(|| Fault("a signing key's seed is 32 bytes of base64".into()))?;
        SigningKey::generate(seed, version)
    }

    /// The line [`parse`](Self::parse) reads, without a line break. It holds the secret.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("ed25519 {} {}", self.pair.version(), STANDARD_NO_PAD.encode(self.seed))
    }

    /// The key id, for example `ed25519:a1b2`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key in unpadded base64, as `/_matrix/key/v2/server` shows it.
    #[must_use]
    pub fn public_key(&self) -> String {
        STANDARD_NO_PAD.encode(self.pair.public_key())
    }

    /// The signature of these bytes in unpadded base64.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        self.pair.sign(message).base64()
    }

    /// Signs an object as `entity` (spec: Appendices, Signing JSON), beside signatures it already
    /// has.
    ///
    /// # Errors
    /// A fault if `signatures` is there and not an object of objects.
    pub fn sign_json(&self, entity: &str, object: &mut CanonicalJsonObject) -> Reply<()> {
        ruma::signatures::sign_json(entity, &self.pair, object)
            .map_err(|error| Fault(format!("signing JSON: {error}")).into())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The 32 bytes of a public key.
    pub(crate) fn public(key: &SigningKey) -> Vec<u8> {
        STANDARD_NO_PAD.decode(key.public_key()).unwrap()
    }

    /// The example of the spec's appendix "Cryptographic Test Vectors".
    const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

    #[test]
    fn the_specs_signing_key_gives_the_specs_signature() {
        let key = SigningKey::parse(&format!("ed25519 1 {SEED}")).unwrap();
        let mut object = crate::json::canonical_object("{}").unwrap();
        key.sign_json("domain", &mut object).unwrap();
        assert_eq!(
            crate::json::canonical_text(&object),
            r#"{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}"#
        );
    }

    #[test]
    fn a_key_is_read_back_from_its_own_text() {
        let key = SigningKey::generate([7; 32], "a_1").unwrap();
        let again = SigningKey::parse(&format!("{}\n", key.to_text())).unwrap();
        assert_eq!((again.key_id(), again.public_key()), ("ed25519:a_1", key.public_key()));
        assert_eq!(again.sign(b"x"), key.sign(b"x"));
        let padded = format!("{}=", key.to_text());
        assert_eq!(SigningKey::parse(&padded).unwrap().public_key(), key.public_key());
    }

    #[test]
    fn broken_keys_are_refused_and_never_quoted() {
        for text in ["", "ed25519 a", "rsa a AAAA", "ed25519 a c2hvcnQ", "ed25519 a:b AAAA x"] {
            let error = SigningKey::parse(text).unwrap_err().to_string();
            assert!(!error.contains("c2hvcnQ"), "{error}");
        }
        assert!(SigningKey::generate([0; 32], "").is_err());
        assert!(SigningKey::generate([0; 32], "a:b").is_err());
    }

    #[test]
    fn debugging_a_key_shows_no_secret() {
        let key = SigningKey::generate([7; 32], "a").unwrap();
        assert_eq!(format!("{key:?}"), r#"SigningKey { key_id: "ed25519:a", .. }"#);
    }
}
