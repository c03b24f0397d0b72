//! From bytes to `mxc://`.

use base::{Reply, User};
use bytes::Bytes;
use futures_util::Stream;

use crate::{About, Library, rows};

impl Library {
    /// Takes an upload; gives the media id. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// 413 `M_TOO_LARGE` as soon as there are more than `bytes_max` bytes; what the chunks fail with.
    pub async fn upload(
        &self,
        user: User,
        about: About,
        chunks: impl Stream<Item = Reply<Bytes>> + Send,
        bytes_max: u64,
    ) -> Reply<String> {
        let written = self.blobs.write(chunks, bytes_max).await?;
        let added = self.store.write(None, move |tx| rows::add(tx, user, &about, written)).await?;
        Ok(added.value)
    }

    /// Takes the upload of media that this user reserved ([`crate::reserve`]).
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for an id that was not reserved or whose time is over, 403 `M_FORBIDDEN` if it was by
    /// someone else, 409 `M_CANNOT_OVERWRITE_MEDIA` if it is uploaded; and as [`Library::upload`].
    pub async fn fill(
        &self,
        user: User,
        (origin, media_id): (&str, &str),
        about: About,
        chunks: impl Stream<Item = Reply<Bytes>> + Send,
        bytes_max: u64,
    ) -> Reply<()> {
        let at = (origin.to_owned(), media_id.to_owned());
        // Before anything is read: most who may not are told so without having sent it all.
        let asked = at.clone();
        self.store.read(move |view| rows::may_fill(view, user, &asked.0, &asked.1)).await?;
        let written = self.blobs.write(chunks, bytes_max).await?;
        self.store.write(None, move |tx| rows::fill(tx, user, &at, &about, written)).await?;
        self.arrived.send_replace(());
        Ok(())
    }

    /// Keeps media of another server under the id that it has there.
    ///
    /// # Errors
    /// 413 `M_TOO_LARGE` as soon as there are more than `bytes_max` bytes; what the chunks fail with.
    pub async fn keep(
        &self,
        origin: &str,
        media_id: &str,
        about: About,
        chunks: impl Stream<Item = Reply<Bytes>> + Send,
        bytes_max: u64,
    ) -> Reply<()> {
        let at = (origin.to_owned(), media_id.to_owned());
        let written = self.blobs.write(chunks, bytes_max).await?;
        self.store.write(None, move |tx| rows::keep(tx, &at, &about, written)).await?;
        Ok(())
    }

