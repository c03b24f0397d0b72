use base::Seq;
use protocol::version::SUPPORTED;
use serde_json::{Value, json};
use store::event;
use store::{log::Entry, schema::SENT};

use super::*;
use crate::testing::{FORBIDDEN, World};

#[test]
fn a_sent_event_is_in_every_index_at_its_place_in_the_log() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    let first = world.say(alice, &room, "one");
    let second = world.say(alice, &room, "two");
    let number = world.room(&room);
    let [first, second] = [world.event(&first), world.event(&second)];
    let head = world.read(|view| room::head(view, number)).unwrap();
    assert_eq!((head.extremities, head.depth), (vec![second.event], second.row.depth));
    assert_eq!(second.row.depth, first.row.depth + 1);
    assert_eq!((first.row.before, first.row.after), (head.state, head.state));
    assert_eq!(first.row.joined, 1);
    let place = |event| world.read(|view| event::order(view, event)).unwrap().unwrap();
    let at = place(second.event);
    assert_eq!(place(first.event).next(), at);
    let entries = world.read(|view| view.log(Seq(at.0 - 1), at, 10)).unwrap();
    let entry = Entry::Event {
        room: number,
        event: second.event,
        sender: alice,
        target: None,
        state: false,
    };
    assert_eq!(entries, [(at, entry)]);
    let last = world.read(|view| room::last_at(view, number, Seq::MAX)).unwrap();
    assert_eq!(last, Some((at, second.event)));
    let rest = world.read(|view| event::rest(view, second.event)).unwrap();
    let rest: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(rest["prev_events"], json!([first.id]));
    assert_eq!(rest["auth_events"].as_array().unwrap().len(), 2);
}

#[test]
fn a_stored_event_is_put_together_again_with_its_own_id() {
    for version in &SUPPORTED {
        let world = World::new();
        let alice = world.user("alice");
        let room =
            world.create(alice, json!({"room_version": version, "preset": "public_chat"})).unwrap();
        world.say(alice, &room, "hello");
        for event in world.timeline(&room) {
            let text = federated(&world, version, &room, &event);
            let pdu = protocol::pdu::parse(version, &text).unwrap();
            assert_eq!((pdu.event_id.as_str(), &pdu.room_id), (event.id.as_str(), &room));
            assert_eq!(pdu.to_federation(version), text);
            assert!(pdu.content_hash_holds(version) && pdu.is_signed_by("x.org"));
        }
    }
}

fn federated(
    world: &World,
    version: &RoomVersionId,
    room: &OwnedRoomId,
    event: &event::Stored,
) -> String {
    let rest = world.read(|view| event::rest(view, event.event)).unwrap();
    protocol::pdu::join(version, room, event.client(), &rest).unwrap()
}

#[test]
fn events_of_versions_1_and_2_name_others_with_their_hashes_redacted_or_not() {
    for version in &SUPPORTED[..2] {
        let world = World::new();
        let alice = world.user("alice");
        let room = world.create(alice, json!({ "room_version": version })).unwrap();
        let said = world.say(alice, &room, "secret");
        world.redact(alice, &room, &said).unwrap();
        world.say(alice, &room, "more");
        let mut hashes = std::collections::BTreeMap::new();
        for event in world.timeline(&room) {
            let text = federated(&world, version, &room, &event);
            let whole: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(whole["event_id"], event.id.as_str());
            assert_eq!(event.id.server_name().unwrap(), "x.org");
            for field in ["prev_events", "auth_events"] {
                for pair in whole[field].as_array().unwrap() {
                    let of = pair[0].as_str().unwrap();
                    assert_eq!(pair[1]["sha256"].as_str(), hashes.get(of).map(String::as_str));
                }
            }
            let hash = protocol::pdu::reference_hash(version, &text).unwrap();
            assert!(hashes.insert(event.id.to_string(), hash).is_none(), "ids are unique");
        }
    }
}

#[test]
fn who_is_not_in_a_room_sets_no_aliases_of_their_server_there() {
    let world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let room = world.create(alice, json!({"room_version": "5"})).unwrap();
    let aliases = || json!({"aliases": ["#a:x.org"]});
    assert_eq!(world.set(eve, &room, "m.room.aliases", "x.org", aliases()), Err(FORBIDDEN));
    assert_eq!(world.set(alice, &room, "m.room.aliases", "y.org", aliases()), Err(FORBIDDEN));
    world.set(alice, &room, "m.room.aliases", "x.org", aliases()).unwrap();
}

