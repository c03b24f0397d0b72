//! Corners of the gate that random histories seldom reach.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

use std::collections::BTreeSet;

use ruma::api::client::filter::RoomEventFilter;
use serde_json::Value;
use store::View;
use sync::{context::context, filter::RoomEvents, messages::Reader};
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
