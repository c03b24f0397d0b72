//! Media (spec: Client-Server API, "Content repository"): uploads, downloads, thumbnails.
//!
//! Rows in the store say what there is, blobs hold the bytes. The bytes come first: a row never names a blob that is not
//! safely written. A blob that nothing came to name (the client went away at the wrong moment) is garbage, not damage.
#![forbid(unsafe_code)]

mod about;
mod download;
mod picture;
mod pool;
mod rows;
mod size;
mod thumbnail;
mod upload;

#[cfg(test)]
mod testing;

use std::{path::Path, sync::Arc};

use base::Reply;
use blob::Blobs;
use store::Store;
use tokio::sync::watch;

pub use about::{About, disposition};
pub use blob::Chunks;
pub use download::File;
pub use rows::{PENDING_MAX, RESERVED_MS, Reserved, is_media_id, reserve};
pub use size::{Method, Wanted};

/// All media of this server. Cheap to clone.
#[derive(Clone)]
pub struct Library {
    store: Store,
    blobs: Blobs,
    pool: pool::Pool,
    /// Moves when something arrives that was only reserved before.
    arrived: Arc<watch::Sender<()>>,
}

impl Library {
    /// Media whose rows are in `store` and whose bytes are in `blobs`.
    #[must_use]
    pub fn new(store: Store, blobs: Blobs) -> Library {
        let (arrived, _) = watch::channel(());
        Library { store, blobs, pool: pool::Pool::default(), arrived: Arc::new(arrived) }
    }

    /// The same, with the bytes in a folder that belongs to this process: see [`Blobs::open`].
    ///
    /// # Errors
    /// A fault if the folder cannot be made or read.
    pub fn open(store: Store, dir: &Path) -> Reply<Library> {
        Ok(Library::new(store, Blobs::open(dir)?))
    }
}
