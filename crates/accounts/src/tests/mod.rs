//! What this crate promises, over the in-memory engine with a clock that the tests move.

mod accounts;
mod data;
mod interactive;
mod registrations;
mod sessions;
mod threepids;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use base::{Error, Refusal, Reply, Seq, UnixMs, User};
use ruma::{OwnedServerName, OwnedUserId};
use store::{Options, Store, Tx, View, log::Entry};

use crate::{
    account::{self, New},
    device::{self, LoggedIn, Login},
    session::{self, Session},
};

/// A server with nobody on it.
struct House {
    store: Store,
    clock: Arc<AtomicU64>,
}

impl House {
    fn new() -> House {
        let name = OwnedServerName::try_from("example.org").unwrap();
        let key = Arc::new(protocol::SigningKey::generate([1; 32], "a").unwrap());
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let hand = clock.clone();
        let mut options = Options::new(name, key);
        options.now = Arc::new(move || UnixMs(hand.load(Ordering::Relaxed)));
        options.seed = Some(7);
        options.threads = 1;
        House { store: Store::open(Arc::new(kv::Memory::default()), options).unwrap(), clock }
    }

    fn wait(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    fn read<T>(&self, f: impl FnOnce(&View) -> Reply<T>) -> Reply<T> {
        self.store.read_here(f)
    }

    fn write<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        self.store.write_here(f).map(|written| written.value)
    }

    fn register(&self, name: &str) -> (User, OwnedUserId) {
        let new = New {
            name: Some(name.to_owned()),
            password: Some(format!("phc of {name}")),
            admin: false,
            guest: false,
            display_name: None,
        };
        self.write(move |tx| account::register(tx, &new)).unwrap()
    }

    fn log_in(&self, user: User, device: Option<&str>, refreshable: bool) -> LoggedIn {
        let device = device.map(str::to_owned);
        let login = Login { device, display_name: None, refreshable };
        self.write(move |tx| device::log_in(tx, user, &login)).unwrap()
    }

    fn prove(&self, token: &str) -> Reply<Session> {
        self.read(|view| session::prove(view, token))
    }

    /// Proves a token and does what the rim does then.
    fn use_token(&self, token: &str) -> Reply<Session> {
        let session = self.prove(token)?;
        if session.confirm {
            self.write(move |tx| session::confirm(tx, session.token))?;
        }
        Ok(session)
    }

    /// Everything announced so far.
    fn log(&self) -> Vec<Entry> {
        let all = self.read(|view| view.log(Seq::ZERO, Seq::MAX, 10_000)).unwrap();
        all.into_iter().map(|(_, entry)| entry).collect()
    }
}

fn refusal<T: std::fmt::Debug>(reply: Reply<T>) -> Refusal {
    match reply {
        Err(Error::Refused(refusal)) => *refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn code<T: std::fmt::Debug>(reply: Reply<T>) -> &'static str {
    refusal(reply).errcode
}
