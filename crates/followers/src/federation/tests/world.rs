//! A server with rooms that users of other servers are in, and a wire that goes nowhere.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Event, Reply, Room, UnixMs, User};
use flows::peers::Unanswered;
use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedUserId, RoomVersionId, api::IncomingRequestExt as _};
use serde_json::{Value, json};
use store::{
    Options, Store, Tx, room,
    schema::{ACCOUNTS, Account, CURSORS, DESTINATIONS, Destination},
    user,
};
use tokio::sync::{mpsc, watch};

use super::super::{Doing, Federation, Outcome, Outlet, Transaction, Wire, scribe::CURSOR};

/// The others.
#[derive(Default)]
pub(super) struct Fake {
    tried: Mutex<Vec<(String, Transaction)>>,
    down: Mutex<HashSet<String>>,
    /// What servers answer that do not take what they are sent.
    refusing: Mutex<HashMap<String, Unanswered>>,
    border: AtomicU64,
    /// Servers that do not answer until they are let go.
    held: Mutex<HashMap<String, watch::Sender<bool>>>,
    /// Nobody else could reach these either, until then.
    resting: Mutex<HashMap<String, UnixMs>>,
    count: watch::Sender<usize>,
    heard: tokio::sync::Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    hear: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

impl Wire for Fake {
    fn send<'a>(&'a self, to: &'a str, transaction: Transaction) -> Doing<'a, Outcome> {
        Box::pin(async move {
            self.tried.lock().push((to.to_owned(), transaction));
            let down = self.down.lock().contains(to);
            self.count.send_modify(|n| *n += 1);
            let held = self.held.lock().get(to).map(watch::Sender::subscribe);
            if let Some(mut held) = held {
                held.wait_for(|go| *go).await.unwrap();
            }
            if let Some(why) = self.refusing.lock().get(to) {
                return Err(why.clone());
            }
            if down { Err(Unanswered::Silent("down".to_owned())) } else { Ok(Vec::new()) }
        })
    }

    fn rests_until(&self, to: &str) -> Option<UnixMs> {
        self.resting.lock().get(to).copied()
    }

    fn border_changes(&self) -> u64 {
        self.border.load(Ordering::Relaxed)
    }

    fn heard(&self) -> Doing<'_, String> {
        Box::pin(async {
            match &mut *self.heard.lock().await {
                Some(heard) => heard.recv().await.unwrap(),
                None => std::future::pending().await,
            }
        })
    }
}

impl Fake {
    pub(super) fn new() -> Arc<Fake> {
        let (hear, heard) = mpsc::unbounded_channel();
        let fake = Fake { heard: tokio::sync::Mutex::new(Some(heard)), ..Fake::default() };
        *fake.hear.lock() = Some(hear);
        Arc::new(fake)
    }

    pub(super) fn go_down(&self, server: &str) {
        self.down.lock().insert(server.to_owned());
    }

    /// From now on it answers so; with `None`, it takes what it is sent.
    pub(super) fn refuse(&self, server: &str, why: Option<Unanswered>) {
        let mut refusing = self.refusing.lock();
        match why {
            Some(why) => drop(refusing.insert(server.to_owned(), why)),
            None => drop(refusing.remove(server)),
        }
    }

    /// The operator has decided anew whom this server talks to.
    pub(super) fn change_border(&self) {
        self.border.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rest(&self, server: &str, until: UnixMs) {
        self.resting.lock().insert(server.to_owned(), until);
    }

    /// It is back and says something.
    pub(super) fn come_back(&self, server: &str) {
        self.resting.lock().remove(server);
        self.down.lock().remove(server);
        self.hear.lock().as_ref().unwrap().send(server.to_owned()).unwrap();
    }

    pub(super) fn hold(&self, server: &str) {
        self.held.lock().insert(server.to_owned(), watch::Sender::new(false));
    }

    pub(super) fn let_go(&self, server: &str) {
        self.held.lock().remove(server).unwrap().send_replace(true);
    }

    /// What was sent to a server, every try of it.
    pub(super) fn tried(&self, server: &str) -> Vec<Transaction> {
        let tried = self.tried.lock();
        tried.iter().filter(|(to, _)| to == server).map(|(_, t)| t.clone()).collect()
    }

    /// The transactions that a server was sent, repeated ones once.
    pub(super) fn told(&self, server: &str) -> Vec<Transaction> {
        let mut seen = HashSet::new();
        let mut told = self.tried(server);
        told.retain(|transaction| seen.insert(transaction.id.clone()));
        told
    }

    /// The texts of the messages that a server was sent.
    pub(super) fn texts(&self, server: &str) -> Vec<String> {
        let pdus = self.told(server).into_iter().flat_map(|transaction| transaction.pdus);
        let text = |pdu: Arc<Box<serde_json::value::RawValue>>| {
            let value: Value = serde_json::from_str(pdu.get()).unwrap();
            let content = &value["content"];
            content["body"].as_str().or(content["membership"].as_str()).unwrap_or("").to_owned()
        };
        pdus.map(text).collect()
    }

    /// The EDUs that a server was sent.
    pub(super) fn edus(&self, server: &str) -> Vec<Value> {
        let edus = self.told(server).into_iter().flat_map(|transaction| transaction.edus);
        edus.map(|edu| serde_json::from_str(&edu).unwrap()).collect()
    }

    /// Waits until something is so; it is looked at after every try.
    pub(super) async fn until(&self, so: impl Fn(&Fake) -> bool) {
        let mut count = self.count.subscribe();
        while !so(self) {
            count.changed().await.unwrap();
        }
    }
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) now: Arc<Mutex<UnixMs>>,
    pub(super) wire: Arc<Fake>,
}

