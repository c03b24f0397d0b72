//! A server in memory for tests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use base::{Error, Reply, UnixMs, User};
use ruma::{OwnedUserId, server_name};
use store::{
    Options, Store,
    schema::{ACCOUNTS, Account},
    user,
};

pub(crate) struct World {
    pub(crate) store: Store,
    clock: Arc<AtomicU64>,
}

/// Status and code, if it was refused; a fault fails the test.
pub(crate) fn refusal<T>(reply: Reply<T>) -> Option<(u16, &'static str)> {
    match reply {
        Ok(_) => None,
        Err(Error::Refused(refusal)) => Some((refusal.status, refusal.errcode)),
        Err(Error::Fault(fault)) => panic!("{fault}"),
    }
}

impl World {
    pub(crate) fn new() -> World {
        let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
        let mut options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
        let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
        let now = clock.clone();
        options.now = Arc::new(move || UnixMs(now.fetch_add(1, Ordering::Relaxed)));
        options.seed = Some(1);
        options.threads = 2;
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        World { store, clock }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn user(&self, localpart: &str) -> User {
        self.account(localpart, false, false)
    }

    pub(crate) fn admin(&self, localpart: &str) -> User {
        self.account(localpart, true, false)
    }

    pub(crate) fn guest(&self, localpart: &str) -> User {
        self.account(localpart, false, true)
    }

    fn account(&self, localpart: &str, admin: bool, guest: bool) -> User {
        let id = OwnedUserId::try_from(format!("@{localpart}:x.org")).unwrap();
        let made = self.store.write_here(move |tx| {
            let user = user::intern(tx, &id)?;
            let (created, password) = (tx.now(), None);
            let account =
                Account { password, created, admin, guest, deactivated: false, erased: false };
            tx.put(&ACCOUNTS, (user,), &account);
            Ok(user)
        });
        made.unwrap().value
    }

    pub(crate) fn id(&self, user: User) -> OwnedUserId {
        self.store.read_here(|view| user::id(view, user)).unwrap()
    }
}
