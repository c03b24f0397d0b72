use serde_json::json;

use super::*;
use crate::testing::{Outcome, World};

const MISSING: (u16, &str) = (404, "M_NOT_FOUND");

fn told(world: &World, user: Option<User>, id: &str) -> Outcome<Map<String, Value>> {
    let id = ruma::OwnedRoomOrAliasId::try_from(id).unwrap();
    world.read(|view| summary(view, user, &id, false))
}

fn rule(world: &World, alice: User, room: &ruma::RoomId, rule: Value) {
    world.set(alice, room, "m.room.join_rules", "", rule).unwrap();
}

#[test]
fn a_summary_says_what_the_room_is() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.create(alice, json!({"preset": "public_chat", "name": "N"})).unwrap();
    let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
    world.set(alice, &room, "m.room.encryption", "", content).unwrap();
    world.alias(alice, "#a:x.org", &room).unwrap();
    let wanted = json!({
        "room_id": room, "name": "N", "num_joined_members": 1, "world_readable": false,
        "guest_can_join": false, "join_rule": "public", "room_version": "12",
        "encryption": "m.megolm.v1.aes-sha2",
    });
    assert_eq!(Value::Object(told(&world, None, "#a:x.org").unwrap()), wanted);
    let mine = told(&world, Some(alice), room.as_str()).unwrap();
    assert_eq!(mine["membership"], "join");
    let bob = world.user("bob");
    assert_eq!(told(&world, Some(bob), room.as_str()).unwrap()["membership"], "leave");
    let id = (&*room).into();
    let old = world.read(|view| summary(view, None, id, true)).unwrap();
    assert_eq!(old["im.nheko.summary.encryption"], "m.megolm.v1.aes-sha2");
    assert_eq!(old["im.nheko.summary.version"], "12");
    assert_eq!(told(&world, None, "#none:x.org"), Err(MISSING));
}

#[test]
fn who_may_not_come_is_not_told_that_there_is_a_room() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.create(alice, json!({})).unwrap();
    let id = room.as_str();
    assert_eq!(told(&world, Some(bob), id), Err(MISSING));
    let words = |id: &str| {
        let id = ruma::OwnedRoomOrAliasId::try_from(id).unwrap();
        let no = world.store.read_here(|view| summary(view, Some(bob), &id, false)).unwrap_err();
        no.to_string()
    };
    assert_eq!(words(id), words("!none:x.org"));
    rule(&world, alice, &room, json!({"join_rule": "knock"}));
    assert!(told(&world, Some(bob), id).is_ok() && told(&world, None, id).is_ok());
    rule(&world, alice, &room, json!({"join_rule": "invite"}));
    world.invite(alice, &room, bob).unwrap();
    assert_eq!(told(&world, Some(bob), id).unwrap()["membership"], "invite");
    assert_eq!(told(&world, None, id), Err(MISSING));
    rule(&world, alice, &room, json!({"join_rule": "public"}));
    world.ban(alice, &room, bob).unwrap();
    assert_eq!(told(&world, Some(bob), id), Err(MISSING), "who is banned cannot join");
    let open = json!({"history_visibility": "world_readable"});
    world.set(alice, &room, "m.room.history_visibility", "", open).unwrap();
    assert_eq!(told(&world, Some(bob), id).unwrap()["membership"], "ban");
}

#[test]
fn a_restricted_room_is_told_to_members_of_the_rooms_it_names() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let (room, club) = (world.create(alice, json!({})).unwrap(), world.public(alice));
    let allow = json!([{"type": "m.room_membership", "room_id": club}, {"type": "x.other"}]);
    rule(&world, alice, &room, json!({"join_rule": "restricted", "allow": allow}));
    assert_eq!(told(&world, Some(bob), room.as_str()), Err(MISSING));
    assert_eq!(told(&world, None, room.as_str()), Err(MISSING));
    world.join(bob, &club).unwrap();
    let summary = told(&world, Some(bob), room.as_str()).unwrap();
    assert_eq!(
        (&summary["join_rule"], &summary["allowed_room_ids"]),
        (&json!("restricted"), &json!([club]))
    );
}
