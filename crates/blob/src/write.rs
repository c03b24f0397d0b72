//! Writing: hashed as it comes, named when all of it is on the disk.

use std::pin::pin;

use base::{Error, Reply};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use object_store::{MultipartUpload, ObjectStoreExt as _, path};

use crate::{Blobs, CHUNK_BYTES, TMP, Written, place, trouble};

impl Blobs {
    /// Writes what comes. When this returns, the blob survives a power cut. If the chunks fail or this is given up,
    /// nothing is left of them.
    ///
    /// # Errors
    /// 413 `M_TOO_LARGE` as soon as there are more than `bytes_max` bytes; what the chunks fail with.
    pub async fn write(
        &self,
        chunks: impl Stream<Item = Reply<Bytes>> + Send,
        bytes_max: u64,
    ) -> Reply<Written> {
        let mut draft = Draft {
            blobs: self.clone(),
            path: path::Path::from_iter([TMP, &format!("{:032x}", rand::random::<u128>())]),
            upload: None,
            pending: BytesMut::new(),
        };
        match draft.gather(chunks, bytes_max).await {
            Ok(written) => {
                // A task of its own: whoever waits may be gone by now, and a named or a removed file is better than
                // one in between.
                let naming = tokio::spawn(draft.finish(written));
                naming.await.map_err(|e| Error::fault(format!("blobs: {e}")))??;
                Ok(written)
            }
            Err(error) => {
                draft.discard().await;
                Err(error)
            }
        }
    }
}

/// A blob without a name yet.
struct Draft {
    blobs: Blobs,
    path: path::Path,
    /// There is none as long as everything fits in one chunk. It removes its file if it is dropped.
    upload: Option<Box<dyn MultipartUpload>>,
    pending: BytesMut,
}

