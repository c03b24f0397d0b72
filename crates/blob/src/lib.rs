//! Blobs: bytes that are named by their BLAKE3 hash.
//!
//! What must hold: a blob that was acknowledged survives a power cut; a half-written one has no name; bytes never
//! change under their name, so a reader needs no lock, and the same bytes are stored once. No blob is ever whole in
//! memory. Who points to a blob, and whether anybody still does, is told by the store, not here.
//!
//! On disk: `ab/abcd…` (the hash in hex) for blobs, `tmp/…` for what is being written.
#![forbid(unsafe_code)]

mod read;
mod write;

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use base::{Error, Reply};
use object_store::{ObjectStore, ObjectStoreExt as _, local::LocalFileSystem, path};

pub use read::Chunks;

/// A BLAKE3 hash: the name of a blob.
pub type Hash = [u8; 32];

/// What is written or read at once. Large enough that the kernel's and the pool's share of the work is small, small
/// enough that a thousand slow clients stay cheap.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Where blobs are written until they have their name.
const TMP: &str = "tmp";

/// A written blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub hash: Hash,
    /// Bytes.
    pub size: u64,
}

/// The blobs in a place. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
}

impl Blobs {
    /// Blobs in a folder, which is made if it is not there. It belongs to this process: what another left half-written
    /// is removed.
    ///
    /// # Errors
    /// A fault if the folder cannot be made or read.
    pub fn open(dir: &Path) -> Reply<Blobs> {
        prepare(dir).map_err(|e| Error::fault(format!("{}: {e}", dir.display())))?;
        let objects = LocalFileSystem::new_with_prefix(dir).map_err(|e| trouble(&e))?;
        Ok(Blobs { objects: Arc::new(objects.with_fsync(true)) })
    }

    /// Removes a blob; one that is not there is no error. Only for what nothing in the store points to any more.
    ///
    /// # Errors
    /// Faults only.
    pub async fn delete(&self, hash: &Hash) -> Reply<()> {
        match self.objects.delete(&place(hash)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(trouble(&error)),
        }
    }
}

fn prepare(dir: &Path) -> std::io::Result<()> {
    if !dir.exists() {
        fs::create_dir_all(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    let tmp = dir.join(TMP);
    if tmp.exists() {
        fs::remove_dir_all(&tmp)?;
    }
    fs::create_dir(&tmp)
}

/// 256 folders, so that none of them grows long.
fn place(hash: &Hash) -> path::Path {
    let hex = blake3::Hash::from_bytes(*hash).to_hex();
    let folder = hex.get(..2).unwrap_or_default();
    path::Path::from_iter([folder, hex.as_str()])
}

fn trouble(error: &object_store::Error) -> Error {
    Error::fault(format!("blobs: {error}"))
}
