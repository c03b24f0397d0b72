//! Another server is given the events that one of its users could have seen, and of everything else the redacted form (spec:
//! Server-Server API, "Backfilling and retrieving missing events"; Client-Server API, "Room history visibility").
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

use base::{Error, Reply, Room};
use protocol::{Draft, SigningKey, pdu::parse};
use rooms::{
    Txn,
    handshake::{self, join, leave},
};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId, ServerName, UserId, server_name, user_id};
use serde_json::{Value, json, value::to_raw_value};
use sync::{
    ancestors::{self, Gap},
    server_gate::ServerGate,
};
use testkit::World;

/// Who made the public room.
const OWNER: usize = 0;
const ROOM: usize = 0;

fn there() -> &'static ServerName {
    server_name!("there.test")
}

struct Scene {
    world: World,
    txn: u64,
}

impl Scene {
    fn new() -> Scene {
        Scene { world: World::new(3), txn: 0 }
    }

    fn room(&self) -> (Room, OwnedRoomId) {
        self.world.rooms[ROOM].clone()
    }

    fn say(&mut self, text: &str) -> OwnedEventId {
        let (user, (_, id)) = (self.world.users[OWNER].0, self.room());
        self.txn += 1;
        let (txn, content) = (self.txn.to_string(), to_raw_value(&json!({"body": text})).unwrap());
        let sent = self.world.store.write_here(move |tx| {
            let txn = Txn { device: "D", path: "send", id: &txn };
            rooms::send::send(tx, user, &id, "m.room.message", &content, txn)
        });
        sent.unwrap().value
    }

    fn history(&self, value: &'static str) {
        self.set("m.room.history_visibility", json!({"history_visibility": value}));
    }

    fn set(&self, kind: &'static str, content: Value) -> OwnedEventId {
        let (user, (_, id)) = (self.world.users[OWNER].0, self.room());
        let set = self.world.store.write_here(move |tx| {
            rooms::state::put(tx, user, &id, kind, "", &to_raw_value(&content).unwrap())
        });
        set.unwrap().value
    }

    /// A user of the other server joins, or leaves.
    fn passes(&self, user: &'static UserId, joins: bool) {
        let (room, _) = self.room();
        let passes = self.world.store.write_here(move |tx| {
            let known = [RoomVersionId::V11];
            let template = match joins {
                true => join::propose(tx, room, user, there(), &known)?,
                false => leave::propose(tx, room, user, there())?,
            };
            let pdu = complete(&template);
            match joins {
                true => join::accept(tx, room, &pdu).map(drop),
                false => leave::accept(tx, room, &pdu).map(drop),
            }
        });
        passes.unwrap();
    }

    fn asks<T>(&self, f: impl FnOnce(&store::View, &ServerGate<'_>) -> Reply<T>) -> T {
        let (room, _) = self.room();
        let read =
            self.world.store.read_here(|view| f(view, &ServerGate::new(view, room, there())?));
        read.unwrap()
    }

    fn backfill(&self, from: &OwnedEventId, limit: usize) -> Vec<Value> {
        let pdus = self
            .asks(|view, gate| ancestors::backfill(view, gate, std::slice::from_ref(from), limit));
        pdus.iter().map(|pdu| serde_json::from_str(pdu).unwrap()).collect()
    }

    /// What the other server is told of an event.
    fn told(&self, id: &OwnedEventId) -> String {
        let pdus = self.backfill(id, 1);
        let read = parse(&RoomVersionId::V11, &pdus[0].to_string()).unwrap();
        assert_eq!(read.event_id, *id, "redacted or not, it has its id");
        pdus[0]["content"]["body"].as_str().unwrap_or("redacted").to_owned()
    }
}

/// The event that the other server makes of a template.
fn complete(template: &handshake::Template) -> protocol::Pdu {
    let event: Value = serde_json::from_str(&template.event).unwrap();
    let text = |key: &str| event[key].as_str().unwrap().to_owned();
    let draft = Draft {
        room_id: Some(text("room_id").try_into().unwrap()),
        sender: text("sender").try_into().unwrap(),
        kind: text("type"),
        state_key: Some(text("state_key")),
        content: to_raw_value(&event["content"]).unwrap(),
        redacts: None,
        prev_events: serde_json::from_value(event["prev_events"].clone()).unwrap(),
        auth_events: serde_json::from_value(event["auth_events"].clone()).unwrap(),
        depth: event["depth"].as_u64().unwrap(),
        origin_server_ts: event["origin_server_ts"].as_u64().unwrap(),
    };
    let key = SigningKey::generate([3; 32], "k").unwrap();
    draft.sign(&template.version, there(), &key).unwrap()
}

fn bob() -> &'static UserId {
    user_id!("@bob:there.test")
}

