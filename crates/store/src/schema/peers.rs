//! What is known of other servers: their keys.

use base::UnixMs;
use serde::{Deserialize, Serialize};

use super::MISC_TREE;
use crate::{
    keyspace::{Keyspace, Owned},
    value::stored,
};

/// Keys of other servers, by which their events and requests are verified: server, key id.
pub static SERVER_KEYS: Keyspace<(String, String), ServerKey> =
    Keyspace::new(MISC_TREE, 110, "server_keys", Owned::Each);
/// What each server last published of its keys, as it signed it, for those who ask this server as a notary.
pub static PUBLISHED_KEYS: Keyspace<(String,), PublishedKeys> =
    Keyspace::new(MISC_TREE, 111, "published_keys", Owned::Each);

/// See [`SERVER_KEYS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerKey {
    /// The 32 bytes of ed25519.
    pub public: [u8; 32],
    /// Until when it is known to be in use: what its server says, but at most seven days after it was read.
    pub valid_until: UnixMs,
    /// When its server stopped using it, if it did.
    pub expired: Option<UnixMs>,
}

/// See [`PUBLISHED_KEYS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedKeys {
    /// The object, JSON, with its signatures.
    pub object: String,
    /// When it was read.
    pub read_at: UnixMs,
    /// Until when it says that it counts.
    pub valid_until: UnixMs,
}

stored!(ServerKey, PublishedKeys);