#[test]
fn numbers_that_are_not_canonical_are_sent_in_old_versions_only() {
    let world = World::new();
    let alice = world.user("alice");
    for (number, version) in SUPPORTED.iter().enumerate() {
        let room = world.create(alice, json!({ "room_version": version })).unwrap();
        let sent = world.send(alice, &room, "m.x", json!({"lat": 48.25}));
        if number < 5 {
            assert_eq!(world.event(&sent.unwrap()).content(), r#"{"lat":48.25}"#);
        } else {
            assert_eq!(sent, Err((400, "M_BAD_JSON")), "{version}");
        }
    }
}

#[test]
fn a_request_with_a_known_transaction_id_is_answered_with_its_event() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    let send = |user, device: &str, txn: &str, body: &str| {
        let content = json!({ "body": body });
        world.send_txn(user, &room, "m.room.message", content, (device, txn)).unwrap()
    };
    let first = send(alice, "A", "1", "hello");
    let before = world.log().len();
    assert_eq!(send(alice, "A", "1", "changed"), first);
    assert_eq!(world.log().len(), before);
    assert_ne!(send(alice, "B", "1", "hello"), first, "another device");
    assert_ne!(send(alice, "A", "2", "hello"), first, "another transaction");
    assert_ne!(send(bob, "A", "1", "hello"), first, "another user");
    let event = world.number(&first);
    let sent = world.read(|view| view.get(&SENT, (event,))).unwrap().unwrap();
    assert_eq!((sent.device.as_str(), sent.txn_id.as_str()), ("A", "1"));
}

#[test]
fn a_refused_request_is_not_remembered() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    let send = || world.send_txn(bob, &room, "m.x", json!({}), ("A", "1"));
    assert_eq!(send(), Err(FORBIDDEN));
    world.join(bob, &room).unwrap();
    assert!(send().is_ok());
}

#[test]
fn state_that_says_the_same_again_is_the_event_that_is_there() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    let levels = json!({"users_default": 50, "events_default": 0});
    world.set(alice, &room, "m.room.power_levels", "", levels).unwrap();
    world.join(bob, &room).unwrap();
    let set = |user, topic: &str| {
        world.set(user, &room, "m.room.topic", "", json!({ "topic": topic })).unwrap()
    };
    let first = set(alice, "a");
    let before = world.log().len();
    assert_eq!(set(alice, "a"), first);
    assert_eq!(world.log().len(), before);
    let theirs = set(bob, "a");
    assert_ne!(theirs, first, "another sender");
    let second = set(alice, "b");
    let row = &world.event(&second).row;
    assert_eq!(row.replaces, Some(world.number(&theirs)));
    assert_ne!(row.before, row.after);
    assert_ne!(set(alice, "a"), first, "it was replaced in between");
}

#[test]
fn power_levels_decide_who_may_send_what() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world
        .create(
            alice,
            json!({"preset": "public_chat", "room_version": "11",
                "power_level_content_override": {"events": {"m.x": 10, "m.room.topic": 0}}}),
        )
        .unwrap();
    world.join(bob, &room).unwrap();
    assert!(world.send(bob, &room, "m.room.message", json!({})).is_ok());
    assert_eq!(world.send(bob, &room, "m.x", json!({})), Err(FORBIDDEN));
    assert!(world.set(bob, &room, "m.room.topic", "", json!({"topic": "t"})).is_ok());
    assert_eq!(world.set(bob, &room, "m.room.name", "", json!({"name": "n"})), Err(FORBIDDEN));
    assert_eq!(world.set(alice, &room, "m.y", "@bob:x.org", json!({})), Err(FORBIDDEN));
    let mut levels = world.content(&room, "m.room.power_levels", "").unwrap();
    levels["users"]["@bob:x.org"] = json!(10);
    assert_eq!(world.set(bob, &room, "m.room.power_levels", "", levels.clone()), Err(FORBIDDEN));
    world.set(alice, &room, "m.room.power_levels", "", levels.clone()).unwrap();
    assert!(world.send(bob, &room, "m.x", json!({})).is_ok());
    levels["users"]["@alice:x.org"] = json!("100");
    assert_eq!(world.set(alice, &room, "m.room.power_levels", "", levels), Err(FORBIDDEN));
}

#[test]
fn what_is_no_event_is_refused() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    let send = |kind: &str, content: Value| world.send(alice, &room, kind, content).unwrap_err();
    assert_eq!(send("m.x", json!({"a": 1.5})), (400, "M_BAD_JSON"));
    assert_eq!(send("m.x", json!([])), (400, "M_BAD_JSON"));
    assert_eq!(send("m.x", json!({"a": "x".repeat(65_536)})), (413, "M_TOO_LARGE"));
    assert_eq!(send(&"x".repeat(256), json!({})), (413, "M_TOO_LARGE"));
    let create = world.set(alice, &room, "m.room.create", "", json!({}));
    assert_eq!(create, Err(FORBIDDEN));
}

#[test]
fn senders_in_one_lane_make_one_line() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    let number = world.room(&room);
    // What a lane does: several requests in one transaction.
    let ids = world.write(move |tx| {
        let mut ids = Vec::new();
        for n in 0..20 {
            let content = raw(&json!({ "n": n }))?;
            let kind = "m.x".to_owned();
            let new = New { sender: alice, kind, state_key: None, content, redacts: None };
            ids.push(append(tx, number, new)?.event);
        }
        Ok(ids)
    });
    let ids = ids.unwrap();
    let places: Vec<Seq> =
        ids.iter().map(|e| world.read(|v| event::order(v, *e)).unwrap().unwrap()).collect();
    assert!(places.windows(2).all(|w| w[0].next() == w[1]));
    let head = world.read(|view| room::head(view, number)).unwrap();
    assert_eq!(head.extremities, [*ids.last().unwrap()]);
}
