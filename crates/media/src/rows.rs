//! What the store knows of media.

use base::{Error, Reply, UnixMs, User};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use blob::{Hash, Written};
use store::{
    Tx, View,
    schema::{BLOBS, MEDIA, Media, PENDING_UPLOADS, THUMBNAILS, Thumbnail},
};

use crate::About;

/// How long reserved media may be uploaded: the spec's recommendation (`POST /media/v1/create`), 24 hours.
pub const RESERVED_MS: u64 = 24 * 60 * 60 * 1_000;
/// Uploads that a user may have reserved and not finished: an album, not a stockpile.
pub const PENDING_MAX: usize = 20;
/// When to come back if there are that many: an upload may have finished by then.
const PENDING_RETRY_MS: u64 = 5_000;

/// Media that is yet to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Its id at this server.
    pub media_id: String,
    /// The id is void if nothing was uploaded by then.
    pub expires: UnixMs,
}

/// Reserves a media id (spec: `POST /_matrix/media/v1/create`). Ids whose time is over are dropped on the way.
///
/// # Errors
/// 429 `M_LIMIT_EXCEEDED` if the user has [`PENDING_MAX`] pending uploads.
pub fn reserve(tx: &mut Tx, user: User) -> Reply<Reserved> {
    let pending: Vec<((User, String), UnixMs)> =
        tx.under(&PENDING_UPLOADS, (user,), PENDING_MAX + 1)?;
    let mut live = 0;
    for ((_, media_id), expires) in pending {
        if expires > tx.now() {
            live += 1;
            continue;
        }
        let origin = tx.server_name().to_string();
        tx.delete(&PENDING_UPLOADS, (user, media_id.clone()));
        tx.delete(&MEDIA, (origin, media_id));
    }
    if live >= PENDING_MAX {
        let mut refusal = Error::refusal(429, "M_LIMIT_EXCEEDED", "too many pending uploads");
        refusal.retry_after_ms = Some(PENDING_RETRY_MS);
        return Err(refusal.into());
    }
    let (media_id, expires) = (fresh_id(tx), UnixMs(tx.now().0.saturating_add(RESERVED_MS)));
    let row = Media {
        blob: None,
        size: 0,
        content_type: None,
        filename: None,
        uploader: Some(user),
        created: tx.now(),
    };
    tx.put(&MEDIA, (tx.server_name().to_string(), media_id.clone()), &row);
    tx.put(&PENDING_UPLOADS, (user, media_id.clone()), &expires);
    Ok(Reserved { media_id, expires })
}

/// Adds uploaded media; gives its id.
pub(crate) fn add(tx: &mut Tx, user: User, about: &About, written: Written) -> Reply<String> {
    let media_id = fresh_id(tx);
    let row = uploaded(tx.now(), user, about, written);
    hold(tx, written.hash)?;
    tx.put(&MEDIA, (tx.server_name().to_string(), media_id.clone()), &row);
    Ok(media_id)
}

/// May this user upload what was reserved under this id?
///
/// # Errors
/// 404 `M_NOT_FOUND` for an id that was not reserved or is void, 403 if it was by someone else, 409
/// `M_CANNOT_OVERWRITE_MEDIA` if it is uploaded.
pub(crate) fn may_fill(view: &View, user: User, origin: &str, media_id: &str) -> Reply<()> {
    let Some(row) = find(view, origin, media_id)? else { return Err(unknown()) };
    if row.uploader != Some(user) {
        return Err(Error::forbidden("the media id was created by another user"));
    }
    if row.blob.is_some() {
        return Err(Error::refused(409, "M_CANNOT_OVERWRITE_MEDIA", "already uploaded"));
    }
    Ok(())
}

/// Adds the upload of what was reserved.
pub(crate) fn fill(
    tx: &mut Tx,
    user: User,
    at: &(String, String),
    about: &About,
    written: Written,
) -> Reply<()> {
    let (origin, media_id) = at;
    may_fill(tx, user, origin, media_id)?;
    hold(tx, written.hash)?;
    let row = uploaded(tx.now(), user, about, written);
    tx.put(&MEDIA, at.clone(), &row);
    tx.delete(&PENDING_UPLOADS, (user, media_id.clone()));
    Ok(())
}

/// Keeps media of another server, unless somebody else just did.
pub(crate) fn keep(
    tx: &mut Tx,
    at: &(String, String),
    about: &About,
    written: Written,
) -> Reply<()> {
    if tx.has(&MEDIA, at.clone())? {
        return Ok(());
    }
    hold(tx, written.hash)?;
    let row = Media { uploader: None, ..uploaded(tx.now(), User(0), about, written) };
    tx.put(&MEDIA, at.clone(), &row);
    Ok(())
}

/// The row, if there is such media and its id is not void.
pub(crate) fn find(view: &View, origin: &str, media_id: &str) -> Reply<Option<Media>> {
    if !is_media_id(media_id) {
        return Ok(None);
    }
    let row = view.get(&MEDIA, (origin.to_owned(), media_id.to_owned()))?;
    let now = view.now().0;
    let void = |row: &Media| row.blob.is_none() && row.created.0.saturating_add(RESERVED_MS) <= now;
    Ok(row.filter(|row| !void(row)))
}

/// Remembers a thumbnail, unless somebody else just did.
pub(crate) fn add_thumbnail(
    tx: &mut Tx,
    at: &(String, String, String),
    thumbnail: &Thumbnail,
) -> Reply<()> {
    if !tx.has(&THUMBNAILS, at.clone())? {
        hold(tx, thumbnail.blob)?;
        tx.put(&THUMBNAILS, at.clone(), thumbnail);
    }
    Ok(())
}

/// 404 for media that is not here.
pub(crate) fn unknown() -> Error {
    Error::not_found("no such media")
}

fn uploaded(created: UnixMs, user: User, about: &About, written: Written) -> Media {
    Media {
        blob: Some(written.hash),
        size: written.size,
        content_type: about.content_type.clone(),
        filename: about.filename.clone(),
        uploader: Some(user),
        created,
    }
}

/// One more row that points to a blob.
fn hold(tx: &mut Tx, hash: Hash) -> Reply<()> {
    let count = tx.get(&BLOBS, (hash,))?.unwrap_or(0);
    tx.put(&BLOBS, (hash,), &count.saturating_add(1));
    Ok(())
}

/// 24 characters that nobody guesses.
fn fresh_id(tx: &Tx) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(tx.random::<18>())
}

/// The spec's rule for media ids ("Content repository", "Security considerations").
#[must_use]
pub fn is_media_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=base::limits::ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}
