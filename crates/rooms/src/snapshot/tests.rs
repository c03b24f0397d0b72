use ruma::{OwnedRoomId, RoomVersionId};
use serde_json::{Value, json};

use super::*;
use crate::testing::World;

fn parsed(text: String) -> Value {
    serde_json::from_str(&text).unwrap()
}

fn room() -> (World, base::User, OwnedRoomId) {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.create(alice, json!({"name": "old"})).unwrap();
    (world, alice, room)
}

#[test]
fn the_state_before_a_state_event_does_not_have_it() {
    let (world, alice, id) = room();
    let renamed = world.set(alice, &id, "m.room.name", "", json!({"name": "new"})).unwrap();
    let room = world.room(&id);
    let answer = parsed(world.read(|view| state(view, room, &renamed)).unwrap());
    let names: Vec<&Value> = answer["pdus"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pdu| pdu["type"] == "m.room.name")
        .map(|pdu| &pdu["content"]["name"])
        .collect();
    assert_eq!(names, [&json!("old")]);
    let ids = parsed(world.read(|view| state_ids(view, room, &renamed)).unwrap());
    assert_eq!(ids["pdu_ids"].as_array().unwrap().len(), answer["pdus"].as_array().unwrap().len());
    let chain = ids["auth_chain_ids"].as_array().unwrap();
    assert_eq!(chain.len(), answer["auth_chain"].as_array().unwrap().len());
    assert!(!chain.is_empty());
}

#[test]
fn what_is_given_has_the_id_and_the_hash_that_it_had() {
    let (world, alice, id) = room();
    let said = world.say(alice, &id, "hi");
    let room = world.room(&id);
    let answer = parsed(world.read(|view| event_auth(view, room, &said)).unwrap());
    let chain = answer["auth_chain"].as_array().unwrap();
    for pdu in chain {
        let read = protocol::pdu::parse(&RoomVersionId::V12, &pdu.to_string()).unwrap();
        assert!(read.content_hash_holds(&RoomVersionId::V12), "{pdu}");
        assert!(world.read(|view| event::find(view, &read.event_id)).unwrap().is_some(), "{pdu}");
    }
    assert_eq!(chain.len(), 2, "{chain:?}");
}

#[test]
fn events_of_other_rooms_are_not_found() {
    let (world, alice, id) = room();
    let other = world.public(alice);
    let said = world.say(alice, &other, "hi");
    let room = world.room(&id);
    for f in [state, state_ids, event_auth] {
        assert_eq!(world.read(|view| f(view, room, &said)).unwrap_err(), (404, "M_NOT_FOUND"));
    }
}
