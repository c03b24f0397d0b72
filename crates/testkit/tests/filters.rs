//! What the filter of `/messages` lets through by how events relate (spec: "Threading"; MSC3874).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

use ruma::OwnedEventId;
use serde_json::{Value, json};
use store::Direction;
use sync::{
    filter::RoomEvents,
    messages::{Page, Reader, messages},
};
use testkit::{Op, Sent, World};

const ROOM: usize = 0;
const OWNER: usize = 0;
const BOB: usize = 1;

fn done(world: &mut World, deed: Op) -> OwnedEventId {
    assert!(world.perform(&deed), "{deed:?}");
    world.events(world.rooms[ROOM].0).pop().unwrap()
}

fn page(world: &World, filter: Value) -> Vec<String> {
    let (number, id) = &world.users[OWNER];
    let reader = Reader { user: *number, id, device: "D" };
    let filter = RoomEvents::parse(&filter.to_string()).unwrap();
    let (room_id, direction) = (&world.rooms[ROOM].1, Direction::Forward);
    let page = Page { room_id, from: None, to: None, direction, limit: 50, filter: &filter };
    let body = world.store.read_here(|view| messages(view, &reader, &page)).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let chunk = body["chunk"].as_array().unwrap().iter();
    chunk.map(|e| e["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn threads_can_be_left_out_and_roots_picked_out() {
    let mut world = World::new(4);
    done(&mut world, Op::Join(BOB, ROOM));
    let root = done(&mut world, Op::Send(OWNER, ROOM, Sent::Text));
    let liked = done(&mut world, Op::Send(OWNER, ROOM, Sent::Text));
    let reply = done(&mut world, Op::Send(BOB, ROOM, Sent::Thread(1)));
    done(&mut world, Op::Send(OWNER, ROOM, Sent::Reaction(1)));
    let only = |mut more: Value| {
        more["types"] = json!(["m.room.message"]);
        more
    };
    let all = [root.to_string(), liked.to_string(), reply.to_string()];
    assert_eq!(page(&world, only(json!({}))), all);
    let not = json!({"org.matrix.msc3874.not_rel_types": ["m.thread"]});
    assert_eq!(page(&world, only(not)), all[..2]);
    let rel = json!({"org.matrix.msc3874.rel_types": ["m.thread"]});
    assert_eq!(page(&world, only(rel)), all[2..]);
    let roots = |by: Value| page(&world, by);
    assert_eq!(roots(json!({"related_by_rel_types": ["m.thread"]})), all[..1]);
    assert_eq!(roots(json!({"related_by_rel_types": ["m.annotation"]})), all[1..2]);
    let bob = world.users[BOB].1.to_string();
    assert_eq!(roots(json!({"related_by_senders": [bob]})), all[..1]);
    let both = json!({"related_by_senders": [bob], "related_by_rel_types": ["m.annotation"]});
    assert!(roots(both).is_empty(), "one event must be both");
    done(&mut world, Op::Redact(BOB, ROOM, 1));
    assert!(page(&world, json!({"related_by_senders": [bob]})).is_empty(), "redacted");
}
