//! Compacted copies: of a serving store for a backup, of a stopped one to shrink it.

use std::{fs, path::Path};

use heed::{CompactionOption, Env, WithoutTls};
use kv::{KvError, KvResult};

use crate::{
    Inner, Lmdb, Options,
    dir::{self, Held, Known},
    fault, inspect,
    pages::{self, Depth},
};

/// Writes a store of its own to `to`, as of now. Commits go on meanwhile, but the pages that they free are
/// not reused until the copy is done.
pub(crate) fn backup(env: &Env<WithoutTls>, to: &Path) -> KvResult<()> {
    if to.exists() {
        return Err(KvError::Unavailable(format!("{} is there already", to.display())));
    }
    dir::make(to)?;
    // Under another name until it is whole: half a copy must not look like a store.
    let beside = to.join("data.partial");
    copy(env, &beside)?;
    let data = dir::data(to);
    fs::rename(&beside, &data).map_err(|e| fault::file("writing", &data, &e))?;
    dir::mark(to, true)?;
    dir::sync_parent(to)
}

fn copy(env: &Env<WithoutTls>, to: &Path) -> KvResult<()> {
    let mut file = dir::create(to)?;
    env.copy_to_file(&mut file, CompactionOption::Enabled)
        .map_err(|e| fault::lmdb("copying the store", e))?;
    file.sync_all().map_err(|e| fault::file("writing", to, &e))
}

/// What compacting has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the data file before.
    pub before_bytes: u64,
    /// Bytes of the data file now.
    pub after_bytes: u64,
}

impl Lmdb {
    /// Rewrites the data file of the stopped store in `dir` without free pages. Needs room for a second
    /// copy. The file is exchanged only when the new one is durable and was found whole.
    ///
    /// # Errors
    /// As [`Lmdb::open`]; the store is then as it was.
    pub fn compact(dir: &Path) -> KvResult<Compacted> {
        let held = Held::take(dir)?;
        let known = dir::known(dir)?;
        let Known::Data { bytes: before_bytes, .. } = known else {
            return Err(KvError::Unavailable(format!("there is no store in {}", dir.display())));
        };
        let options = Options { check_always_bytes_max: u64::MAX, ..Options::default() };
        let before = inspect(dir, known, false, &options)?;
        let inner = Inner::open(dir, held, &options)?;
        inner.consistent_state(before)?;
        let beside = dir.join("data.compacted");
        // Left behind by a run that was interrupted.
        let _not_there = fs::remove_file(&beside);
        copy(&inner.env, &beside)?;
        let after = pages::check(&beside, Depth::Full)?;
        if after.map(|r| r.sums) != before.map(|r| r.sums) {
            return Err(fault::corrupt("the compacted copy is not equal to the store"));
        }
        let data = dir::data(dir);
        // The map of the old file stays valid: it lives on until it is closed below.
        fs::rename(&beside, &data).map_err(|e| fault::file("replacing", &data, &e))?;
        dir::mark(dir, true)?;
        drop(inner);
        let after_bytes = fs::metadata(&data).map_err(|e| fault::file("reading", &data, &e))?.len();
        Ok(Compacted { before_bytes, after_bytes })
    }
}
