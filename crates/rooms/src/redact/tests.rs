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
            super::redact(
                tx,
                bob,
                &id.0,
                &super::Wanted { target: &id.1, reason: None, related: &[] },
                true,
                txn,
            )
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

fn redacted(world: &World, id: &ruma::OwnedEventId) -> bool {
    world.event(id).row.redacted_by.is_some()
}

#[test]
fn what_relates_to_an_event_goes_with_it_as_far_as_the_user_may() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    let relate = |user: base::User, to: &ruma::OwnedEventId, how: &str| {
        let relation = json!({"rel_type": how, "event_id": to, "key": user.to_string()});
        world.send(user, &room, "m.x", json!({"m.relates_to": relation})).unwrap()
    };
    let scene = || {
        let root = world.say(bob, &room, "root");
        let edit = relate(bob, &root, "m.replace");
        let theirs = relate(alice, &root, "m.annotation");
        let child = relate(bob, &edit, "m.replace");
        (root, edit, theirs, child)
    };
    let (root, edit, theirs, child) = scene();
    world.redact_with(bob, &room, &root, &["m.replace"]).unwrap();
    assert!(redacted(&world, &root) && redacted(&world, &edit));
    assert!(!redacted(&world, &theirs) && !redacted(&world, &child));
    let (root, edit, theirs, _) = scene();
    world.redact_with(bob, &room, &root, &["*"]).unwrap();
    assert!(redacted(&world, &edit));
    assert!(!redacted(&world, &theirs), "bob may not redact what alice sent");
    let (root, edit, theirs, _) = scene();
    world.redact(alice, &room, &root).unwrap();
    assert!(!redacted(&world, &edit));
    world.redact_with(alice, &room, &root, &["*"]).unwrap();
    assert!(redacted(&world, &edit) && redacted(&world, &theirs));
}

#[test]
fn a_ban_takes_away_what_was_said_if_the_moderator_may_redact() {
    let world = World::new();
    let (alice, bob, carol) = (world.user("alice"), world.user("bob"), world.user("carol"));
    let room = world
        .create(
            alice,
            json!({"preset": "public_chat", "room_version": "11", "power_level_content_override":
                {"users": {"@alice:x.org": 100, "@carol:x.org": 50}, "redact": 60}}),
        )
        .unwrap();
    for user in [bob, carol] {
        world.join(user, &room).unwrap();
    }
    let (said, other) = (world.say(bob, &room, "spam"), world.say(carol, &room, "ham"));
    let put_out = |by, redact| {
        let (room, whom) = (room.clone(), world.id(bob));
        world.write(move |tx| crate::ban::ban(tx, by, &room, &whom, Some("spam"), redact)).unwrap();
    };
    put_out(carol, true);
    assert!(!redacted(&world, &said), "carol may ban, not redact");
    put_out(alice, false);
    assert!(!redacted(&world, &said));
    put_out(alice, true);
    assert!(redacted(&world, &said) && !redacted(&world, &other));
    let ban = world.content(&room, "m.room.member", "@bob:x.org").unwrap();
    assert_eq!(ban["org.matrix.msc4293.redact_events"], true);
    let by = world.event(&said).row.redacted_by.unwrap();
    assert!(world.read(|view| store::event::load(view, by)).unwrap().is_state("m.room.member"));
}