fn carol() -> &'static UserId {
    user_id!("@carol:there.test")
}

#[test]
fn history_for_members_is_whole_only_while_one_of_the_servers_users_was_there() {
    let mut scene = Scene::new();
    scene.history("joined");
    let before = scene.say("before");
    scene.passes(bob(), true);
    let during = scene.say("during");
    scene.passes(carol(), true);
    scene.passes(bob(), false);
    let with_another = scene.say("with another");
    scene.passes(carol(), false);
    let after = scene.say("after");
    scene.passes(bob(), true);
    assert_eq!(scene.told(&before), "redacted");
    assert_eq!(scene.told(&during), "during");
    assert_eq!(scene.told(&with_another), "with another");
    assert_eq!(scene.told(&after), "redacted");
}

#[test]
fn a_server_is_told_of_its_own_accord_what_happened_while_it_was_there() {
    let mut scene = Scene::new();
    let before = scene.say("before");
    scene.passes(bob(), true);
    let during = scene.say("during");
    scene.passes(bob(), false);
    let without = scene.say("without");
    scene.passes(carol(), true);
    let again = scene.say("again");
    let told = |id: &OwnedEventId| {
        scene.asks(|view, gate| gate.is_told(&store::event::load_id(view, id)?.unwrap()))
    };
    assert_eq!([&before, &during, &without, &again].map(told), [false, true, false, true]);
    assert_eq!(scene.told(&without), "without", "who asks for it gets it");
}

#[test]
fn shared_history_is_whole_for_a_server_that_came_later() {
    let mut scene = Scene::new();
    let shared = scene.say("shared");
    scene.history("joined");
    let closed = scene.say("closed");
    scene.passes(bob(), true);
    assert_eq!(scene.told(&shared), "shared");
    assert_eq!(scene.told(&closed), "redacted");
}

#[test]
fn state_is_whole_for_a_server_in_the_room_whenever_it_was_set() {
    let mut scene = Scene::new();
    scene.history("joined");
    let topic = scene.set("m.room.topic", json!({"topic": "before"}));
    let said = scene.say("before");
    scene.passes(bob(), true);
    assert_eq!(scene.told(&said), "redacted");
    assert_eq!(scene.backfill(&topic, 1)[0]["content"], json!({"topic": "before"}));
}

#[test]
fn a_server_without_users_in_the_room_may_look_only_where_the_world_may() {
    let mut scene = Scene::new();
    let closed = scene.say("closed");
    assert!(!scene.asks(|_, gate| gate.may_look()));
    let one =
        |id: &OwnedEventId| scene.world.store.read_here(|view| ancestors::one(view, there(), id));
    let Err(Error::Refused(no)) = one(&closed) else { panic!("it was told") };
    assert_eq!((no.status, no.errcode), (403, "M_FORBIDDEN"));
    scene.history("world_readable");
    let open = scene.say("open");
    assert!(scene.asks(|_, gate| gate.may_look()));
    assert_eq!(scene.told(&open), "open");
    assert_eq!(scene.told(&closed), "redacted", "what was closed stays so");
}

