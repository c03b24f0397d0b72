use serde_json::{Value, json};

use super::*;
use crate::testing::{FORBIDDEN, Outcome, World};

fn listed(page: &Page) -> Vec<&str> {
    page.rooms.iter().map(|room| room.name.as_deref().unwrap_or("-")).collect()
}

fn filter(json: Value) -> Filter {
    serde_json::from_value(json).unwrap()
}

/// Five rooms; the later ones have more members.
fn world() -> (World, User) {
    let world = World::new();
    let alice = world.user("alice");
    let others: Vec<User> = (0..5).map(|n| world.user(&format!("u{n}"))).collect();
    for n in 0..5 {
        let kind = if n == 3 { json!({"type": "m.space"}) } else { json!({}) };
        let room = world
            .create(
                alice,
                json!({"name": format!("Room {n}"), "topic": "Talk", "visibility": "public",
                    "creation_content": kind}),
            )
            .unwrap();
        for other in &others[..n] {
            world.join(*other, &room).unwrap();
        }
    }
    world.create(alice, json!({"name": "private"})).unwrap();
    (world, alice)
}

#[test]
fn pages_follow_one_another_both_ways_largest_rooms_first() {
    let (world, _) = world();
    let get = |since: Option<&str>, limit| {
        world.read(|view| page(view, &Query { since, limit, ..Query::default() })).unwrap()
    };
    let all = get(None, None);
    assert_eq!(listed(&all), ["Room 4", "Room 3", "Room 2", "Room 1", "Room 0"]);
    assert_eq!((all.total, all.next, all.prev), (5, None, None));
    assert_eq!(u64::from(all.rooms[0].num_joined_members), 5);
    let first = get(None, Some(2));
    assert_eq!((listed(&first), &first.prev), (vec!["Room 4", "Room 3"], &None));
    let second = get(first.next.as_deref(), Some(2));
    assert_eq!(listed(&second), ["Room 2", "Room 1"]);
    let third = get(second.next.as_deref(), Some(2));
    assert_eq!((listed(&third), &third.next), (vec!["Room 0"], &None));
    let back = get(third.prev.as_deref(), Some(2));
    assert_eq!(listed(&back), listed(&second));
    assert!(get(Some("p99"), Some(2)).rooms.is_empty());
}

#[test]
fn a_search_looks_at_name_topic_and_alias_in_any_case() {
    let (world, alice) = world();
    world.create(alice, json!({"visibility": "public", "room_alias_name": "Quiet"})).unwrap();
    let get = |wanted: Value| {
        let filter = filter(wanted);
        let page = world.read(|view| page(view, &Query { filter, ..Query::default() })).unwrap();
        listed(&page).join(" ")
    };
    assert_eq!(get(json!({"generic_search_term": "ROOM 2"})), "Room 2");
    assert_eq!(get(json!({"generic_search_term": "talk"})).matches("Room").count(), 5);
    assert_eq!(get(json!({"generic_search_term": "quiet"})), "-");
    assert_eq!(get(json!({"room_types": ["m.space"]})), "Room 3");
    assert_eq!(get(json!({"room_types": [null], "generic_search_term": "room"})).len(), 27);
    assert_eq!(get(json!({"room_types": ["m.other"]})), "");
}

#[test]
fn a_room_shows_what_it_is_now() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world
        .create(alice, json!({"visibility": "public", "name": "N", "room_alias_name": "a"}))
        .unwrap();
    let show = || {
        let page = world.read(|view| page(view, &Query::default())).unwrap();
        serde_json::to_value(&page.rooms[0]).unwrap()
    };
    assert_eq!(
        show(),
        json!({"canonical_alias": "#a:x.org", "name": "N", "num_joined_members": 1,
            "room_id": room, "world_readable": false, "guest_can_join": false})
    );
    for (kind, content) in [
        ("m.room.history_visibility", json!({"history_visibility": "world_readable"})),
        ("m.room.guest_access", json!({"guest_access": "can_join"})),
        ("m.room.join_rules", json!({"join_rule": "knock"})),
        ("m.room.avatar", json!({"url": "mxc://x.org/a"})),
        ("m.room.name", json!({"name": ""})),
    ] {
        world.set(alice, &room, kind, "", content).unwrap();
    }
    assert_eq!(
        show(),
        json!({"canonical_alias": "#a:x.org", "num_joined_members": 1, "room_id": room,
            "world_readable": true, "guest_can_join": true, "join_rule": "knock",
            "avatar_url": "mxc://x.org/a"})
    );
}

