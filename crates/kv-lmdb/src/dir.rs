//! The directory of a store: who holds it, whether it was closed in order, and how files get into it.
//!
//! - `data.mdb`: the data file. `lock.mdb`: LMDB's table of readers; worthless when nobody has it open.
//! - `in-use`: locked by the process that has the store open, holds its process id and the machine's boot id.
//! - `store`: written when the store had been created, so that a data file that went missing is noticed.
//!   Its second line is the fingerprint of the data file as of the last orderly close.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use kv::{KvError, KvResult};

use crate::fault;

const DATA: &str = "data.mdb";
const HELD: &str = "in-use";
const CREATED: &str = "store";
/// First line of [`CREATED`].
const CREATED_LINE: &str = "althing embedded store";
/// Where both meta pages lie, at LMDB's largest page size.
const METAS_BYTES: usize = 65_536;

pub(crate) fn data(dir: &Path) -> PathBuf {
    dir.join(DATA)
}

/// Holds the directory against other processes until dropped. The operating system lets go when the
/// process dies, however it dies.
pub(crate) struct Held {
    _file: File,
    /// Whoever held it last did so since the machine was started. Then everything that was written is what will be read,
    /// even if that process was killed: only a machine that goes down loses or tears pages.
    pub(crate) same_boot: bool,
}

/// Names this run of the machine. Empty where the system does not tell.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

impl Held {
    pub(crate) fn take(dir: &Path) -> KvResult<Held> {
        let path = dir.join(HELD);
        let fault = |e: io::Error| fault::file("locking", &path, &e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message.
                let _unreadable = file.read_to_string(&mut holder);
                return Err(KvError::Unavailable(format!(
                    "the store in {} is in use by another process (id {}); only one can have it open",
                    dir.display(),
                    holder.lines().next().unwrap_or_default()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(fault(e)),
        }
        let mut before = String::new();
        // What cannot be read says nothing.
        let _unreadable = file.read_to_string(&mut before);
        let boot = boot_id();
        let same_boot = !boot.is_empty() && before.lines().nth(1) == Some(&*boot);
        file.set_len(0).map_err(fault)?;
        file.rewind().map_err(fault)?;
        writeln!(file, "{}\n{boot}", std::process::id()).map_err(fault)?;
        Ok(Held { _file: file, same_boot })
    }
}

/// Makes the directory, readable for its owner only, if it is not there.
pub(crate) fn make(dir: &Path) -> KvResult<()> {
    let fault = |e: io::Error| fault::file("creating", dir, &e);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fault)
}

/// What is known of a store before its pages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is no data yet.
    New,
    /// There is data.
    Data {
        /// It is known that it had been created whole. A bare data file may be a backup.
        created: bool,
        /// It is as an orderly close left it.
        closed: bool,
        bytes: u64,
    },
}

pub(crate) fn known(dir: &Path) -> KvResult<Known> {
    let mark = match fs::read_to_string(dir.join(CREATED)) {
        Ok(mark) => Some(mark),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(fault::file("reading", &dir.join(CREATED), &e)),
    };
    let bytes = match fs::metadata(data(dir)) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
        Err(e) => return Err(fault::file("reading", &data(dir), &e)),
    };
    match mark {
        Some(_) if bytes == 0 => Err(fault::corrupt(format!(
            "{} had been created but has no data any more",
            data(dir).display()
        ))),
        None if bytes == 0 || never_written(dir, bytes)? => Ok(Known::New),
        mark => {
            let closed = mark.as_deref().and_then(|m| m.lines().nth(1)) == Some(&*print(dir)?);
            Ok(Known::Data { created: mark.is_some(), closed, bytes })
        }
    }
}

/// Did the power fail between LMDB's making the file and the first commit?
fn never_written(dir: &Path, bytes: u64) -> KvResult<bool> {
    if bytes > METAS_BYTES as u64 {
        return Ok(false);
    }
    let path = data(dir);
    let all = fs::read(&path).map_err(|e| fault::file("reading", &path, &e))?;
    let empty = all.iter().all(|b| *b == 0);
    if empty {
        fs::remove_file(&path).map_err(|e| fault::file("removing", &path, &e))?;
    }
    Ok(empty)
}

/// Any commit changes a meta page, so no commit leaves this as it is.
fn print(dir: &Path) -> KvResult<String> {
    let path = data(dir);
    let fault = |e: io::Error| fault::file("reading", &path, &e);
    let file = File::open(&path).map_err(fault)?;
    let bytes = file.metadata().map_err(fault)?.len();
    let mut metas = vec![0; METAS_BYTES.min(usize::try_from(bytes).unwrap_or(METAS_BYTES))];
    file.read_exact_at(&mut metas, 0).map_err(fault)?;
    Ok(format!("closed {bytes} {:08x}", crc32fast::hash(&metas)))
}

/// Says that the store has been created and, if `closed`, that nothing will write to it any more.
pub(crate) fn mark(dir: &Path, closed: bool) -> KvResult<()> {
    let second = if closed { print(dir)? } else { "open".into() };
    let path = dir.join(CREATED);
    let fault = |e: io::Error| fault::file("writing", &path, &e);
    let beside = dir.join("store.new");
    let mut file = File::create(&beside).map_err(fault)?;
    writeln!(file, "{CREATED_LINE}\n{second}").map_err(fault)?;
    file.sync_all().map_err(fault)?;
    fs::rename(&beside, &path).map_err(fault)?;
    sync(dir)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync(dir: &Path) -> KvResult<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| fault::file("syncing", dir, &e))
}

/// As [`sync`], for the directory that holds `path`.
pub(crate) fn sync_parent(path: &Path) -> KvResult<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => sync(Path::new(".")),
    }
}

/// Creates a file for a copy; one that is there is not overwritten.
pub(crate) fn create(path: &Path) -> KvResult<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| fault::file("creating", path, &e))
}
