use protocol::version::SUPPORTED;
use serde_json::{Value, json};
use store::log::Entry;

use crate::testing::{FORBIDDEN, World};

#[test]
fn a_redaction_takes_the_content_and_says_so_in_every_version() {
    for (position, version) in SUPPORTED.iter().enumerate() {
        let inside = position >= 10;
        let world = World::new();
        let alice = world.user("alice");
        let room = world.create(alice, json!({"room_version": version})).unwrap();
        let said = world.say(alice, &room, "secret");
        let by = world.redact(alice, &room, &said).unwrap();
        let event = world.event(&said);
        assert_eq!(event.content(), "{}");
        assert!(!event.client().contains("secret"));
        assert_eq!(event.row.redacted_by, Some(world.number(&by)));
        let redaction: Value = serde_json::from_str(world.event(&by).client()).unwrap();
        let (beside, within) = (redaction.get("redacts"), redaction["content"].get("redacts"));
        let said = json!(said);
        let expected = if inside { (None, Some(&said)) } else { (Some(&said), None) };
        assert_eq!((beside, within), expected, "{version}");
        assert_eq!(redaction["content"]["reason"], "why");
        let entries = world.log();
        let [.., Entry::Event { .. }, Entry::Redacted { event: redacted, .. }] = &entries[..]
        else {
            panic!("{entries:?}")
        };
        assert_eq!(*redacted, event.event);
    }
}

#[test]
fn others_events_need_the_redact_level_even_on_the_same_server() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    let (hers, his) = (world.say(alice, &room, "a"), world.say(bob, &room, "b"));
    assert_eq!(world.redact(bob, &room, &hers), Err(FORBIDDEN));
    assert_eq!(world.event(&hers).row.redacted_by, None);
    world.redact(alice, &room, &his).unwrap();
    assert!(world.event(&his).row.redacted_by.is_some());
}

#[test]
fn an_administrator_redacts_what_users_of_the_server_sent() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    let hers = world.say(alice, &room, "a");
    let id = (room.clone(), hers.clone());
    world
        .write(move |tx| {
            let txn = crate::Txn { device: "D", path: "redact", id: "t" };
            super::redact(tx, bob, &id.0, &id.1, None, true, txn)
        })
        .unwrap();
    assert_eq!(world.event(&hers).content(), "{}");
}

#[test]
fn in_versions_1_and_2_too_others_events_need_the_redact_level() {
    for version in &SUPPORTED[..2] {
        let world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let request = json!({"room_version": version, "preset": "public_chat"});
        let room = world.create(alice, request).unwrap();
        world.join(bob, &room).unwrap();
        let (hers, his) = (world.say(alice, &room, "a"), world.say(bob, &room, "b"));
        assert_eq!(world.redact(bob, &room, &hers), Err(FORBIDDEN));
        world.redact(bob, &room, &his).unwrap();
        assert_eq!(world.event(&his).content(), "{}");
    }
}

#[test]
fn a_redaction_sent_as_an_event_works_in_every_version() {
    for version in &SUPPORTED {
        let world = World::new();
        let alice = world.user("alice");
        let room = world.create(alice, json!({"room_version": version})).unwrap();
        let said = world.say(alice, &room, "secret");
        world.send(alice, &room, "m.room.redaction", json!({ "redacts": said })).unwrap();
        assert_eq!(world.event(&said).content(), "{}");
    }
}

#[test]
fn what_is_not_there_is_not_redacted() {
    let world = World::new();
    let alice = world.user("alice");
    let (room, other) = (world.public(alice), world.public(alice));
    let elsewhere = world.say(alice, &other, "a");
    assert_eq!(world.redact(alice, &room, &elsewhere), Err((404, "M_NOT_FOUND")));
    let unknown = ruma::owned_event_id!("$unknown");
    assert_eq!(world.redact(alice, &room, &unknown), Err((404, "M_NOT_FOUND")));
    let nothing = world.send(alice, &room, "m.room.redaction", json!({}));
    assert_eq!(nothing, Err((400, "M_MISSING_PARAM")));
    let create = world.timeline(&room)[0].id.clone();
    assert_eq!(world.redact(alice, &room, &create), Err(FORBIDDEN));
}

#[test]
fn redacted_state_stays_in_the_state_without_its_content() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.create(alice, json!({"name": "N"})).unwrap();
    let number = world.room(&room);
    let root = world.read(|view| store::room::head(view, number)).unwrap().state;
    let name =
        world.read(|view| store::room::state(view, root, "m.room.name", "")).unwrap().unwrap();
    world.redact(alice, &room, &name.id).unwrap();
    let head = world.read(|view| store::room::head(view, number)).unwrap();
    assert_eq!(head.state, root);
    assert_eq!(world.content(&room, "m.room.name", ""), Some(json!({})));
}