#[test]
fn only_moderators_and_administrators_publish_a_room() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    let set = |user, admin, visibility: Visibility| -> Outcome<()> {
        let room = room.clone();
        world.write(move |tx| set_visibility(tx, user, admin, &room, &visibility))
    };
    let now = || world.read(|view| visibility(view, &room)).unwrap();
    assert_eq!(now(), Visibility::Private);
    assert_eq!(set(bob, false, Visibility::Public), Err(FORBIDDEN));
    set(alice, false, Visibility::Public).unwrap();
    assert_eq!(now(), Visibility::Public);
    set(bob, true, Visibility::Private).unwrap();
    assert_eq!(now(), Visibility::Private);
    let nowhere = ruma::room_id!("!nowhere:x.org");
    assert_eq!(world.read(|view| visibility(view, nowhere)), Err((404, "M_NOT_FOUND")));
}

#[test]
fn what_is_not_ours_is_refused() {
    let world = World::new();
    let get = |server: Option<&ServerName>, since: Option<&str>| {
        world.read(|view| page(view, &Query { server, since, ..Query::default() })).map(drop)
    };
    assert_eq!(get(Some(ruma::server_name!("y.org")), None), Err((400, "M_INVALID_PARAM")));
    assert_eq!(get(Some(ruma::server_name!("x.org")), None), Ok(()));
    for token in ["", "x", "p", "p-1", "s1"] {
        assert_eq!(get(None, Some(token)), Err((400, "M_INVALID_PARAM")), "{token}");
    }
}

#[test]
fn a_page_shows_what_has_changed_since_the_last_one_was_made() {
    let (world, alice) = world();
    let get = || world.read(|view| page(view, &Query::default())).unwrap();
    let names = |page: &Page| listed(page).join(",");
    let first = get();
    assert_eq!(names(&first), "Room 4,Room 3,Room 2,Room 1,Room 0");
    let id = |n: usize| first.rooms[4 - n].room_id.clone();
    world.say(alice, &id(0), "nothing of this is shown");
    assert_eq!(names(&get()), "Room 4,Room 3,Room 2,Room 1,Room 0");
    world.set(alice, &id(0), "m.room.name", "", json!({"name": "Renamed"})).unwrap();
    for n in 10..14 {
        world.join(world.user(&format!("late{n}")), &id(1)).unwrap();
    }
    assert_eq!(names(&get()), "Room 1,Room 4,Room 3,Room 2,Renamed");
    let hide = id(4);
    world.write(move |tx| set_visibility(tx, alice, false, &hide, &Visibility::Private)).unwrap();
    let name = world.set(alice, &id(3), "m.room.name", "", json!({"name": "Secret"})).unwrap();
    world.redact(alice, &id(3), &name).unwrap();
    assert_eq!(names(&get()), "Room 1,-,Room 2,Renamed");
}

#[test]
fn a_topic_is_shown_in_plain_text_and_found() {
    let world = World::new();
    let alice = world.user("alice");
    let rich = json!({"topic": "old", "m.topic": {"m.text": [
        {"mimetype": "text/html", "body": "<b>Bread</b>"}, {"body": "Bread and butter"}]}});
    let topic = json!({"type": "m.room.topic", "content": rich});
    world.create(alice, json!({"visibility": "public", "initial_state": [topic]})).unwrap();
    let get = |term: &str| {
        let filter = filter(json!({ "generic_search_term": term }));
        world.read(|view| page(view, &Query { filter, ..Query::default() })).unwrap().rooms
    };
    assert_eq!(get("BUTTER")[0].topic.as_deref(), Some("Bread and butter"));
    assert!(get("<b>").is_empty());
    // A line of one text and a line of another are not one text.
    world.create(alice, json!({"visibility": "public", "name": "ab", "topic": "cd"})).unwrap();
    assert!(get("ab cd").is_empty() && get("cd").len() == 1);
}

#[test]
fn rooms_of_a_network_are_listed_where_it_is_asked_for() {
    let (world, alice) = world();
    let bridged = world.create(alice, json!({"name": "Bridged"})).unwrap();
    let set = |network: &'static str, visibility: Visibility| -> Outcome<()> {
        let room = bridged.clone();
        world.write(move |tx| set_network_visibility(tx, network, &room, &visibility))
    };
    let get = |network: RoomNetwork| {
        let page = world.read(|view| page(view, &Query { network, ..Query::default() })).unwrap();
        (listed(&page).join(","), page.total)
    };
    set("irc", Visibility::Public).unwrap();
    assert_eq!(get(RoomNetwork::Matrix).1, 5);
    assert_eq!(get(RoomNetwork::ThirdParty("irc".into())), ("Bridged".into(), 1));
    assert_eq!(get(RoomNetwork::ThirdParty("ir".into())).1, 0);
    assert_eq!(get(RoomNetwork::All).1, 6);
    set("irc", Visibility::Private).unwrap();
    assert_eq!(get(RoomNetwork::All).1, 5);
    assert_eq!(set("", Visibility::Public), Err((400, "M_INVALID_PARAM")));
}
