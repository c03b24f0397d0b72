use base::{Epoch, Event, Seq};
use egress::Egress;
use ruma::server_name;
use serde_json::{Value, json, value::to_raw_value};
use store::{
    event, inbox,
    log::Entry,
    schema::{DEVICES, Device, RECEIPTS, Standing},
};

use super::*;
use crate::{peers, testing};

struct World {
    store: Store,
    peers: Peers,
    alice: User,
    bob: User,
    room: Room,
}

impl World {
    /// alice of this server and bob of b.org are in a room.
    fn new() -> World {
        let store = testing::store();
        let egress = Egress::new(egress::Options::default()).unwrap();
        let options = peers::Options { enabled: true, ..peers::Options::default() };
        let peers = Peers::new(store.clone(), egress, options);
        let made = store.write_here(move |tx| {
            let alice = user::intern(tx, ruma::user_id!("@alice:x.org"))?;
            let bob = user::intern(tx, ruma::user_id!("@bob:b.org"))?;
            user::intern(tx, ruma::user_id!("@eve:b.org"))?;
            let row = Device { display_name: None, created: UnixMs(1) };
            tx.put(&DEVICES, (alice, "A".to_owned()), &row);
            let room = testing::room(tx, alice)?;
            testing::stands(tx, room, bob, Standing::Join)?;
            Ok((alice, bob, room))
        });
        let (alice, bob, room) = made.unwrap().value;
        World { store, peers, alice, bob, room }
    }

    async fn take(&self, kind: &str, content: Value) {
        let edu = to_raw_value(&json!({ "edu_type": kind, "content": content })).unwrap();
        let odd = to_raw_value(&json!([kind])).unwrap();
        let origin = server_name!("b.org");
        take(&self.store, &self.peers, origin, vec![odd, edu]).await.unwrap();
    }

    fn send(&self, kind: &str, state_key: Option<&str>, content: &Value) -> (Event, OwnedEventId) {
        let (sender, room, kind) = (self.alice, self.room, kind.to_owned());
        let state_key = state_key.map(str::to_owned);
        let content = to_raw_value(content).unwrap();
        let sent = self.store.write_here(move |tx| {
            let (kind, state_key, content) = (kind.clone(), state_key.clone(), content.clone());
            let new = rooms::New { sender, kind, state_key, content, redacts: None };
            let event = rooms::append(tx, room, new)?.event;
            Ok((event, event::load(tx, event)?.id.clone()))
        });
        sent.unwrap().value
    }

    fn id(&self) -> String {
        self.store.read_here(|view| room::id(view, self.room)).unwrap().to_string()
    }

    fn typing(&self) -> Vec<User> {
        self.store
            .read_here(|view| Ok(view.typing(self.room, Epoch(0))))
            .unwrap()
            .unwrap_or_default()
    }

    fn receipt(&self, user: User, thread: &str) -> Option<store::schema::Receipt> {
        let key = (self.room, user, thread.to_owned(), 0);
        self.store.read_here(|view| view.get(&RECEIPTS, key)).unwrap()
    }

    fn head(&self) -> Seq {
        self.store.read_here(|view| Ok(view.head())).unwrap()
    }

    fn receipt_edu(&self, user: &str, event: &OwnedEventId, thread: Option<&str>) -> Value {
        let mut data = json!({ "ts": 5 });
        if let Some(thread) = thread {
            data["thread_id"] = json!(thread);
        }
        json!({ self.id(): { "m.read": { user: { "event_ids": [event], "data": data } } } })
    }
}

#[tokio::test]
async fn a_server_says_who_of_its_users_types_in_a_room_that_they_are_in() {
    let world = World::new();
    let edu = |user: &str, typing: bool| json!({ "room_id": world.id(), "user_id": user, "typing": typing });
    for user in ["@alice:x.org", "@eve:b.org", "@nobody:b.org"] {
        world.take("m.typing", edu(user, true)).await;
    }
    world.take("m.typing", json!({ "room_id": 7 })).await;
    assert!(world.typing().is_empty());
    world.take("m.typing", edu("@bob:b.org", true)).await;
    assert_eq!(world.typing(), [world.bob]);
    world.take("m.typing", edu("@bob:b.org", false)).await;
    assert!(world.typing().is_empty());
}