    /// Is this media here, or at least its id?
    ///
    /// # Errors
    /// Faults.
    pub async fn holds(&self, origin: &str, media_id: &str) -> Reply<bool> {
        let (origin, media_id) = (origin.to_owned(), media_id.to_owned());
        let found = self.store.read(move |view| rows::find(view, &origin, &media_id));
        Ok(found.await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::atomic::Ordering};

    use base::Error;
    use futures_util::{FutureExt as _, StreamExt as _, stream};

    use super::*;
    use crate::{
        File, PENDING_MAX, RESERVED_MS, Reserved, reserve,
        testing::{ALICE, BOB, Place, chunks, refusal},
    };

    async fn reserved(place: &Place) -> Reply<Reserved> {
        Ok(place.store.write(None, |tx| reserve(tx, ALICE)).await?.value)
    }

    async fn fill(place: &Place, user: User, id: &str, bytes: &[u8]) -> Reply<()> {
        let about = About::new(Some("text/plain"), Some("a.txt")).unwrap();
        place.library.fill(user, ("test", id), about, chunks(bytes), 100).await
    }

    async fn find(place: &Place, id: &str) -> Reply<File> {
        place.library.find("test", id, ready(())).await
    }

    #[tokio::test]
    async fn what_was_uploaded_is_served_as_it_was() {
        let place = Place::new();
        let about = About::new(Some("image/png"), Some("☕.png")).unwrap();
        let uploaded = place.library.upload(ALICE, about, chunks(b"bytes"), 5).await;
        let id = uploaded.unwrap();
        assert!(id.len() >= 24);
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        let file = find(&place, &id).await.unwrap();
        assert_eq!((file.size, file.content_type.as_str()), (5, "image/png"));
        assert_eq!(file.filename.as_deref(), Some("☕.png"));
        assert_eq!(place.bytes(&file).await, b"bytes");
        let plain = place.upload(b"").await.unwrap();
        let file = find(&place, &plain).await.unwrap();
        assert_eq!(
            (file.content_type.as_str(), file.filename.as_ref()),
            ("application/octet-stream", None)
        );
        assert_eq!(place.bytes(&file).await, b"");
    }

    #[tokio::test]
    async fn the_same_bytes_are_kept_once_and_counted_twice() {
        let place = Place::new();
        let (one, other) =
            (place.upload(b"same").await.unwrap(), place.upload(b"same").await.unwrap());
        assert_ne!(one, other);
        let file = find(&place, &one).await.unwrap();
        assert_eq!(find(&place, &other).await.unwrap(), file);
        assert_eq!(place.refcount(file.hash), 2);
        assert_eq!(place.files(), 1);
    }

    #[tokio::test]
    async fn an_upload_over_the_limit_or_broken_off_leaves_nothing() {
        let place = Place::new();
        let many = stream::repeat_with(|| Ok(Bytes::from(vec![0; 100_000])));
        let no = place.library.upload(ALICE, About::default(), many, 1_000_000).await;
        assert_eq!(refusal(no), (413, "M_TOO_LARGE"));
        let gone = chunks(b"x").chain(stream::iter([Err(Error::refused(400, "M_UNKNOWN", ""))]));
        let no = place.library.upload(ALICE, About::default(), gone, 1_000_000).await;
        assert_eq!(refusal(no), (400, "M_UNKNOWN"));
        assert_eq!(place.files(), 0);
    }

    #[tokio::test]
    async fn what_is_not_here_is_not_found() {
        let place = Place::new();
        let id = place.upload(b"x").await.unwrap();
        for (origin, id) in [
            ("other", id.as_str()),
            ("test", "nothing"),
            ("test", "../../etc/passwd"),
            ("test", ""),
        ] {
            let no = place.library.find(origin, id, ready(())).await;
            assert_eq!(refusal(no), (404, "M_NOT_FOUND"), "{origin}/{id}");
        }
    }

    #[tokio::test]
    async fn reserved_media_is_uploaded_once_and_by_its_user_only() {
        let place = Place::new();
        let Reserved { media_id: id, expires } = reserved(&place).await.unwrap();
        assert_eq!(expires.0, 1_000_000 + RESERVED_MS);
        assert_eq!(refusal(find(&place, &id).await), (504, "M_NOT_YET_UPLOADED"));
        assert_eq!(refusal(fill(&place, BOB, &id, b"x").await), (403, "M_FORBIDDEN"));
        assert_eq!(refusal(fill(&place, ALICE, "other", b"x").await), (404, "M_NOT_FOUND"));
        assert_eq!(refusal(fill(&place, ALICE, &id, &[0; 101]).await), (413, "M_TOO_LARGE"));
        fill(&place, ALICE, &id, b"x").await.unwrap();
        let file = find(&place, &id).await.unwrap();
        assert_eq!(
            (file.content_type.as_str(), file.filename.as_deref()),
            ("text/plain", Some("a.txt"))
        );
        let no = fill(&place, ALICE, &id, b"y").await;
        assert_eq!(refusal(no), (409, "M_CANNOT_OVERWRITE_MEDIA"));
        assert_eq!(find(&place, &id).await.unwrap(), file);
        let own = place.upload(b"z").await.unwrap();
        assert_eq!(
            refusal(fill(&place, ALICE, &own, b"y").await),
            (409, "M_CANNOT_OVERWRITE_MEDIA")
        );
    }

    #[tokio::test]
    async fn a_download_waits_for_the_upload() {
        let place = Place::new();
        let id = reserved(&place).await.unwrap().media_id;
        let mut waiting = Box::pin(place.library.find("test", &id, std::future::pending()));
        for _ in 0..10 {
            assert!((&mut waiting).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        fill(&place, ALICE, &id, b"late").await.unwrap();
        assert_eq!(waiting.await.unwrap().size, 4);
    }

    #[tokio::test]
    async fn pending_uploads_are_limited_until_they_are_done_or_void() {
        let place = Place::new();
        let mut ids = Vec::new();
        for _ in 0..PENDING_MAX {
            ids.push(reserved(&place).await.unwrap().media_id);
        }
        assert_eq!(refusal(reserved(&place).await), (429, "M_LIMIT_EXCEEDED"));
        fill(&place, ALICE, &ids[0], b"x").await.unwrap();
        reserved(&place).await.unwrap();
        assert_eq!(refusal(reserved(&place).await), (429, "M_LIMIT_EXCEEDED"));
        place.now.fetch_add(RESERVED_MS, Ordering::Relaxed);
        assert_eq!(refusal(find(&place, &ids[1]).await), (404, "M_NOT_FOUND"));
        assert_eq!(refusal(fill(&place, ALICE, &ids[1], b"x").await), (404, "M_NOT_FOUND"));
        for _ in 0..PENDING_MAX {
            reserved(&place).await.unwrap();
        }
        find(&place, &ids[0]).await.unwrap();
    }
}