impl World {
    pub(super) fn new() -> World {
        let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
        let name = ruma::server_name!("x.org").to_owned();
        let mut options = Options::new(name, Arc::new(key));
        let now = Arc::new(Mutex::new(UnixMs(1_000_000)));
        let clock = now.clone();
        (options.threads, options.now) = (2, Arc::new(move || *clock.lock()));
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        World { store, now, wire: Fake::new() }
    }

    pub(super) async fn start(&self) -> Federation {
        let (store, wire) = (self.store.clone(), self.wire.clone());
        let running = Federation::start(Outlet { store, wire, alone: true });
        self.begun().await;
        running
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
    ) -> T {
        // Rooms that are made alike at one moment are one.
        self.now.lock().0 += 1;
        self.store.write_here(f).unwrap().value
    }

    pub(super) fn user(&self, id: &str) -> User {
        let id = OwnedUserId::try_from(id).unwrap();
        self.write(move |tx| {
            let user = user::intern(tx, &id)?;
            let account = Account {
                password: None,
                created: tx.now(),
                admin: false,
                guest: false,
                deactivated: false,
                erased: false,
            };
            tx.put(&ACCOUNTS, (user,), &account);
            Ok(user)
        })
    }

    pub(super) fn room(&self, user: User) -> Room {
        let request = || {
            let body = json!({"preset": "public_chat", "name": "Den"}).to_string();
            let uri = "/_matrix/client/v3/createRoom";
            let request = http::Request::post(uri).body(body.as_bytes()).unwrap();
            ruma::api::client::room::create_room::v3::Request::try_from_http_request(request, &[])
                .unwrap()
        };
        let request = request();
        self.write(move |tx| {
            let id = rooms::create::create(tx, user, &RoomVersionId::V12, &request)?;
            Ok(room::find(tx, &id)?.unwrap())
        })
    }

    pub(super) fn id(&self, room: Room) -> OwnedRoomId {
        self.store.read_here(|view| room::id(view, room)).unwrap()
    }

    /// A user of another server is in the room from now on, or no longer.
    pub(super) fn comes(&self, room: Room, id: &str, joins: bool) {
        let membership = if joins { "join" } else { "leave" };
        let content = json!({ "membership": membership });
        self.send(room, self.user(id), "m.room.member", Some(id), content);
    }

    pub(super) fn say(&self, room: Room, sender: User, text: &str) -> Event {
        self.send(room, sender, "m.room.message", None, json!({ "body": text }))
    }

    pub(super) fn send(
        &self,
        room: Room,
        sender: User,
        kind: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Event {
        let (kind, state_key) = (kind.to_owned(), state_key.map(str::to_owned));
        let content = serde_json::value::to_raw_value(&content).unwrap();
        self.write(move |tx| {
            let (kind, state_key) = (kind.clone(), state_key.clone());
            let new =
                rooms::New { sender, kind, state_key, content: content.clone(), redacts: None };
            Ok(rooms::append(tx, room, new)?.event)
        })
    }

    pub(super) fn row(&self, server: &str) -> Option<Destination> {
        self.store.read_here(|view| view.get(&DESTINATIONS, (server.to_owned(),))).unwrap()
    }

    /// Waits until it is written down where the log is read from.
    async fn begun(&self) {
        let has = || self.store.read_here(|view| view.has(&CURSORS, (CURSOR.to_owned(),)));
        let mut head = self.store.watch_head();
        while !has().unwrap() {
            // Nothing of this is announced: look again in a moment.
            let _moved = tokio::time::timeout(Duration::from_millis(1), head.changed()).await;
        }
    }
}

/// The names of messages.
pub(super) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
