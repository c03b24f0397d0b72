//! Keys of devices and users, and the signatures that users made on each other's (spec: Client-Server API, "End-to-End
//! Encryption").

use base::{Room, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{MISC_TREE, ROOM_TREE, USER_TREE};
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
/// One-time keys that were claimed: user, device, hash of name and key. A client that uploads them again, because it did not
/// hear that it had, does not have them given out twice.
pub static CLAIMED_KEYS: Keyspace<(User, String, u64), ()> =
    Keyspace::new(USER_TREE, 150, "claimed_keys", Owned::First(Kind::OneTimeKeys));
/// Users of other servers whose list of devices is kept here: see [`crate::remote_lists`].
pub static REMOTE_LISTS: Keyspace<(User,), RemoteList> =
    Keyspace::new(USER_TREE, 151, "remote_lists", Owned::First(Kind::RemoteLists));
/// Their devices that have keys: user, device → what clients are told of it, JSON.
pub static REMOTE_DEVICES: Keyspace<(User, String), String> =
    Keyspace::new(USER_TREE, 152, "remote_devices", Owned::First(Kind::RemoteLists));
/// Lists that have to be asked for again: server, user.
pub static STALE_LISTS: Keyspace<(String, User), Stale> =
    Keyspace::new(MISC_TREE, 153, "stale_lists", Owned::Each);
/// Rooms that the last user of this server left, until the lists of those who are known only from there are dropped.
pub static ABANDONED: Keyspace<(Room,), ()> =
    Keyspace::new(ROOM_TREE, 154, "abandoned", Owned::Each);

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

/// See [`REMOTE_LISTS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteList {
    /// The version of the list, as its server numbers them; `None`: it did not say.
    pub version: Option<u64>,
    /// Rises whenever the server was asked or told of a change that is not in the list: an answer to an older question is
    /// not the last word.
    pub asked: u64,
    /// Its server answered once.
    pub known: bool,
    /// Nothing is known to be missing.
    pub current: bool,
    /// The master key, JSON.
    pub master: Option<String>,
    /// The self-signing key, JSON.
    pub self_signing: Option<String>,
}

/// See [`STALE_LISTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stale {
    /// How often in a row asking did not help.
    pub failures: u32,
    /// When to ask.
    pub retry: UnixMs,
}

stored!(Dehydrated, FallbackKey, OneTimeKey, RemoteList, Stale);
