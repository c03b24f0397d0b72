use ruma::OwnedRoomAliasId;
use serde_json::json;

use super::*;
use crate::testing::{FORBIDDEN, Outcome, World};

fn go(world: &World, user: User, room: &RoomId, version: &str) -> Outcome<OwnedRoomId> {
    let (room, version) = (room.to_owned(), RoomVersionId::try_from(version).unwrap());
    world.write(move |tx| upgrade(tx, user, &room, &version, &[]))
}

#[test]
fn the_new_room_takes_over_and_the_old_one_is_closed() {
    let pairs = [
        ("11", "12"),
        ("12", "12"),
        ("12", "11"),
        ("10", "11"),
        ("1", "12"),
        ("12", "1"),
        ("2", "3"),
    ];
    for (from, to) in pairs {
        let world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let old = world
            .create(
                alice,
                json!({"room_version": from, "visibility": "public", "name": "N", "topic": "T",
                    "room_alias_name": "a", "creation_content": {"type": "m.space"},
                    "power_level_content_override": {"events": {"m.x": 7}}}),
            )
            .unwrap();
        world.join(bob, &old).unwrap();
        let new = go(&world, alice, &old, to).unwrap();
        let content = |room: &RoomId, kind: &str| world.content(room, kind, "").unwrap();
        let create = content(&new, "m.room.create");
        assert_eq!((&create["type"], &create["room_version"]), (&json!("m.space"), &json!(to)));
        assert_eq!(create["predecessor"]["room_id"], json!(old));
        for kind in ["m.room.name", "m.room.topic", "m.room.join_rules"] {
            assert_eq!(content(&new, kind), content(&old, kind), "{kind}");
        }
        assert_eq!(content(&new, CANONICAL), json!({"alias": "#a:x.org"}));
        assert_eq!(content(&old, CANONICAL), json!({}), "its alias leads elsewhere");
        let levels = content(&new, LEVELS);
        assert_eq!(levels["events"]["m.x"], 7);
        let own = levels["users"].get("@alice:x.org");
        assert_eq!(own, (to != "12").then(|| json!(100)).as_ref(), "{from} to {to}");
        assert_eq!(content(&old, TOMBSTONE)["replacement_room"], json!(new));
        assert_eq!(world.send(bob, &old, "m.room.message", json!({})), Err(FORBIDDEN));
        let alias = OwnedRoomAliasId::try_from("#a:x.org").unwrap();
        assert_eq!(world.read(|view| crate::alias::lookup(view, &alias)), Ok(new.clone()));
        let published = |room: &RoomId| {
            world.read(|view| crate::directory::visibility(view, room)).unwrap().to_string()
        };
        assert_eq!((published(&old), published(&new)), ("private".into(), "public".into()));
        world.join(bob, &new).unwrap();
    }
}

#[test]
fn what_the_new_version_would_refuse_is_told_in_its_terms() {
    let world = World::new();
    let alice = world.user("alice");
    let (levels, rule) =
        (json!({"ban": "60", "kick": 55.5, "users": {"@alice:x.org": "100"}}), "knock");
    let old = world
        .create(
            alice,
            json!({"room_version": "5", "power_level_content_override": levels,
                "initial_state": [{"type": "m.room.join_rules", "content": {"join_rule": rule}}]}),
        )
        .unwrap();
    let middle = go(&world, alice, &old, "6").unwrap();
    assert_eq!(world.content(&middle, "m.room.join_rules", "").unwrap()["join_rule"], "invite");
    for version in ["10", "12"] {
        let old = world
            .create(alice, json!({"room_version": "5", "power_level_content_override": levels}));
        let new = go(&world, alice, &old.unwrap(), version).unwrap();
        let content = world.content(&new, LEVELS, "").unwrap();
        assert_eq!((&content["ban"], &content["kick"]), (&json!(60), &json!(55)), "{version}");
    }
}

#[test]
fn only_who_may_close_a_room_upgrades_it_and_only_to_a_known_version() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    assert_eq!(go(&world, bob, &room, "12"), Err(FORBIDDEN));
    assert_eq!(go(&world, alice, &room, "odd"), Err((400, "M_UNSUPPORTED_ROOM_VERSION")));
    assert!(world.content(&room, TOMBSTONE, "").is_none());
}

#[test]
fn who_is_banned_stays_banned_and_a_space_keeps_its_rooms() {
    let world = World::new();
    let (alice, bob, carol) = (world.user("alice"), world.user("bob"), world.user("carol"));
    let old = world
        .create(
            alice,
            json!({"preset": "public_chat", "room_version": "11",
                "creation_content": {"type": "m.space"}}),
        )
        .unwrap();
    world.join(bob, &old).unwrap();
    world.ban(alice, &old, bob).unwrap();
    for (key, content) in [("!in:x.org", json!({"via": ["x.org"]})), ("!out:x.org", json!({}))] {
        world.set(alice, &old, CHILD, key, content).unwrap();
    }
    let new = go(&world, alice, &old, "12").unwrap();
    assert_eq!(world.standing(bob, &new), Some(Standing::Ban));
    assert_eq!(world.join(bob, &new), Err(FORBIDDEN));
    world.join(carol, &new).unwrap();
    assert_eq!(world.content(&new, CHILD, "!in:x.org"), Some(json!({"via": ["x.org"]})));
    assert_eq!(world.content(&new, CHILD, "!out:x.org"), None);
}

#[test]
fn additional_creators_are_those_of_the_request_and_of_no_other_room() {
    let world = World::new();
    let alice = world.user("alice");
    let more = json!({"additional_creators": ["@bob:x.org"]});
    let old = world.create(alice, json!({"creation_content": more})).unwrap();
    let plain = go(&world, alice, &old, "12").unwrap();
    let of = |room: &RoomId| world.content(room, "m.room.create", "").unwrap();
    assert_eq!(of(&plain).get("additional_creators"), None);
    let carol = OwnedUserId::try_from("@carol:x.org").unwrap();
    for (version, expected) in [("12", Some(json!(["@carol:x.org"]))), ("11", None)] {
        let (from, carol) = (plain.clone(), carol.clone());
        let version = RoomVersionId::try_from(version).unwrap();
        let new = world
            .write(move |tx| upgrade(tx, alice, &from, &version, std::slice::from_ref(&carol)));
        assert_eq!(of(&new.unwrap()).get("additional_creators").cloned(), expected);
    }
}
