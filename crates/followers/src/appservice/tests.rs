use std::sync::Arc;

use base::{Epoch, Event, Reply, Room, Seq, UnixMs, User};
use parking_lot::Mutex;
use protocol::appservice::{self, Registration};
use ruma::{OwnedUserId, RoomOrAliasId, RoomVersionId, api::IncomingRequestExt as _};
use serde_json::{Value, json};
use store::{
    Options, Store, Tx, event, room,
    schema::{ACCOUNTS, Account},
    user,
};

use super::{
    compose::{Composed, body, compose},
    interest::Interest,
    queue::Line,
};

struct World {
    store: Store,
    now: Arc<Mutex<UnixMs>>,
}

impl World {
    fn new() -> World {
        let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
        let name = ruma::server_name!("x.org").to_owned();
        let mut options = Options::new(name, Arc::new(key));
        let now = Arc::new(Mutex::new(UnixMs(1_000)));
        let clock = now.clone();
        (options.threads, options.now) = (2, Arc::new(move || *clock.lock()));
        World { store: Store::open(Arc::new(kv::Memory::default()), options).unwrap(), now }
    }

    fn write<T: Send + 'static>(&self, f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static) -> T {
        // Rooms that are made alike at one moment are one.
        self.now.lock().0 += 1;
        self.store.write_here(f).unwrap().value
    }

    fn user(&self, name: &str) -> User {
        let id = OwnedUserId::try_from(format!("@{name}:x.org")).unwrap();
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

    fn room(&self, user: User) -> Room {
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

    fn id(&self, room: Room) -> ruma::OwnedRoomId {
        self.store.read_here(|view| room::id(view, room)).unwrap()
    }

    fn join(&self, room: Room, user: User) {
        let id = self.id(room);
        self.write(move |tx| {
            rooms::join::join(tx, user, false, <&RoomOrAliasId>::from(&*id), None).map(drop)
        });
    }

    fn leave(&self, room: Room, user: User) {
        let id = self.id(room);
        self.write(move |tx| rooms::leave::leave(tx, user, &id, None));
    }

    fn invite(&self, room: Room, user: User, whom: &str) {
        let (id, whom) = (self.id(room), OwnedUserId::try_from(whom).unwrap());
        self.write(move |tx| rooms::invite::invite(tx, user, &id, &whom, None));
    }

    fn say(&self, room: Room, sender: User, text: &str) -> Event {
        let content = serde_json::value::to_raw_value(&json!({"body": text})).unwrap();
        self.write(move |tx| {
            let (kind, content) = ("m.room.message".to_owned(), content.clone());
            let new = rooms::New { sender, kind, state_key: None, content, redacts: None };
            Ok(rooms::append(tx, room, new)?.event)
        })
    }

    /// Everything that an application service is told after a position, in several goes.
    fn told(&self, service: &Arc<Registration>, mut from: Seq) -> Vec<Event> {
        let mut interest = Interest::new(service.clone());
        let mut all = Vec::new();
        loop {
            let composed = self.compose(service, &mut interest, from);
            all.extend(composed.events);
            if composed.upto == from {
                return all;
            }
            from = composed.upto;
        }
    }

    fn compose(&self, service: &Registration, interest: &mut Interest, from: Seq) -> Composed {
        self.store.read_here(|view| compose(view, interest, service, from, Epoch(0))).unwrap()
    }

    fn head(&self) -> Seq {
        self.store.read_here(|view| Ok(view.head())).unwrap()
    }

    fn bodies(&self, events: &[Event]) -> Vec<String> {
        let body = |event: &Event| {
            let stored = self.store.read_here(|view| event::load(view, *event)).unwrap();
            let content: Value = stored.content_as().unwrap();
            content["body"].as_str().or(content["membership"].as_str()).unwrap_or("").to_owned()
        };
        events.iter().map(body).collect()
    }
}

fn service(namespaces: Value) -> Arc<Registration> {
    let value = json!({
        "id": "irc", "url": "http://127.0.0.1:1", "as_token": "a", "hs_token": "h",
        "sender_localpart": "bot", "namespaces": namespaces,
    });
    Arc::new(appservice::read(&value, ruma::server_name!("x.org")).unwrap())
}

fn irc() -> Arc<Registration> {
    service(json!({"users": [{"exclusive": true, "regex": "@irc_.*"}]}))
}

#[test]
fn a_room_concerns_it_while_one_of_its_users_is_in_it() {
    let world = World::new();
    let (alice, one, two) = (world.user("alice"), world.user("irc_1"), world.user("irc_2"));
    let room = world.room(alice);
    let from = world.head();
    world.say(room, alice, "nobody");
    world.join(room, one);
    world.say(room, alice, "one");
    world.join(room, two);
    world.leave(room, one);
    world.say(room, alice, "two");
    world.leave(room, two);
    world.say(room, alice, "none");
    world.invite(room, alice, "@irc_1:x.org");
    world.say(room, alice, "only invited");
    let told = world.bodies(&world.told(&irc(), from));
    assert_eq!(told, ["join", "one", "join", "leave", "two", "leave", "invite"]);
}

#[test]
fn what_concerns_it_does_not_depend_on_when_it_is_asked() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let ghosts: Vec<User> = (0..3).map(|n| world.user(&format!("irc_{n}"))).collect();
    let rooms = [world.room(alice), world.room(alice)];
    for (n, ghost) in ghosts.iter().enumerate() {
        for room in rooms {
            world.say(room, alice, &format!("before {n}"));
            world.join(room, *ghost);
            world.say(room, alice, &format!("after {n}"));
        }
        world.join(rooms[0], bob);
        world.leave(rooms[n % 2], *ghost);
        world.say(rooms[0], bob, &format!("left {n}"));
    }
    let service = irc();
    let all = world.told(&service, Seq::ZERO);
    assert!(all.len() > 15);
    let order = |event: &Event| world.store.read_here(|view| event::order(view, *event)).unwrap();
    for from in kv::LOG_BEGIN.0..world.head().0 {
        let later: Vec<Event> =
            all.iter().copied().filter(|event| order(event).unwrap().0 > from).collect();
        assert_eq!(world.told(&service, Seq(from)), later, "begun after {from}");
    }
}