impl Draft {
    async fn gather(
        &mut self,
        chunks: impl Stream<Item = Reply<Bytes>> + Send,
        bytes_max: u64,
    ) -> Reply<Written> {
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        let mut chunks = pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size = size.saturating_add(chunk.len() as u64);
            if size > bytes_max {
                return Err(Error::too_large(format!("the file is larger than {bytes_max} bytes")));
            }
            hasher.update(&chunk);
            self.add(chunk).await?;
        }
        Ok(Written { hash: *hasher.finalize().as_bytes(), size })
    }

    /// Small chunks are gathered, so that a client which sends single bytes costs no more than its bytes.
    async fn add(&mut self, chunk: Bytes) -> Reply<()> {
        if self.pending.is_empty() && chunk.len() >= CHUNK_BYTES {
            return self.put(chunk).await;
        }
        self.pending.extend_from_slice(&chunk);
        if self.pending.len() >= CHUNK_BYTES {
            let part = self.pending.split().freeze();
            self.put(part).await?;
            self.pending.reserve(CHUNK_BYTES);
        }
        Ok(())
    }

    async fn put(&mut self, part: Bytes) -> Reply<()> {
        if self.upload.is_none() {
            let upload = self.blobs.objects.put_multipart(&self.path).await;
            self.upload = Some(upload.map_err(|e| trouble(&e))?);
        }
        match &mut self.upload {
            Some(upload) => upload.put_part(part.into()).await.map_err(|e| trouble(&e)),
            None => Ok(()),
        }
    }

    /// On the disk first, then named: the name is the promise. Another blob of that name has the same bytes, and is
    /// replaced without anybody noticing.
    async fn finish(mut self, written: Written) -> Reply<()> {
        let outcome = self.settle(written).await;
        if outcome.is_err() {
            self.discard().await;
            let _not_there = self.blobs.objects.delete(&self.path).await;
        }
        outcome
    }

    async fn settle(&mut self, written: Written) -> Reply<()> {
        let rest = self.pending.split().freeze();
        let objects = self.blobs.objects.clone();
        if self.upload.is_none() {
            objects.put(&self.path, rest.into()).await.map_err(|e| trouble(&e))?;
        } else if !rest.is_empty() {
            self.put(rest).await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await.map_err(|e| trouble(&e))?;
        }
        objects.rename(&self.path, &place(&written.hash)).await.map_err(|e| trouble(&e))
    }

    async fn discard(&mut self) {
        if let Some(mut upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "a half-written blob stays until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
        }
        all
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn chunks(parts: Vec<Vec<u8>>) -> impl Stream<Item = Reply<Bytes>> + Send {
        stream::iter(parts.into_iter().map(|part| Ok(part.into())))
    }

    fn status(reply: Reply<Written>) -> u16 {
        match reply {
            Err(Error::Refused(refusal)) => refusal.status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_blob_lies_under_its_hash_and_the_same_bytes_lie_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        for size in [0, 5, CHUNK_BYTES, 3 * CHUNK_BYTES + 7] {
            let bytes = vec![7; size];
            let hash = *blake3::hash(&bytes).as_bytes();
            for parts in [vec![bytes.clone()], bytes.chunks(10_007).map(<[u8]>::to_vec).collect()] {
                let written = run(blobs.write(chunks(parts), u64::MAX)).unwrap();
                assert_eq!(written, Written { hash, size: size as u64 });
            }
            let hex = blake3::Hash::from_bytes(hash).to_hex();
            assert_eq!(fs::read(dir.path().join(&hex[..2]).join(&*hex)).unwrap(), bytes);
        }
        assert_eq!(files(dir.path()).len(), 4);
    }

    #[test]
    fn a_file_over_the_limit_is_refused_at_once_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let max = 2 * CHUNK_BYTES as u64;
        let endless = || stream::repeat_with(|| Ok(Bytes::from(vec![1; 100_000])));
        assert_eq!(status(run(blobs.write(endless(), max))), 413);
        assert_eq!(status(run(blobs.write(endless(), 3))), 413);
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
        let exact = vec![vec![1; CHUNK_BYTES], vec![1; CHUNK_BYTES]];
        assert_eq!(run(blobs.write(chunks(exact), max)).unwrap().size, max);
    }

    #[test]
    fn a_body_that_breaks_off_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let whole = chunks(vec![vec![1; 2 * CHUNK_BYTES], vec![2; 10]]);
        let gone = stream::once(async { Err(Error::refused(400, "M_UNKNOWN", "gone")) });
        assert_eq!(status(run(blobs.write(whole.chain(gone), u64::MAX))), 400);
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_upload_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        run(async {
            let begun = chunks(vec![vec![1; 2 * CHUNK_BYTES]]).chain(stream::pending());
            let mut write = Box::pin(blobs.write(begun, u64::MAX));
            while files(dir.path()).is_empty() {
                let waiting = futures_util::poll!(&mut write);
                assert!(waiting.is_pending());
                tokio::task::yield_now().await;
            }
            drop(write);
        });
        // The runtime has ended, and with it what it had to do.
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_a_crash_left_half_written_is_gone_after_the_next_start_and_blobs_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        run(blobs.write(chunks(vec![vec![1, 2, 3]]), 3)).unwrap();
        fs::write(dir.path().join("tmp/0123#1"), "half").unwrap();
        fs::write(dir.path().join("tmp/0123"), "half").unwrap();
        Blobs::open(dir.path()).unwrap();
        let left = files(dir.path());
        assert_eq!(left.len(), 1);
        assert_eq!(fs::read(&left[0]).unwrap(), [1, 2, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn how_bytes_are_cut_makes_no_difference(cuts in prop::collection::vec(0..300_000_usize, 1..6)) {
            let dir = tempfile::tempdir().unwrap();
            let blobs = Blobs::open(dir.path()).unwrap();
            let parts: Vec<Vec<u8>> =
                cuts.iter().enumerate().map(|(n, len)| vec![n as u8; *len]).collect();
            let whole = parts.concat();
            let written = run(blobs.write(chunks(parts), u64::MAX)).unwrap();
            prop_assert_eq!(written.hash, *blake3::hash(&whole).as_bytes());
            prop_assert_eq!(fs::read(&files(dir.path())[0]).unwrap(), whole);
        }
    }
}
