use base::Seq;
use serde_json::{Value, json};

use super::*;
use crate::{
    members::{Wanted, joined, joined_rooms, members},
    testing::{FORBIDDEN, Outcome, World},
};

fn topic(world: &World, user: User, room: &RoomId) -> Outcome<Value> {
    let text = world.read(|view| get(view, user, room, "m.room.topic", "", false))?;
    Ok(serde_json::from_str::<Value>(&text).unwrap()["topic"].clone())
}

fn set_topic(world: &World, user: User, room: &RoomId, topic: &str) {
    world.set(user, room, "m.room.topic", "", json!({ "topic": topic })).unwrap();
}

#[test]
fn who_left_sees_the_state_of_their_leaving_whatever_became_of_them() {
    let world = World::new();
    let (alice, bob, eve) = (world.user("alice"), world.user("bob"), world.user("eve"));
    let room = world.public(alice);
    set_topic(&world, alice, &room, "before");
    world.join(bob, &room).unwrap();
    world.leave(bob, &room).unwrap();
    set_topic(&world, alice, &room, "after");
    let expect = |text: &str| assert_eq!(topic(&world, bob, &room), Ok(json!(text)));
    expect("before");
    world.invite(alice, &room, bob).unwrap();
    expect("before");
    world.leave(bob, &room).unwrap();
    expect("before");
    world.ban(alice, &room, bob).unwrap();
    expect("before");
    assert_eq!(topic(&world, alice, &room), Ok(json!("after")));
    assert_eq!(topic(&world, eve, &room), Err(FORBIDDEN));
    world.invite(alice, &room, eve).unwrap();
    assert_eq!(topic(&world, eve, &room), Err(FORBIDDEN), "an invite is no membership");
    world.leave(eve, &room).unwrap();
    assert_eq!(topic(&world, eve, &room), Err(FORBIDDEN));
}

#[test]
fn who_forgot_a_room_sees_nothing_of_it() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    world.leave(bob, &room).unwrap();
    let id = room.clone();
    world.write(move |tx| crate::forget::forget(tx, bob, &id)).unwrap();
    assert_eq!(topic(&world, bob, &room), Err(FORBIDDEN));
}

#[test]
fn anyone_sees_the_state_of_a_world_readable_room() {
    let world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let room = world.public(alice);
    set_topic(&world, alice, &room, "t");
    let world_readable = json!({"history_visibility": "world_readable"});
    world.set(alice, &room, "m.room.history_visibility", "", world_readable).unwrap();
    assert_eq!(topic(&world, eve, &room), Ok(json!("t")));
}

#[test]
fn state_that_is_not_there_is_not_found() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    assert_eq!(topic(&world, alice, &room), Err((404, "M_NOT_FOUND")));
}

#[test]
fn a_whole_event_has_its_room_and_what_it_replaced() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    set_topic(&world, alice, &room, "one");
    set_topic(&world, alice, &room, "two");
    let text = world.read(|view| get(view, alice, &room, "m.room.topic", "", true)).unwrap();
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&event["room_id"], &event["sender"]), (&json!(room), &json!("@alice:x.org")));
    assert_eq!(event["content"], json!({"topic": "two"}));
    assert_eq!(event["unsigned"]["prev_content"], json!({"topic": "one"}));
    assert!(event["unsigned"]["age"].is_u64() && event["state_key"] == "");
    let all: Vec<Value> =
        serde_json::from_str(&world.read(|view| all(view, alice, &room)).unwrap()).unwrap();
    assert_eq!(all.len(), 7);
    assert!(all.iter().any(|listed| listed["event_id"] == event["event_id"]));
}

fn names(json: &str) -> Vec<String> {
    let events: Vec<Value> = serde_json::from_str(json).unwrap();
    let mut names: Vec<_> =
        events.iter().map(|e| e["state_key"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn members_are_filtered_and_taken_at_a_position_no_later_than_ones_leaving() {
    let world = World::new();
    let (alice, bob, eve) = (world.user("alice"), world.user("bob"), world.user("eve"));
    let room = world.public(alice);
    let made = world.read(|view| Ok(view.head())).unwrap();
    world.join(bob, &room).unwrap();
    world.leave(bob, &room).unwrap();
    world.join(eve, &room).unwrap();
    let of = |user, at: Option<Seq>, membership, not_membership| {
        let wanted = Wanted { membership, not_membership };
        names(&world.read(|view| members(view, user, &room, at, wanted)).unwrap())
    };
    let (a, b, e) = ("@alice:x.org", "@bob:x.org", "@eve:x.org");
    assert_eq!(of(alice, None, None, None), [a, b, e]);
    assert_eq!(of(alice, None, Some(Standing::Join), None), [a, e]);
    assert_eq!(of(alice, None, None, Some(Standing::Join)), [b]);
    assert_eq!(of(alice, None, Some(Standing::Join), Some(Standing::Join)), [a, b, e]);
    assert_eq!(of(alice, Some(made), None, None), [a]);
    assert_eq!(of(bob, None, None, None), [a, b]);
    assert_eq!(of(bob, Some(Seq(u64::MAX - 1)), None, None), [a, b]);
    assert_eq!(of(bob, Some(made), None, None), [a]);
}

#[test]
fn joined_members_are_shown_to_those_inside_with_their_names() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    let text = world.read(|view| joined(view, alice, &room)).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found, json!({"@alice:x.org": {"display_name": "alice"}}));
    assert_eq!(world.read(|view| joined(view, bob, &room)), Err(FORBIDDEN));
    assert_eq!(world.read(|view| joined_rooms(view, alice)), Ok(vec![room]));
    assert_eq!(world.read(|view| joined_rooms(view, bob)), Ok(vec![]));
}

#[test]
fn one_types_only_for_oneself_and_only_inside() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    let permit = |user, whom| {
        let typist = world.id(whom);
        world.read(|view| crate::typing::permit(view, user, &room, &typist, 1_000_000))
    };
    let now = world.store.now();
    let (number, until) = permit(alice, alice).unwrap();
    assert_eq!(number, world.room(&room));
    assert!(until.0 > now.0 && until.0 <= now.0 + crate::typing::TYPING_MS_MAX + 10);
    assert_eq!(permit(alice, bob), Err(FORBIDDEN));
    assert_eq!(permit(bob, bob), Err(FORBIDDEN));
}
