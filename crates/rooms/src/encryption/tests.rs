use protocol::encryption::{Required, Requirement, usual};
use serde_json::json;

use crate::testing::{FORBIDDEN, World};

fn world(rooms: Required, refuse_plaintext: bool) -> World {
    World::requiring(Requirement { rooms, refuse_plaintext, ..Requirement::default() })
}

const ENCRYPTION: &str = "m.room.encryption";

#[test]
fn a_private_room_is_encrypted_whether_or_not_its_creator_asks_and_a_public_one_is_not() {
    let world = world(Required::Private, false);
    let alice = world.user("alice");
    let made = |request| world.create(alice, request).unwrap();
    let encryption = |room: ruma::OwnedRoomId| world.content(&room, ENCRYPTION, "");
    assert_eq!(encryption(made(json!({}))), Some(usual()));
    let none = json!([{ "type": ENCRYPTION, "content": { "algorithm": "" } }]);
    assert_eq!(encryption(made(json!({ "initial_state": none }))), Some(usual()));
    let own = json!({ "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 5 });
    let asked = json!([{ "type": ENCRYPTION, "content": own }]);
    assert_eq!(encryption(made(json!({ "initial_state": asked }))), Some(own));
    assert_eq!(encryption(made(json!({ "preset": "public_chat" }))), None);
    assert_eq!(encryption(made(json!({ "visibility": "public", "preset": "private_chat" }))), None);
    let open = json!([{ "type": "m.room.join_rules", "content": { "join_rule": "public" } }]);
    assert_eq!(encryption(made(json!({ "initial_state": open }))), None);
    assert_eq!(encryption(made(json!({ "creation_content": { "type": "m.space" } }))), None);
    let other = json!([{ "type": ENCRYPTION, "content": { "algorithm": "rot13" } }]);
    assert_eq!(
        world.create(alice, json!({ "initial_state": other })),
        Err((400, "M_INVALID_ROOM_STATE"))
    );
}

#[test]
fn where_all_rooms_are_to_be_encrypted_public_ones_are_too_but_not_the_servers_notices() {
    let world = world(Required::All, true);
    let (server, alice) = (world.user("server"), world.user("alice"));
    let room = world.public(alice);
    assert_eq!(world.content(&room, ENCRYPTION, ""), Some(usual()));
    let notices =
        world.write(move |tx| crate::notice::deliver(tx, server, alice, "Maintenance")).unwrap();
    let id = world.read(|view| store::room::id(view, notices)).unwrap();
    assert_eq!(world.content(&id, ENCRYPTION, ""), None);
}

#[test]
fn plaintext_is_refused_in_encrypted_rooms_only() {
    let world = world(Required::Off, true);
    let alice = world.user("alice");
    let room = world.public(alice);
    world.say(alice, &room, "in clear");
    world.set(alice, &room, ENCRYPTION, "", usual()).unwrap();
    for kind in ["m.room.message", "m.sticker", "m.call.invite"] {
        assert_eq!(world.send(alice, &room, kind, json!({})), Err(FORBIDDEN), "{kind}");
    }
    for kind in ["m.room.encrypted", "m.reaction", "org.example.sensor"] {
        world.send(alice, &room, kind, json!({})).unwrap();
    }
    // Its type is that of a message, but it is state, which has no encrypted form.
    world.set(alice, &room, "m.call.member", "x", json!({})).unwrap();
}

#[test]
fn encryption_is_neither_ended_nor_weakened_nor_redacted() {
    let world = world(Required::Private, false);
    let alice = world.user("alice");
    let room = world.create(alice, json!({})).unwrap();
    for less in [json!({}), json!({ "algorithm": "rot13" })] {
        assert_eq!(world.set(alice, &room, ENCRYPTION, "", less), Err(FORBIDDEN));
    }
    let first = world.timeline(&room).into_iter().find(|event| event.row.kind == ENCRYPTION);
    assert_eq!(world.redact(alice, &room, &first.unwrap().id), Err(FORBIDDEN));
    let more = json!({ "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 10 });
    world.set(alice, &room, ENCRYPTION, "", more).unwrap();
}

#[test]
fn without_a_requirement_nothing_is_asked() {
    let world = world(Required::Off, false);
    let alice = world.user("alice");
    let room = world.create(alice, json!({})).unwrap();
    assert_eq!(world.content(&room, ENCRYPTION, ""), None);
    world.set(alice, &room, ENCRYPTION, "", usual()).unwrap();
    world.say(alice, &room, "in clear");
    world.set(alice, &room, ENCRYPTION, "", json!({})).unwrap();
}
