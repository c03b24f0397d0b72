use serde_json::{Value, json};
use store::schema::Thread;

use super::*;
use crate::testing::World;

fn reply(root: &ruma::EventId) -> Value {
    json!({"body": "r", "m.relates_to": {"rel_type": "m.thread", "event_id": root}})
}

fn reaction(to: &ruma::EventId, key: &str) -> Value {
    json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": to, "key": key}})
}

fn thread(world: &World, room: &ruma::RoomId, root: &ruma::OwnedEventId) -> Option<Thread> {
    let (room, root) = (world.room(room), world.number(root));
    world.read(|view| view.get(&THREADS, (room, root))).unwrap()
}

#[test]
fn a_threads_summary_follows_its_replies_and_their_redactions() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    let root = world.say(alice, &room, "root");
    assert_eq!(thread(&world, &room, &root), None);
    let send = |user| world.send(user, &room, "m.room.message", reply(&root)).unwrap();
    let (first, second, third) = (send(alice), send(bob), send(alice));
    let n = |id: &ruma::OwnedEventId| world.number(id);
    let summary = |count, latest, participants| Some(Thread { count, latest, participants });
    let now = || thread(&world, &room, &root);
    assert_eq!(now(), summary(3, n(&third), vec![alice, bob]));
    world.redact(alice, &room, &third).unwrap();
    assert_eq!(now(), summary(2, n(&second), vec![alice, bob]));
    world.redact(alice, &room, &third).unwrap();
    assert_eq!(now(), summary(2, n(&second), vec![alice, bob]), "once is enough");
    world.redact(alice, &room, &first).unwrap();
    assert_eq!(now(), summary(1, n(&second), vec![bob]));
    world.redact(bob, &room, &second).unwrap();
    assert_eq!(now(), None);
    let again = send(bob);
    assert_eq!(now(), summary(1, n(&again), vec![bob]));
}

#[test]
fn children_stand_under_their_parent_in_timeline_order() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    let root = world.say(alice, &room, "root");
    let first = world.send(alice, &room, "m.reaction", reaction(&root, "+")).unwrap();
    let second = world.send(alice, &room, "m.room.message", reply(&root)).unwrap();
    let number = world.number(&root);
    let rows: Vec<((Event, Seq), Relation)> =
        world.read(|view| view.under(&RELATIONS, (number,), 10)).unwrap();
    let rows: Vec<_> = rows.into_iter().map(|((_, seq), r)| (seq, r)).collect();
    for (id, kind, rel_type, (seq, row)) in [
        (&first, "m.reaction", "m.annotation", &rows[0]),
        (&second, "m.room.message", "m.thread", &rows[1]),
    ] {
        let child = world.number(id);
        assert_eq!(world.read(|view| event::order(view, child)).unwrap(), Some(*seq));
        let (kind, rel_type) = (kind.to_owned(), rel_type.to_owned());
        assert_eq!(*row, Relation { child, rel_type: rel_type.clone(), kind, sender: alice });
        assert_eq!(world.event(id).row.relates, Some((number, rel_type)));
    }
}

#[test]
fn an_annotation_is_made_once_until_it_is_redacted() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.join(bob, &room).unwrap();
    let target = world.say(alice, &room, "target");
    let other = world.say(alice, &room, "other");
    let react = |user, kind: &str, to: &ruma::OwnedEventId, key: &str| {
        world.send(user, &room, kind, reaction(to, key))
    };
    let first = react(alice, "m.reaction", &target, "👍").unwrap();
    assert_eq!(react(alice, "m.reaction", &target, "👍"), Err((400, "M_DUPLICATE_ANNOTATION")));
    assert!(react(alice, "m.reaction", &target, "👎").is_ok());
    assert!(react(alice, "m.other", &target, "👍").is_ok());
    assert!(react(alice, "m.reaction", &other, "👍").is_ok());
    assert!(react(bob, "m.reaction", &target, "👍").is_ok());
    world.redact(alice, &room, &first).unwrap();
    assert!(react(alice, "m.reaction", &target, "👍").is_ok());
}

#[test]
fn a_thread_does_not_start_at_a_child() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    let root = world.say(alice, &room, "root");
    let child = world.send(alice, &room, "m.room.message", reply(&root)).unwrap();
    let nested = world.send(alice, &room, "m.room.message", reply(&child));
    assert_eq!(nested, Err((400, "M_UNKNOWN")));
    let answer = json!({"m.relates_to": {"m.in_reply_to": {"event_id": root}}});
    let answer = world.send(alice, &room, "m.room.message", answer).unwrap();
    assert!(world.send(alice, &room, "m.room.message", reply(&answer)).is_ok());
}

#[test]
fn an_event_of_another_room_is_no_parent() {
    let world = World::new();
    let alice = world.user("alice");
    let (here, there) = (world.public(alice), world.public(alice));
    let root = world.say(alice, &there, "root");
    let child = world.send(alice, &here, "m.room.message", reply(&root)).unwrap();
    assert_eq!(world.event(&child).row.relates, None);
    assert_eq!(thread(&world, &there, &root), None);
    let unknown = ruma::owned_event_id!("$unknown");
    let child = world.send(alice, &here, "m.room.message", reply(&unknown)).unwrap();
    assert_eq!(world.event(&child).row.relates, None);
}
