use protocol::version::SUPPORTED;
use serde_json::{Value, json};

use super::*;
use crate::testing::{World, user_id};

fn kinds(world: &World, room: &OwnedRoomId) -> Vec<String> {
    let describe = |event: &std::sync::Arc<store::event::Stored>| {
        let key = event.row.state_key.clone().unwrap_or_default();
        format!("{}|{key}", event.row.kind)
    };
    world.timeline(room).iter().map(describe).collect()
}

#[test]
fn first_events_come_in_the_order_of_the_spec() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world
        .create(
            alice,
            json!({
                "name": "N", "topic": "T", "room_alias_name": "pub", "invite": [world.id(bob)],
                "initial_state": [
                    {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
                    {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
                    {"type": "m.room.name", "content": {"name": "overridden"}},
                ],
            }),
        )
        .unwrap();
    assert_eq!(
        kinds(&world, &room),
        [
            "m.room.create|",
            "m.room.member|@alice:x.org",
            "m.room.power_levels|",
            "m.room.canonical_alias|",
            "m.room.join_rules|",
            "m.room.guest_access|",
            "m.room.encryption|",
            "m.room.history_visibility|",
            "m.room.name|",
            "m.room.topic|",
            "m.room.member|@bob:x.org",
        ]
    );
    let content = |kind: &str| world.content(&room, kind, "").unwrap();
    assert_eq!(content("m.room.name")["name"], "N");
    assert_eq!(content("m.room.topic")["m.topic"]["m.text"][0]["body"], "T");
    assert_eq!(content("m.room.topic")["topic"], "T");
    assert_eq!(content("m.room.history_visibility")["history_visibility"], "joined");
    assert_eq!(content("m.room.canonical_alias")["alias"], "#pub:x.org");
    let depths: Vec<u64> = world.timeline(&room).iter().map(|e| e.row.depth).collect();
    assert_eq!(depths, (1..=11).collect::<Vec<u64>>());
}

#[test]
fn presets_decide_who_may_enter() {
    let world = World::new();
    let alice = world.user("alice");
    for (request, rule, guests) in [
        (json!({}), "invite", "can_join"),
        (json!({"visibility": "public"}), "public", "forbidden"),
        (json!({"preset": "public_chat"}), "public", "forbidden"),
        (json!({"preset": "trusted_private_chat"}), "invite", "can_join"),
        (json!({"visibility": "public", "preset": "private_chat"}), "invite", "can_join"),
    ] {
        let room = world.create(alice, request).unwrap();
        let content = |kind: &str| world.content(&room, kind, "").unwrap();
        assert_eq!(content("m.room.join_rules")["join_rule"], rule);
        assert_eq!(content("m.room.guest_access")["guest_access"], guests);
        assert_eq!(content("m.room.history_visibility")["history_visibility"], "shared");
    }
}

#[test]
fn version_12_rooms_are_named_by_their_create_event() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world
        .create(alice, json!({"preset": "trusted_private_chat", "invite": [world.id(bob)]}))
        .unwrap();
    let create = &world.timeline(&room)[0];
    assert_eq!(create.id.as_str().replacen('$', "!", 1), room.as_str());
    let content: Value = create.content_as().unwrap();
    assert_eq!(content["room_version"], "12");
    assert_eq!(content["additional_creators"], json!(["@bob:x.org"]));
    assert!(content.get("creator").is_none());
    let levels = world.content(&room, "m.room.power_levels", "").unwrap();
    assert_eq!(levels["users"], json!({}));
    let number = world.room(&room);
    let info = world.read(|view| room::info(view, number)).unwrap();
    assert_eq!(info.creators, ["@alice:x.org", "@bob:x.org"]);
    assert_eq!((info.version.as_str(), info.create), ("12", create.event));
}

