//! A library in a temporary folder, for the tests of this crate.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{Error, Reply, UnixMs, User};
use blob::{Blobs, Hash};
use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use image::{ImageFormat, RgbImage};
use store::{Options, Store, schema::BLOBS};

use crate::{About, File, Library};

pub(crate) const ALICE: User = User(1);
pub(crate) const BOB: User = User(2);

pub(crate) struct Place {
    pub(crate) library: Library,
    pub(crate) store: Store,
    /// The store's clock.
    pub(crate) now: Arc<AtomicU64>,
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000));
        let clock = now.clone();
        let key = Arc::new(protocol::SigningKey::generate([7; 32], "a").unwrap());
        let options = Options {
            threads: 2,
            now: Arc::new(move || UnixMs(clock.load(Ordering::Relaxed))),
            seed: Some(1),
            ..Options::new("test".try_into().unwrap(), key)
        };
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        let library = Library::new(store.clone(), Blobs::open(dir.path()).unwrap());
        Place { library, store, now, dir }
    }

    pub(crate) async fn upload(&self, bytes: &[u8]) -> Reply<String> {
        self.library.upload(ALICE, About::default(), chunks(bytes), u64::MAX).await
    }

    pub(crate) fn refcount(&self, hash: Hash) -> u64 {
        self.store.read_here(|view| view.get(&BLOBS, (hash,))).unwrap().unwrap_or(0)
    }

    /// Files on the disk, named or not.
    pub(crate) fn files(&self) -> usize {
        count(self.dir.path())
    }

    pub(crate) async fn bytes(&self, file: &File) -> Vec<u8> {
        let chunks = self.library.read(file, 0..file.size).await.unwrap();
        chunks.try_collect::<Vec<_>>().await.unwrap().concat()
    }

    /// A PNG of that size.
    pub(crate) fn picture(&self, width: u32, height: u32) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        RgbImage::new(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }
}

fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

pub(crate) fn chunks(
    bytes: &[u8],
) -> impl futures_util::Stream<Item = Reply<Bytes>> + Send + use<> {
    stream::iter([Ok(Bytes::copy_from_slice(bytes))])
}

pub(crate) fn refusal<T: std::fmt::Debug>(reply: Reply<T>) -> (u16, &'static str) {
    match reply {
        Err(Error::Refused(refusal)) => (refusal.status, refusal.errcode),
        other => panic!("{other:?}"),
    }
}

/// A PNG that says how large it is, and with how many bits for each of four channels, and has nothing in it.
pub(crate) fn png_header(width: u32, height: u32, depth: u8) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, 6, 0, 0, 0]].concat();
    for (name, data) in [(b"IHDR", &header[..]), (b"IDAT", b"x"), (b"IEND", b"")] {
        png.extend((data.len() as u32).to_be_bytes());
        let chunk = [name, data].concat();
        png.extend(&chunk);
        png.extend(crc(&chunk).to_be_bytes());
    }
    png
}

/// CRC-32, as PNG has it.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    };
    !bytes.iter().fold(u32::MAX, step)
}
