//! Corners of the gate that random histories seldom reach.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

use std::collections::BTreeSet;

use base::{Error, UnixMs};
use ruma::api::client::filter::RoomEventFilter;
use serde_json::Value;
use store::{Direction, View};
use sync::{by_time, context::context, filter::RoomEvents, messages, messages::Reader};
use testkit::{Op, Sent, World, naive};

/// The room with history for members only, and who made it.
const ROOM: usize = 2;
const OWNER: usize = 2;

/// The ids of the state that a user is shown around the newest event, and of all that there is.
fn state(world: &World, user: usize) -> (BTreeSet<String>, BTreeSet<String>) {
    let (number, id) = &world.users[user];
    let (room, room_id) = &world.rooms[ROOM];
    let newest = world.events(*room).pop().unwrap();
    let reader = Reader { user: *number, id, device: "D" };
    let filter = RoomEvents::compile(&RoomEventFilter::default());
    let read = |view: &View| {
        let body = context(view, &reader, room_id, &newest, 10, &filter)?;
        Ok((body, naive(view, *room, id)?.1.into_values().collect()))
    };
    let (body, all) = world.store.read_here(read).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let shown = body["state"].as_array().unwrap().iter();
    (shown.map(|e| e["event_id"].as_str().unwrap().to_owned()).collect(), all)
}

#[test]
fn who_is_invited_is_not_shown_the_state_that_members_made_before() {
    let mut world = World::new(4);
    world.perform(&Op::Topic(OWNER, ROOM, 1));
    world.perform(&Op::History(OWNER, ROOM, 1));
    world.perform(&Op::Invite(OWNER, 0, ROOM));
    let invite = world.events(world.rooms[ROOM].0).pop().unwrap().to_string();
    let (shown, all) = state(&world, 0);
    assert!(all.len() > 6);
    assert_eq!(shown, [invite].into(), "the invite is all that they may see");
    assert_eq!(state(&world, OWNER).0, all, "a member knows the state");
}

#[test]
fn where_history_is_world_readable_anyone_may_see_the_state() {
    let mut world = World::new(4);
    world.perform(&Op::History(OWNER, ROOM, 3));
    world.perform(&Op::Send(OWNER, ROOM, Sent::Text));
    let (shown, all) = state(&world, 1);
    assert_eq!(shown, all);
}

#[test]
fn who_forgot_a_room_sees_its_events_as_one_who_was_never_there() {
    let mut world = World::new(4);
    let (number, id) = world.users[0].clone();
    let room = world.rooms[ROOM].1.clone();
    let sees = |world: &World, event: &ruma::EventId| {
        let reader = Reader { user: number, id: &id, device: "D" };
        match world.store.read_here(|view| messages::event(view, &reader, &room, event)) {
            Ok(_) => true,
            Err(Error::Refused(no)) => no.errcode != "M_NOT_FOUND",
            Err(_) => true,
        }
    };
    let done = |world: &mut World, op: Op| {
        assert!(world.perform(&op), "{op:?}");
        world.events(world.rooms[ROOM].0).pop().unwrap()
    };
    done(&mut world, Op::Join(0, ROOM));
    let said = done(&mut world, Op::Send(OWNER, ROOM, Sent::Text));
    done(&mut world, Op::Leave(0, ROOM));
    assert!(sees(&world, &said), "who left sees what they saw");
    done(&mut world, Op::Forget(0, ROOM));
    assert!(!sees(&world, &said));
    done(&mut world, Op::Invite(OWNER, 0, ROOM));
    assert!(!sees(&world, &said), "an invite alone brings nothing back");
    done(&mut world, Op::Join(0, ROOM));
    assert!(sees(&world, &said));
}

#[test]
fn a_moment_is_found_behind_many_hidden_events() {
    let mut world = World::new(4);
    let begun = world.store.now().0 + 1;
    for _ in 0..100 {
        assert!(world.perform(&Op::Send(OWNER, ROOM, Sent::Text)));
    }
    assert!(world.perform(&Op::Join(0, ROOM)));
    let joined = world.events(world.rooms[ROOM].0).pop().unwrap();
    let (number, id) = &world.users[0];
    let reader = Reader { user: *number, id, device: "D" };
    let room = &world.rooms[ROOM].1;
    let found = world
        .store
        .read_here(|view| by_time::nearest(view, &reader, room, UnixMs(begun), Direction::Forward));
    let found: Value = serde_json::from_str(&found.unwrap()).unwrap();
    assert_eq!(found["event_id"], joined.as_str());
}
