//! Keys of devices and users, and the signatures that users made on each other's (spec: Client-Server API, "End-to-End
//! Encryption").

use base::User;
use serde::{Deserialize, Serialize};

use super::USER_TREE;
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// The identity keys of devices, canonical JSON with all signatures of their own user.
pub static DEVICE_KEYS: Keyspace<(User, String), String> =
    Keyspace::new(USER_TREE, 130, "device_keys", Owned::First(Kind::Keys));
/// One-time keys that nobody has claimed: (user, device, algorithm, order of upload).
pub static ONE_TIME_KEYS: Keyspace<(User, String, String, u64), OneTimeKey> =
    Keyspace::new(USER_TREE, 131, "one_time_keys", Owned::First(Kind::OneTimeKeys));
/// What is given out when there is no one-time key left: (user, device, algorithm).
pub static FALLBACK_KEYS: Keyspace<(User, String, String), FallbackKey> =
    Keyspace::new(USER_TREE, 132, "fallback_keys", Owned::First(Kind::OneTimeKeys));
/// Cross-signing keys of users of this server: (user, usage: 0 master, 1 self-signing, 2 user-signing) → canonical JSON
/// with all signatures of their own user.
pub static CROSS_SIGNING_KEYS: Keyspace<(User, u8), String> =
    Keyspace::new(USER_TREE, 133, "cross_signing_keys", Owned::First(Kind::Keys));
/// Signatures that users of this server made on other users' master keys, for their own eyes: (signer, signed user,
/// signed public key, key id of the signing key) → signature.
pub static SIGNATURES: Keyspace<(User, User, String, String), String> =
    Keyspace::new(USER_TREE, 134, "signatures", Owned::Nobody);

/// A user's dehydrated device (MSC3814), if there is one: a device like others, without tokens.
pub static DEHYDRATED: Keyspace<(User,), Dehydrated> =
    Keyspace::new(USER_TREE, 143, "dehydrated", Owned::First(Kind::Devices));

/// See [`DEHYDRATED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dehydrated {
    /// Its id.
    pub device: String,
    /// What another device needs to take it up, encrypted by its user: JSON object text.
    pub data: String,
}

/// See [`ONE_TIME_KEYS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneTimeKey {
    /// The part of its name behind the algorithm.
    pub id: String,
    /// JSON text.
    pub json: String,
}

/// See [`FALLBACK_KEYS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallbackKey {
    /// The part of its name behind the algorithm.
    pub id: String,
    /// JSON text.
    pub json: String,
    /// It was given out.
    pub used: bool,
}

stored!(Dehydrated, OneTimeKey, FallbackKey);
