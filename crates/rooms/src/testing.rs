//! A server in memory for tests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use base::{Error, Event, Reply, Room, UnixMs, User};
use protocol::encryption::Requirement;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomOrAliasId, RoomVersionId, UserId,
    api::{IncomingRequestExt as _, client::room::create_room::v3::Request},
    server_name,
};
use serde_json::{Value, json, value::RawValue};
use store::{
    Options, Store, Tx, View,
    event::{self, Stored},
    log::Entry,
    room,
    schema::{ACCOUNTS, Account, PROFILES, Standing},
    user,
};

use crate::{
    Txn, alias, ban, create, invite, join, knock, leave, redact, redact::Wanted, send, state,
};

pub(crate) struct World {
    pub(crate) store: Store,
    txn: AtomicU64,
    clock: Arc<AtomicU64>,
}

pub(crate) type Outcome<T> = Result<T, (u16, &'static str)>;

/// Status and code of a refusal; a fault fails the test.
pub(crate) fn refusal<T>(reply: Reply<T>) -> Outcome<T> {
    reply.map_err(|error| match error {
        Error::Refused(refusal) => (refusal.status, refusal.errcode),
        Error::Fault(fault) => panic!("{fault}"),
    })
}

pub(crate) const FORBIDDEN: (u16, &str) = (403, "M_FORBIDDEN");

impl World {
    pub(crate) fn new() -> World {
        World::requiring(Requirement::default())
    }

    /// A server whose operator requires something of encryption.
    pub(crate) fn requiring(encryption: Requirement) -> World {
        let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
        let mut options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
        let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
        let hand = clock.clone();
        options.now = Arc::new(move || UnixMs(hand.fetch_add(1, Ordering::Relaxed)));
        options.seed = Some(1);
        options.encryption = Arc::new(encryption);
        options.threads = 2;
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        World { store, txn: AtomicU64::new(0), clock }
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn write<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
    ) -> Outcome<T> {
        refusal(self.store.write_here(f)).map(|written| written.value)
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&View) -> Reply<T>) -> Outcome<T> {
        refusal(self.store.read_here(f))
    }

    /// A local account.
    pub(crate) fn user(&self, localpart: &str) -> User {
        self.account(localpart, false)
    }

    /// A guest of this server.
    pub(crate) fn guest(&self, localpart: &str) -> User {
        self.account(localpart, true)
    }

    fn account(&self, localpart: &str, guest: bool) -> User {
        let id = OwnedUserId::try_from(format!("@{localpart}:x.org")).unwrap();
        self.write(move |tx| {
            let user = user::intern(tx, &id)?;
            let account = Account {
                password: None,
                created: tx.now(),
                admin: false,
                guest,
                deactivated: false,
                erased: false,
            };
            tx.put(&ACCOUNTS, (user,), &account);
            let name = json!(id.localpart()).to_string();
            tx.put(&PROFILES, (user, "displayname".to_owned()), &name);
            Ok(user)
        })
        .unwrap()
    }

    pub(crate) fn id(&self, user: User) -> OwnedUserId {
        self.read(|view| user::id(view, user)).unwrap()
    }

    pub(crate) fn create(&self, user: User, request: Value) -> Outcome<OwnedRoomId> {
        let body = request.to_string();
        let request = http::Request::builder()
            .method("POST")
            .uri("/_matrix/client/v3/createRoom")
            .body(body.as_bytes())
            .unwrap();
        let request = Request::try_from_http_request(request, &[]).unwrap();
        self.write(move |tx| create::create(tx, user, &RoomVersionId::V12, &request))
    }

    /// A room that anyone may join.
    pub(crate) fn public(&self, user: User) -> OwnedRoomId {
        self.create(user, json!({ "preset": "public_chat" })).unwrap()
    }

    pub(crate) fn room(&self, id: &RoomId) -> Room {
        self.read(|view| crate::room_of(view, id)).unwrap()
    }

    pub(crate) fn join(&self, user: User, room: &RoomId) -> Outcome<()> {
        let room = <&RoomOrAliasId>::from(room).to_owned();
        self.write(move |tx| join::join(tx, user, false, &room, None)).map(drop)
    }

    pub(crate) fn knock(&self, user: User, room: &RoomId) -> Outcome<()> {
        let room = <&RoomOrAliasId>::from(room).to_owned();
        self.write(move |tx| knock::knock(tx, user, &room, Some("please"))).map(drop)
    }

    pub(crate) fn leave(&self, user: User, room: &RoomId) -> Outcome<()> {
        let room = room.to_owned();
        self.write(move |tx| leave::leave(tx, user, &room, None))
    }

    pub(crate) fn invite(&self, by: User, room: &RoomId, whom: User) -> Outcome<()> {
        let (room, whom) = (room.to_owned(), self.id(whom));
        self.write(move |tx| invite::invite(tx, by, &room, &whom, None))
    }

    pub(crate) fn ban(&self, by: User, room: &RoomId, whom: User) -> Outcome<()> {
        let (room, whom) = (room.to_owned(), self.id(whom));
        self.write(move |tx| ban::ban(tx, by, &room, &whom, None, false))
    }

    /// Sends with a transaction id of its own.
    pub(crate) fn send(
        &self,
        user: User,
        room: &RoomId,
        kind: &str,
        content: Value,
    ) -> Outcome<OwnedEventId> {
        let txn = self.txn.fetch_add(1, Ordering::Relaxed).to_string();
        self.send_txn(user, room, kind, content, ("D", &txn))
    }

    pub(crate) fn send_txn(
        &self,
        user: User,
        room: &RoomId,
        kind: &str,
        content: Value,
        (device, id): (&str, &str),
    ) -> Outcome<OwnedEventId> {
        let (room, kind, content) = (room.to_owned(), kind.to_owned(), raw(&content));
        let (device, id) = (device.to_owned(), id.to_owned());
        self.write(move |tx| {
            let txn = Txn { device: &device, path: "send", id: &id };
            send::send(tx, user, &room, &kind, &content, txn)
        })
    }

    pub(crate) fn say(&self, user: User, room: &RoomId, text: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.send(user, room, "m.room.message", content).unwrap()
    }

    pub(crate) fn redact(
        &self,
        user: User,
        room: &RoomId,
        id: &OwnedEventId,
    ) -> Outcome<OwnedEventId> {
        self.redact_with(user, room, id, &[])
    }

    /// Redacts also what relates to the event in one of these ways.
    pub(crate) fn redact_with(
        &self,
        user: User,
        room: &RoomId,
        id: &OwnedEventId,
        related: &[&str],
    ) -> Outcome<OwnedEventId> {
        let related: Vec<String> = related.iter().map(|kind| (*kind).to_owned()).collect();
        let txn = self.txn.fetch_add(1, Ordering::Relaxed).to_string();
        let (room, id) = (room.to_owned(), id.clone());
        self.write(move |tx| {
            let txn = Txn { device: "D", path: "redact", id: &txn };
            let wanted = Wanted { target: &id, reason: Some("why"), related: &related };
            redact::redact(tx, user, &room, &wanted, false, txn)
        })
    }

    pub(crate) fn set(
        &self,
        user: User,
        room: &RoomId,
        kind: &str,
        state_key: &str,
        content: Value,
    ) -> Outcome<OwnedEventId> {
        let (room, kind, key) = (room.to_owned(), kind.to_owned(), state_key.to_owned());
        let content = raw(&content);
        self.write(move |tx| state::put(tx, user, &room, &kind, &key, &content))
    }

    pub(crate) fn alias(&self, user: User, alias: &str, room: &RoomId) -> Outcome<()> {
        let (room, alias) = (room.to_owned(), ruma::OwnedRoomAliasId::try_from(alias).unwrap());
        self.write(move |tx| alias::put(tx, user, &alias, &room))
    }

    pub(crate) fn standing(&self, user: User, room: &RoomId) -> Option<Standing> {
        let room = self.room(room);
        let member = self.read(|view| room::member(view, room, user)).unwrap();
        let mine = self.read(|view| room::membership(view, user, room)).unwrap();
        assert_eq!(member.map(|m| m.standing), mine.map(|m| m.standing), "both sides agree");
        member.map(|member| member.standing)
    }

    pub(crate) fn event(&self, id: &OwnedEventId) -> Arc<Stored> {
        self.read(|view| event::load_id(view, id)).unwrap().unwrap()
    }

    pub(crate) fn number(&self, id: &OwnedEventId) -> Event {
        self.event(id).event
    }

    /// The content of a piece of the current state.
    pub(crate) fn content(&self, room: &RoomId, kind: &str, state_key: &str) -> Option<Value> {
        let room = self.room(room);
        let event = self
            .read(|view| {
                let head = room::head(view, room)?;
                room::state(view, head.state, kind, state_key)
            })
            .unwrap();
        event.map(|event| event.content_as().unwrap())
    }

    /// Everything in the log.
    pub(crate) fn log(&self) -> Vec<Entry> {
        let entries = self.read(|view| view.log(base::Seq::ZERO, base::Seq::MAX, 10_000)).unwrap();
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The events of a room's timeline.
    pub(crate) fn timeline(&self, room: &RoomId) -> Vec<Arc<Stored>> {
        let room = self.room(room);
        let of_room = |entry: Entry| match entry {
            Entry::Event { room: r, event, .. } if r == room => Some(event),
            _ => None,
        };
        let events = self.log().into_iter().filter_map(of_room);
        events.map(|e| self.read(|view| event::load(view, e)).unwrap()).collect()
    }
}

pub(crate) fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

pub(crate) fn user_id(id: &str) -> OwnedUserId {
    <&UserId>::try_from(id).unwrap().to_owned()
}
