//! Pushers: whom to tell of new events outside of `/sync`, and how far each was told.

use base::{Seq, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{MISC_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// Names a pusher of a user: a hash of `app_id` and `pushkey`, which together are unique.
pub type PusherId = [u8; 16];

/// A user's pushers. They end with the devices that set them.
pub static PUSHERS: Keyspace<(User, PusherId), Pusher> =
    Keyspace::new(USER_TREE, 80, "pushers", Owned::First(Kind::Devices));
/// How far a pusher has come in the log. Written when something was delivered, not for each event.
pub static PUSH_CURSORS: Keyspace<(User, PusherId), PushCursor> =
    Keyspace::new(USER_TREE, 81, "push_cursors", Owned::Each);
/// Who has a pusher of this name: a phone that changes hands takes its pusher along.
pub static PUSHERS_BY_KEY: Keyspace<(PusherId, User), ()> =
    Keyspace::new(MISC_TREE, 80, "pushers_by_key", Owned::First(Kind::Devices));

/// See [`PUSHERS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pusher {
    /// `app_id`
    pub app_id: String,
    /// `pushkey`: where the gateway sends it, or a mail address.
    pub pushkey: String,
    /// `http` or `email`.
    pub kind: String,
    /// `app_display_name`
    pub app_display_name: String,
    /// `device_display_name`
    pub device_display_name: String,
    /// `profile_tag`
    pub profile_tag: Option<String>,
    /// `lang`
    pub lang: String,
    /// `data` as JSON object text, without `url`.
    pub data: String,
    /// `data.url` of an `http` pusher.
    pub url: Option<String>,
    /// It may be switched off without being deleted (MSC3881).
    pub enabled: bool,
    /// The device that set it.
    pub device: String,
    /// When it was last set.
    pub set: UnixMs,
}

/// See [`PUSH_CURSORS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PushCursor {
    /// Everything up to here was told, or was not worth telling.
    pub upto: Seq,
    /// The unread count that was last told.
    pub badge: u64,
    /// Since when nothing could be told; `None`: the last attempt succeeded.
    pub failing: Option<UnixMs>,
    /// When the last mail went out.
    pub mailed: Option<UnixMs>,
}

stored!(Pusher, PushCursor);
