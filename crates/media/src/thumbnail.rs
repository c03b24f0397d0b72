//! Thumbnails: made when first asked for, kept as blobs of their own.

use base::{Error, Reply};
use futures_util::TryStreamExt as _;
use store::schema::{THUMBNAILS, Thumbnail};

use crate::{
    File, Library, Wanted,
    picture::{self, SOURCE_BYTES_MAX},
    rows,
};

impl Library {
    /// A thumbnail, at least as large as `wanted` if the picture is. Waits for the media as [`Library::find`].
    ///
    /// # Errors
    /// As [`Library::find`]; 400 `M_UNKNOWN` if the media is no picture of a known kind, 413 `M_TOO_LARGE` if it is
    /// too large, 429 if too many are being made.
    pub async fn thumbnail(
        &self,
        origin: &str,
        media_id: &str,
        wanted: Wanted,
        give_up: impl Future<Output = ()> + Send,
    ) -> Reply<File> {
        let original = self.find(origin, media_id, give_up).await?;
        let target = wanted.target();
        let at = (origin.to_owned(), media_id.to_owned(), target.name(wanted.animated));
        let key = at.clone();
        if let Some(row) = self.store.read(move |view| view.get(&THUMBNAILS, key)).await? {
            return Ok(file(row));
        }
        if original.size > SOURCE_BYTES_MAX {
            return Err(picture::too_large());
        }
        let work = move |bytes: &[u8]| picture::shrink(bytes, target, wanted.animated);
        let made = self.pool.run(self.load(&original), work).await?;
        let content_type = made.content_type.to_owned();
        let row = match made.bytes {
            None => Thumbnail { blob: original.hash, size: original.size, content_type },
            Some(bytes) => {
                let bytes = futures_util::stream::iter([Ok(bytes.into())]);
                let written = self.blobs.write(bytes, u64::MAX).await?;
                Thumbnail { blob: written.hash, size: written.size, content_type }
            }
        };
        let kept = row.clone();
        self.store.write(None, move |tx| rows::add_thumbnail(tx, &at, &kept)).await?;
        Ok(file(row))
    }

    async fn load(&self, original: &File) -> Reply<Vec<u8>> {
        let size = usize::try_from(original.size).map_err(|_| picture::too_large())?;
        let mut chunks = self.read(original, 0..original.size).await?;
        let mut bytes = Vec::with_capacity(size);
        while let Some(chunk) =
            chunks.try_next().await.map_err(|e| Error::fault(format!("reading media: {e}")))?
        {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn file(row: Thumbnail) -> File {
    let extension = row.content_type.strip_prefix("image/").unwrap_or("bin");
    File {
        hash: row.blob,
        size: row.size,
        filename: Some(format!("thumbnail.{extension}")),
        content_type: row.content_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Method,
        testing::{Place, refusal},
    };

    fn wanted(width: u32, height: u32) -> Wanted {
        Wanted::new(width, height, Method::Scale, false).unwrap()
    }

    async fn thumbnail(place: &Place, id: &str, wanted: Wanted) -> Reply<File> {
        place.library.thumbnail("test", id, wanted, std::future::ready(())).await
    }

    #[tokio::test]
    async fn a_thumbnail_is_made_once_for_all_sizes_that_round_to_it() {
        let place = Place::new();
        let id = place.upload(&place.picture(640, 480)).await.unwrap();
        let first = thumbnail(&place, &id, wanted(300, 200)).await.unwrap();
        assert_eq!(first.content_type, "image/jpeg");
        assert_eq!(first.disposition(), "inline; filename=thumbnail.jpeg");
        let image = image::load_from_memory(&place.bytes(&first).await).unwrap();
        assert_eq!((image.width(), image.height()), (320, 240));
        assert_eq!(thumbnail(&place, &id, wanted(1, 1)).await.unwrap(), first);
        assert_eq!(place.refcount(first.hash), 1);
        assert_eq!(place.files(), 2);
    }

    #[tokio::test]
    async fn a_small_picture_is_its_own_thumbnail_under_its_true_type() {
        let place = Place::new();
        let bytes = place.picture(100, 50);
        let id = place.upload(&bytes).await.unwrap();
        let made = thumbnail(&place, &id, wanted(300, 200)).await.unwrap();
        assert_eq!(made.content_type, "image/png");
        assert_eq!(place.bytes(&made).await, bytes);
        assert_eq!(place.refcount(made.hash), 2);
        assert_eq!(place.files(), 1);
    }

    #[tokio::test]
    async fn there_is_none_of_text_and_none_of_nothing() {
        let place = Place::new();
        let id = place.upload(b"hello").await.unwrap();
        let no = refusal(thumbnail(&place, &id, wanted(9, 9)).await);
        assert_eq!(no, (400, "M_UNKNOWN"));
        let no = refusal(thumbnail(&place, "nothing", wanted(9, 9)).await);
        assert_eq!(no, (404, "M_NOT_FOUND"));
        assert_eq!(place.files(), 1);
    }

    #[tokio::test]
    async fn a_bomb_is_refused_and_leaves_nothing() {
        let place = Place::new();
        let id = place.upload(&crate::testing::png_header(60_000, 60_000, 8)).await.unwrap();
        let no = refusal(thumbnail(&place, &id, wanted(9, 9)).await);
        assert_eq!(no, (413, "M_TOO_LARGE"));
        assert_eq!(place.files(), 1);
    }
}
