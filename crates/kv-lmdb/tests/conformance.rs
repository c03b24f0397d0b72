//! The contract's suite, with LMDB on a real file system.
#![expect(clippy::unwrap_used, reason = "tests")]

use kv::{
    Engine,
    conformance::{Subject, run},
};
use kv_lmdb::{Durability, Lmdb, Options};
use tempfile::TempDir;

struct OnDisk {
    dir: TempDir,
    options: Options,
    open: Option<Lmdb>,
}

impl OnDisk {
    fn make(durability: Durability) -> Box<dyn Subject> {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { durability, ..Options::default() };
        let open = Some(Lmdb::open(&dir.path().join("store"), options).unwrap());
        Box::new(OnDisk { dir, options, open })
    }
}

impl Subject for OnDisk {
    fn engine(&self) -> &dyn Engine {
        self.open.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.open = None;
        self.open = Some(Lmdb::open(&self.dir.path().join("store"), self.options).unwrap());
    }

    fn restored(&self) -> Option<Box<dyn Engine>> {
        let to = self.dir.path().join("backup");
        self.engine().backup(&to).unwrap();
        assert!(self.engine().backup(&to).is_err(), "what is there is not overwritten");
        Some(Box::new(Lmdb::open(&to, self.options).unwrap()))
    }
}

#[test]
fn lmdb_keeps_the_contract() {
    run(&mut || OnDisk::make(Durability::Sync));
}

#[test]
fn relaxed_lmdb_keeps_the_contract() {
    run(&mut || OnDisk::make(Durability::Relaxed));
}