#[tokio::test]
async fn a_server_that_the_room_keeps_out_says_nothing_in_it() {
    let world = World::new();
    let (_, event) = world.send("m.room.message", None, &json!({ "body": "x" }));
    world.send("m.room.server_acl", Some(""), &json!({ "allow": ["*"], "deny": ["b.org"] }));
    let typing = json!({ "room_id": world.id(), "user_id": "@bob:b.org", "typing": true });
    world.take("m.typing", typing).await;
    world.take("m.receipt", world.receipt_edu("@bob:b.org", &event, None)).await;
    assert!(world.typing().is_empty());
    assert_eq!(world.receipt(world.bob, ""), None);
}

#[tokio::test]
async fn a_server_says_what_its_users_have_read() {
    let world = World::new();
    let (first, id) = world.send("m.room.message", None, &json!({ "body": "x" }));
    let (second, next) = world.send("m.room.message", None, &json!({ "body": "y" }));
    let unknown = OwnedEventId::try_from("$unknown").unwrap();
    world.take("m.receipt", world.receipt_edu("@bob:b.org", &unknown, None)).await;
    world.take("m.receipt", world.receipt_edu("@alice:x.org", &next, None)).await;
    assert_eq!((world.receipt(world.bob, ""), world.receipt(world.alice, "")), (None, None));
    world.take("m.receipt", world.receipt_edu("@bob:b.org", &next, None)).await;
    let found = world.receipt(world.bob, "").unwrap();
    assert_eq!((found.event, found.at), (second, UnixMs(5)));
    // It does not move back, and what is said twice changes nothing.
    let head = world.head();
    world.take("m.receipt", world.receipt_edu("@bob:b.org", &id, None)).await;
    world.take("m.receipt", world.receipt_edu("@bob:b.org", &next, None)).await;
    assert_eq!((world.head(), world.receipt(world.bob, "").unwrap().event), (head, second));
    world.take("m.receipt", world.receipt_edu("@bob:b.org", &id, Some("main"))).await;
    assert_eq!(world.receipt(world.bob, "main").unwrap().event, first);
    world.take("m.receipt", world.receipt_edu("@bob:b.org", &next, Some("$no"))).await;
    assert_eq!(world.receipt(world.bob, "$no"), None);
}

#[tokio::test]
async fn presence_of_a_user_elsewhere_is_shown_while_their_server_says_so() {
    let world = World::new();
    let push = |user: &str| {
        json!({ "push": [
        { "user_id": 7 },
        { "user_id": user, "presence": "online", "status_msg": "hi", "last_active_ago": 10 },
    ] })
    };
    let shown = |user| world.store.read_here(|view| Ok(view.presence(user))).unwrap();
    world.take("m.presence", push("@alice:x.org")).await;
    assert_eq!(shown(world.alice), None);
    world.take("m.presence", push("@bob:b.org")).await;
    let bob = shown(world.bob).unwrap();
    assert_eq!((bob.state, bob.status.as_deref()), (PresenceState::Online, Some("hi")));
    world.store.expire_presence();
    assert_eq!(shown(world.bob).unwrap().state, PresenceState::Online);
}

#[tokio::test]
async fn a_message_for_a_device_is_there_once_when_it_was_taken() {
    let world = World::new();
    let message = json!({
        "sender": "@bob:b.org", "type": "m.x", "message_id": "1",
        "messages": { "@alice:x.org": { "A": { "n": 1 } } },
    });
    world.take("m.direct_to_device", message.clone()).await;
    world.take("m.direct_to_device", message).await;
    let alice = world.alice;
    let waiting = world.store.read_here(|view| inbox::read(view, alice, "A", Seq::ZERO, 9));
    assert_eq!(waiting.unwrap().len(), 1);
}

#[tokio::test]
async fn changed_devices_of_those_who_share_a_room_are_announced() {
    let world = World::new();
    let edu = |user: &str| json!({ "user_id": user, "device_id": "B", "stream_id": 1 });
    let head = world.head();
    for user in ["@alice:x.org", "@eve:b.org", "@nobody:b.org"] {
        world.take("m.device_list_update", edu(user)).await;
    }
    assert_eq!(world.head(), head);
    world.take("m.device_list_update", edu("@bob:b.org")).await;
    world.take("m.signing_key_update", json!({ "user_id": "@bob:b.org" })).await;
    let entries = world.store.read_here(|view| view.log(head, Seq::MAX, 9)).unwrap();
    let entries: Vec<Entry> = entries.into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(entries, [Entry::Devices { user: world.bob }, Entry::Devices { user: world.bob }]);
}

#[tokio::test]
async fn an_update_that_cannot_be_read_is_an_update_all_the_same() {
    let world = World::new();
    let head = world.head();
    let odd = json!({ "user_id": "@bob:b.org", "device_id": 7, "stream_id": "x" });
    world.take("m.device_list_update", odd).await;
    assert!(world.head() > head);
}
