//! Reading: chunk by chunk, from anywhere.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
};

use base::Reply;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectStore as _};

use crate::{Blobs, CHUNK_BYTES, Hash, place, trouble};

/// Chunks of a blob. An error means that the rest cannot be read.
pub type Chunks = BoxStream<'static, io::Result<Bytes>>;

impl Blobs {
    /// The bytes of a blob in `range`, which has to lie within it; `None`: there is no such blob. At most one chunk
    /// is in memory, and none is read before it is wanted.
    ///
    /// # Errors
    /// Faults only.
    pub async fn read(&self, hash: &Hash, range: Range<u64>) -> Reply<Option<Chunks>> {
        let part = (!range.is_empty()).then(|| range.clone().into());
        let options = GetOptions { range: part, ..GetOptions::default() };
        match self.objects.get_opts(&place(hash), options).await {
            // The crate's own reader of files reads in small pieces.
            Ok(GetResult { payload: GetResultPayload::File(file, _), .. }) => {
                Ok(Some(of_file(file, range)))
            }
            Ok(found) => Ok(Some(found.into_stream().map(|c| c.map_err(Into::into)).boxed())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(trouble(&error)),
        }
    }
}

/// Where the reading of a file stands.
struct Reader {
    file: File,
    /// Where to go first.
    from: Option<u64>,
    left: u64,
}

fn of_file(file: File, range: Range<u64>) -> Chunks {
    let from = (range.start > 0).then_some(range.start);
    let left = range.end.saturating_sub(range.start);
    stream::try_unfold(Reader { file, from, left }, |mut reader| async move {
        if reader.left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let chunk = reader.next()?;
            Ok(Some((chunk, reader)))
        });
        read.await.map_err(io::Error::other)?
    })
    .boxed()
}

impl Reader {
    fn next(&mut self) -> io::Result<Bytes> {
        if let Some(from) = self.from.take() {
            self.file.seek(SeekFrom::Start(from))?;
        }
        let wanted = self.left.min(CHUNK_BYTES as u64);
        let mut chunk = Vec::with_capacity(usize::try_from(wanted).unwrap_or(CHUNK_BYTES));
        (&mut self.file).take(wanted).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a blob is too short"));
        }
        self.left = self.left.saturating_sub(chunk.len() as u64);
        Ok(chunk.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_util::TryStreamExt as _;

    use super::*;

    async fn all(chunks: Chunks) -> io::Result<Vec<u8>> {
        Ok(chunks.try_collect::<Vec<_>>().await?.concat())
    }

    #[tokio::test]
    async fn any_part_of_a_blob_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let bytes: Vec<u8> = (0..CHUNK_BYTES as u32 + 1_000).map(|n| (n % 251) as u8).collect();
        let whole = stream::once(std::future::ready(Ok(bytes.clone().into())));
        let written = blobs.write(whole, u64::MAX).await.unwrap();
        let end = written.size;
        for range in [0..end, 0..0, 5..6, 100..end, end - 1..end, end..end] {
            let chunks = blobs.read(&written.hash, range.clone()).await.unwrap().unwrap();
            let expected = &bytes[range.start as usize..range.end as usize];
            assert_eq!(all(chunks).await.unwrap(), expected, "{range:?}");
        }
    }

    #[tokio::test]
    async fn a_blob_that_is_not_there_is_none_also_after_it_was_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let bytes = stream::once(std::future::ready(Ok(Bytes::from_static(b"x"))));
        let hash = blobs.write(bytes, 1).await.unwrap().hash;
        assert!(blobs.read(&[0; 32], 0..1).await.unwrap().is_none());
        assert!(blobs.read(&hash, 0..1).await.unwrap().is_some());
        blobs.delete(&hash).await.unwrap();
        assert!(blobs.read(&hash, 0..1).await.unwrap().is_none());
        blobs.delete(&hash).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_lost_its_tail_is_an_error_and_not_a_short_answer() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let bytes = stream::once(std::future::ready(Ok(Bytes::from_static(b"hello"))));
        let hash = blobs.write(bytes, 5).await.unwrap().hash;
        fs::write(dir.path().join(place(&hash).to_string()), "he").unwrap();
        let chunks = blobs.read(&hash, 0..5).await.unwrap().unwrap();
        assert_eq!(all(chunks).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
