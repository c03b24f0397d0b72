//! From `mxc://` to bytes.

use std::{ops::Range, pin::pin};

use base::{Error, Reply};
use blob::{Chunks, Hash};
use futures_util::future::{Either, select};
use store::schema::Media;

use crate::{Library, disposition, rows};

/// What is served for media that came without a type (spec: `GET /media/download`).
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Something that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// BLAKE3 of the bytes.
    pub hash: Hash,
    /// Bytes.
    pub size: u64,
    /// `Content-Type`; fit for a header.
    pub content_type: String,
    /// The name to save it under.
    pub filename: Option<String>,
}

impl File {
    /// The value of `Content-Disposition`.
    #[must_use]
    pub fn disposition(&self) -> String {
        disposition(&self.content_type, self.filename.as_deref())
    }
}

impl Library {
    /// Finds media. If it is reserved and not uploaded yet, waits for it until `give_up` is ready.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` if there is none (media of other servers is not fetched here), 504 `M_NOT_YET_UPLOADED` if the
    /// wait was for nothing.
    pub async fn find(
        &self,
        origin: &str,
        media_id: &str,
        give_up: impl Future<Output = ()> + Send,
    ) -> Reply<File> {
        let mut give_up = pin!(give_up);
        // Whoever listens first and looks then misses nothing.
        let mut arrived = self.arrived.subscribe();
        loop {
            if let Some(file) = self.look(origin, media_id).await? {
                return Ok(file);
            }
            let news = pin!(arrived.changed());
            if let Either::Right(((), _)) = select(news, give_up.as_mut()).await {
                // Once more: another node of this server may have taken the upload.
                return self.look(origin, media_id).await?.ok_or_else(|| {
                    Error::refused(504, "M_NOT_YET_UPLOADED", "the media has not been uploaded yet")
                });
            }
        }
    }

    /// `None`: reserved only.
    async fn look(&self, origin: &str, media_id: &str) -> Reply<Option<File>> {
        let (origin, media_id) = (origin.to_owned(), media_id.to_owned());
        let row = self.store.read(move |view| rows::find(view, &origin, &media_id)).await?;
        Ok(file(row.ok_or_else(rows::unknown)?))
    }

    /// The bytes of a file in `range`, which has to lie within it.
    ///
    /// # Errors
    /// A fault if they are not there.
    pub async fn read(&self, file: &File, range: Range<u64>) -> Reply<Chunks> {
        let chunks = self.blobs.read(&file.hash, range).await?;
        chunks.ok_or_else(|| Error::fault(format!("the bytes are gone: {:02x?}", file.hash)))
    }
}

fn file(row: Media) -> Option<File> {
    Some(File {
        hash: row.blob?,
        size: row.size,
        content_type: row.content_type.unwrap_or_else(|| UNKNOWN_TYPE.to_owned()),
        filename: row.filename,
    })
}
