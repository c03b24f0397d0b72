//! Media: what is known of the bytes that lie in the blob store.

use base::{UnixMs, User};
use serde::{Deserialize, Serialize};

use super::MISC_TREE;
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// Media of this server (and, later, of others) by origin and media id.
pub static MEDIA: Keyspace<(String, String), Media> =
    Keyspace::new(MISC_TREE, 20, "media", Owned::Each);
/// Thumbnails made: (origin, media id, `WxH-method`, and `-animated` where that was asked for).
pub static THUMBNAILS: Keyspace<(String, String, String), Thumbnail> =
    Keyspace::new(MISC_TREE, 21, "thumbnails", Owned::Each);
/// How many rows point to a blob.
pub static BLOBS: Keyspace<([u8; 32],), u64> = Keyspace::new(MISC_TREE, 22, "blobs", Owned::Each);
/// Media that a user reserved and did not upload yet → until when that is possible.
pub static PENDING_UPLOADS: Keyspace<(User, String), UnixMs> =
    Keyspace::new(MISC_TREE, 23, "pending_uploads", Owned::First(Kind::Row));

/// See [`MEDIA`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// The bytes' BLAKE3 hash; `None`: reserved, not uploaded yet.
    pub blob: Option<[u8; 32]>,
    /// Bytes.
    pub size: u64,
    /// As uploaded.
    pub content_type: Option<String>,
    /// As uploaded.
    pub filename: Option<String>,
    /// Who uploaded it.
    pub uploader: Option<User>,
    /// When.
    pub created: UnixMs,
}

/// See [`THUMBNAILS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// The bytes' BLAKE3 hash.
    pub blob: [u8; 32],
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub content_type: String,
}

stored!(Media, Thumbnail);
