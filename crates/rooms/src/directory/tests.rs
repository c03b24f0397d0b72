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
        world.read(|view| page(view, None, &Filter::new(), since, limit)).unwrap()
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
        let page = world.read(|view| page(view, None, &filter, None, None)).unwrap();
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
        let page = world.read(|view| page(view, None, &Filter::new(), None, None)).unwrap();
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
        world.read(|view| page(view, server, &Filter::new(), since, None)).map(drop)
    };
    assert_eq!(get(Some(ruma::server_name!("y.org")), None), Err((403, "M_UNKNOWN")));
    assert_eq!(get(Some(ruma::server_name!("x.org")), None), Ok(()));
    for token in ["", "x", "p", "p-1", "s1"] {
        assert_eq!(get(None, Some(token)), Err((400, "M_INVALID_PARAM")), "{token}");
    }
}
