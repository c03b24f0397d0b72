//! Backups of the keys of rooms (spec: Client-Server API, "Server-side key backups").

use base::User;
use serde::{Deserialize, Serialize};

use super::USER_TREE;
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// A user's backups by the number of their version.
pub static BACKUPS: Keyspace<(User, u64), Backup> =
    Keyspace::new(USER_TREE, 140, "backups", Owned::First(Kind::Backups));
/// The number of the last backup that a user made, whether or not it is still there: no number comes twice.
pub static BACKUPS_MADE: Keyspace<(User,), u64> =
    Keyspace::new(USER_TREE, 141, "backups_made", Owned::First(Kind::Backups));
/// The keys in backups: (user, shelf of the backup, room id, session id). Whoever decides by them or changes them changes
/// the backup's own row as well; those of a shelf that no backup has any longer wait to be swept.
pub static BACKED_UP_KEYS: Keyspace<(User, u64, String, String), BackedUpKey> =
    Keyspace::new(USER_TREE, 142, "backed_up_keys", Owned::Nobody);

/// See [`BACKUPS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// How its keys are encrypted.
    pub algorithm: String,
    /// JSON object text, as the client gave it.
    pub auth_data: String,
    /// Where its keys are; a new one when all of them are deleted, so that this takes no time.
    pub shelf: u64,
    /// How many keys it has.
    pub count: u64,
    /// Rises with every change of its keys.
    pub etag: u64,
}

/// See [`BACKED_UP_KEYS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackedUpKey {
    /// The device that backed it up had verified the one that it is from.
    pub is_verified: bool,
    /// From which message of the session on it decrypts.
    pub first_message_index: u64,
    /// How often it was forwarded.
    pub forwarded_count: u64,
    /// All of the key as the client gave it: JSON object text.
    pub json: String,
}

stored!(Backup, BackedUpKey);