#[test]
fn older_versions_list_the_creator_with_power_100() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for (position, version) in SUPPORTED.iter().take(11).enumerate() {
        let named = position < 10;
        let request = json!({"room_version": version, "preset": "trusted_private_chat",
            "invite": [world.id(bob)], "creation_content": {"creator": "@eve:x.org", "type": "m.space"}});
        let room = world.create(alice, request).unwrap();
        assert!(room.as_str().ends_with(":x.org"));
        let content = world.content(&room, "m.room.create", "").unwrap();
        assert_eq!(content["room_version"], version.as_str());
        assert_eq!(content.get("creator"), named.then(|| json!("@alice:x.org")).as_ref());
        let levels = world.content(&room, "m.room.power_levels", "").unwrap();
        assert_eq!(levels["users"], json!({"@alice:x.org": 100, "@bob:x.org": 100}));
        let number = world.room(&room);
        let info = world.read(|view| room::info(view, number)).unwrap();
        assert_eq!((info.creators.len(), info.room_type.as_deref()), (0, Some("m.space")));
    }
}

#[test]
fn power_levels_can_be_overridden() {
    let world = World::new();
    let alice = world.user("alice");
    let over = json!({"power_level_content_override": {"events_default": 7, "events": {"m.x": 3}}});
    let room = world.create(alice, over).unwrap();
    let levels = world.content(&room, "m.room.power_levels", "").unwrap();
    // That closing a room needs more than its `state_default` is not the client's to forget.
    let events = json!({"m.x": 3, "m.room.tombstone": 150});
    assert_eq!((&levels["events_default"], &levels["events"]), (&json!(7), &events));
    assert_eq!(levels["state_default"], 50);
}

#[test]
fn a_room_that_its_own_rules_forbid_is_not_made() {
    let world = World::new();
    let alice = world.user("alice");
    for request in [
        json!({"room_version": "11", "name": "N",
            "power_level_content_override": {"users": {"@alice:x.org": 0}}}),
        json!({"power_level_content_override": {"users": {"@alice:x.org": 100}}}),
        json!({"initial_state": [{"type": "m.room.create", "content": {}}]}),
        json!({"creation_content": {"additional_creators": ["bob"]}}),
    ] {
        let before = world.log().len();
        assert_eq!(world.create(alice, request).unwrap_err(), (400, "M_INVALID_ROOM_STATE"));
        assert_eq!(world.log().len(), before);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let world = World::new();
    let alice = world.user("alice");
    world.create(alice, json!({"room_alias_name": "taken"})).unwrap();
    for (request, status, code) in [
        (json!({"room_version": "13"}), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (json!({"room_version": "odd"}), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (json!({"room_alias_name": "taken"}), 400, "M_ROOM_IN_USE"),
        (json!({"room_alias_name": "a:b"}), 400, "M_INVALID_PARAM"),
        (json!({"invite": ["@nobody:x.org"]}), 404, "M_NOT_FOUND"),
        (
            json!({"invite_3pid": [{"id_server": "i.org", "id_access_token": "t", "medium": "email",
            "address": "a@b.c"}]}),
            403,
            "M_THREEPID_DENIED",
        ),
    ] {
        assert_eq!(world.create(alice, request.clone()).unwrap_err(), (status, code), "{request}");
    }
}

#[test]
fn invites_of_a_direct_chat_say_so_and_carry_the_invitees_name() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.create(alice, json!({"is_direct": true, "invite": ["@bob:x.org"]})).unwrap();
    let content = world.content(&room, "m.room.member", user_id("@bob:x.org").as_str()).unwrap();
    assert_eq!(content, json!({"membership": "invite", "is_direct": true, "displayname": "bob"}));
    assert_eq!(world.standing(bob, &room), Some(Standing::Invite));
}

#[test]
fn rooms_that_are_made_alike_at_once_are_two_rooms() {
    let world = World::new();
    let alice = world.user("alice");
    for version in ["11", "12"] {
        let make = move |tx: &mut store::Tx| {
            let version = RoomVersionId::try_from(version).unwrap();
            let rooms: Vec<_> = (0..3)
                .map(|_| found(tx, alice, &version, Map::new()))
                .collect::<base::Reply<_>>()?;
            rooms.into_iter().map(|room| room::id(tx, room)).collect::<base::Reply<Vec<_>>>()
        };
        let mut ids = world.write(make).unwrap();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3, "{version}");
    }
}