#[test]
fn who_wanted_to_be_forgotten_is_told_of_only_to_servers_that_were_there() {
    let mut scene = Scene::new();
    let before = scene.say("before");
    scene.passes(bob(), true);
    let during = scene.say("during");
    assert_eq!(scene.told(&before), "before");
    let user = scene.world.users[OWNER].0;
    let erase = scene.world.store.write_here(move |tx| {
        let mut account = tx.get(&store::schema::ACCOUNTS, (user,))?.unwrap();
        account.erased = true;
        tx.put(&store::schema::ACCOUNTS, (user,), &account);
        Ok(())
    });
    erase.unwrap();
    assert_eq!(scene.told(&before), "redacted");
    assert_eq!(scene.told(&during), "during");
}

#[test]
fn what_was_redacted_here_is_redacted_for_others_too() {
    let mut scene = Scene::new();
    scene.passes(bob(), true);
    let said = scene.say("mistake");
    assert_eq!(scene.told(&said), "mistake");
    let (user, (_, id), target) = (scene.world.users[OWNER].0, scene.room(), said.clone());
    let redact = scene.world.store.write_here(move |tx| {
        let wanted = rooms::redact::Wanted { target: &target, reason: None, related: &[] };
        let txn = Txn { device: "D", path: "redact", id: "r" };
        rooms::redact::redact(tx, user, &id, &wanted, false, txn)
    });
    redact.unwrap();
    assert_eq!(scene.told(&said), "redacted");
}

#[test]
fn backfill_goes_back_from_the_event_with_it_and_no_further_than_the_limit() {
    let mut scene = Scene::new();
    scene.passes(bob(), true);
    let said: Vec<OwnedEventId> = (0..5).map(|n| scene.say(&n.to_string())).collect();
    let bodies = |pdus: &[Value]| -> Vec<String> {
        pdus.iter().map(|pdu| pdu["content"]["body"].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(bodies(&scene.backfill(&said[3], 3)), ["3", "2", "1"]);
    let all = scene.backfill(&said[4], 1_000);
    assert_eq!(all.last().unwrap()["type"], "m.room.create");
    let depths: Vec<u64> = all.iter().map(|pdu| pdu["depth"].as_u64().unwrap()).collect();
    assert!(depths.is_sorted_by(|a, b| a > b), "{depths:?}");
    // Events of other rooms are none of this one's.
    let other = scene.world.events(scene.world.rooms[1].0).pop().unwrap();
    assert!(scene.backfill(&other, 10).is_empty());
}

#[test]
fn missing_events_are_those_between_and_neither_end() {
    let mut scene = Scene::new();
    scene.passes(bob(), true);
    let said: Vec<OwnedEventId> = (0..40).map(|n| scene.say(&n.to_string())).collect();
    let missing = |earliest: usize, latest: usize, limit: usize, min_depth: u64| {
        let gap = Gap {
            earliest: &said[earliest..=earliest],
            latest: &said[latest..=latest],
            limit,
            min_depth,
        };
        let found = scene.asks(|view, gate| ancestors::missing(view, gate, &gap));
        let body = |pdu: &String| {
            let pdu: Value = serde_json::from_str(pdu).unwrap();
            pdu["content"]["body"].as_str().unwrap_or("-").to_owned()
        };
        found.iter().map(body).collect::<Vec<String>>()
    };
    assert_eq!(missing(1, 5, 10, 0), ["2", "3", "4"]);
    assert_eq!(missing(1, 5, 2, 0), ["3", "4"], "those next to the latest");
    assert_eq!(missing(0, 39, 1_000, 0).len(), ancestors::MISSING_MAX);
    let depth = scene.backfill(&said[3], 1)[0]["depth"].as_u64().unwrap();
    assert_eq!(missing(0, 5, 10, depth), ["3", "4"]);
}