#[test]
fn rooms_concern_it_by_id_and_by_alias() {
    let world = World::new();
    let alice = world.user("alice");
    let (named, aliased, other) = (world.room(alice), world.room(alice), world.room(alice));
    let id = world.id(aliased);
    world.write(move |tx| rooms::alias::put(tx, alice, ruma::room_alias_id!("#irc_a:x.org"), &id));
    let from = world.head();
    for (room, text) in [(named, "named"), (aliased, "aliased"), (other, "other")] {
        world.say(room, alice, text);
    }
    let regex = format!("{}$", world.id(named));
    let by_id = service(json!({"rooms": [{"exclusive": false, "regex": regex}]}));
    assert_eq!(world.bodies(&world.told(&by_id, from)), ["named"]);
    let by_alias = service(json!({"aliases": [{"exclusive": false, "regex": "#irc_.*"}]}));
    assert_eq!(world.bodies(&world.told(&by_alias, from)), ["aliased"]);
}

#[test]
fn a_transaction_is_bounded_and_says_the_same_at_any_time() {
    let world = World::new();
    let (alice, ghost) = (world.user("alice"), world.user("irc_1"));
    let room = world.room(alice);
    world.join(room, ghost);
    let from = world.head();
    for n in 0..250 {
        world.say(room, alice, &n.to_string());
    }
    let service = irc();
    let mut interest = Interest::new(service.clone());
    let first = world.compose(&service, &mut interest, from);
    assert_eq!(first.events.len(), 100);
    let text = || world.store.read_here(|view| body(view, &service, &first.events, &[])).unwrap();
    let before = text();
    *world.now.lock() = UnixMs(9_999_999);
    world.leave(room, ghost);
    assert_eq!(text(), before);
    let value: Value = serde_json::from_str(&before).unwrap();
    assert_eq!(value["events"][0]["content"]["body"], "0");
    assert_eq!(value["events"][0]["room_id"], world.id(room).as_str());
}

#[test]
fn an_invited_user_of_its_is_shown_the_room() {
    let world = World::new();
    let alice = world.user("alice");
    world.user("irc_1");
    world.user("bob");
    let room = world.room(alice);
    let from = world.head();
    world.invite(room, alice, "@irc_1:x.org");
    let service = service(json!({"rooms": [{"regex": "!.*"}], "users": [{"regex": "@irc_.*"}]}));
    world.invite(room, alice, "@bob:x.org");
    let events = world.told(&service, from);
    let text = world.store.read_here(|view| body(view, &service, &events, &[])).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let of = |n: usize| value["events"][n]["unsigned"]["invite_room_state"].as_array();
    let name = |state: &Value| (state["type"] == "m.room.name").then(|| state["content"].clone());
    assert_eq!(of(0).unwrap().iter().find_map(name).unwrap(), json!({"name": "Den"}));
    assert!(of(1).is_none(), "people are shown it by /sync");
}

#[tokio::test]
async fn of_two_processes_one_tells_it() {
    let world = World::new();
    let service = irc();
    let line = || Line::new(world.store.clone(), service.clone(), false);
    let (mut one, mut two) = (line(), line());
    let row = one.claim().await.unwrap().unwrap();
    assert!(two.claim().await.unwrap().is_none());
    assert_eq!(two.put(row.upto, row.upto, vec![]).await.unwrap(), None);
    assert_eq!(one.put(row.upto, Seq(7), vec![Event(3)]).await.unwrap(), Some(0));
    // It is gone without a word: whoever comes after it sends the same again.
    *world.now.lock() = UnixMs(1_000_000);
    let taken = two.claim().await.unwrap().unwrap();
    let sending = taken.sending.unwrap();
    assert_eq!((sending.number, sending.upto, sending.events), (0, Seq(7), vec![Event(3)]));
    assert_eq!(one.transaction_id(0), two.transaction_id(0));
    assert_eq!(one.put(row.upto, Seq(8), vec![]).await.unwrap(), None);
    two.acknowledged(Seq(7));
    two.release().await.unwrap();
    let back = one.claim().await.unwrap().unwrap();
    assert_eq!((back.upto, back.sending), (Seq(7), None));
}
