//! What LMDB and the file system complain about, in the words of the contract.

use std::{io, path::Path};

use heed::MdbError;
use kv::KvError;

/// An error of LMDB while `doing` something.
pub(crate) fn lmdb(doing: &str, error: heed::Error) -> KvError {
    match error {
        heed::Error::Mdb(e) => match e {
            MdbError::MapFull => KvError::Unavailable(format!(
                "{doing}: the data file has grown to the size of its map; raise the map size \
                 and restart"
            )),
            MdbError::ReadersFull => {
                KvError::Unavailable(format!("{doing}: too many snapshots are held at once"))
            }
            MdbError::Panic => KvError::Unavailable(format!(
                "{doing}: an earlier write failed for good (disk error?); restart after looking \
                 into it"
            )),
            MdbError::PageNotFound
            | MdbError::Corrupted
            | MdbError::VersionMismatch
            | MdbError::Invalid
            | MdbError::CursorFull
            | MdbError::PageFull
            | MdbError::Incompatible
            | MdbError::Problem => KvError::Corrupt(format!("{doing}: {e}. {RESTORE}")),
            _ => KvError::Unavailable(format!("{doing}: {e}")),
        },
        heed::Error::EnvAlreadyOpened => {
            KvError::Unavailable(format!("{doing}: the store is open in this process already"))
        }
        other => KvError::Unavailable(format!("{doing}: {other}")),
    }
}

/// An error of the file system at `path`.
pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> KvError {
    KvError::Unavailable(format!("{doing} {}: {error}", path.display()))
}

/// What to do about a damaged store: an older state inside the same file is never taken instead,
/// because it would silently lose what had been acknowledged.
pub(crate) const RESTORE: &str = "The store is damaged: restore a backup";

pub(crate) fn corrupt(what: impl std::fmt::Display) -> KvError {
    KvError::Corrupt(format!("{what}. {RESTORE}"))
}
