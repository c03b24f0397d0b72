//! What users send whom one ignores, and what one was not there for: not in threads, not among relations (spec:
//! "Aggregations of child events", "Threading").
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

use base::Reply;
use ruma::OwnedEventId;
use serde_json::{Value, json};
use store::{Direction, View};
use sync::{messages, messages::Reader, relations, threads::threads};
use testkit::{Op, Sent, World};

const ROOM: usize = 0;
const OWNER: usize = 0;
const BOB: usize = 1;
const EVE: usize = 3;

fn done(world: &mut World, deed: Op) -> OwnedEventId {
    assert!(world.perform(&deed), "{deed:?}");
    world.events(world.rooms[ROOM].0).pop().unwrap()
}

fn ignore(world: &World, user: usize, whom: &[usize]) {
    let list: serde_json::Map<String, Value> =
        whom.iter().map(|n| (world.users[*n].1.to_string(), json!({}))).collect();
    let content = json!({"ignored_users": list}).to_string();
    let user = world.users[user].0;
    let set = world.store.write_here(move |tx| {
        let global = accounts::account_data::GLOBAL;
        accounts::account_data::set(tx, user, global, "m.ignored_user_list", &content)
    });
    set.unwrap();
}

fn read(world: &World, f: impl FnOnce(&View, &Reader<'_>) -> Reply<String>) -> Value {
    let (number, id) = &world.users[OWNER];
    let reader = Reader { user: *number, id, device: "D" };
    serde_json::from_str(&world.store.read_here(|view| f(view, &reader)).unwrap()).unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|e| e["event_id"].as_str().unwrap()).collect()
}

#[test]
fn replies_of_ignored_users_are_neither_counted_nor_the_latest_nor_related() {
    let mut world = World::new(4);
    done(&mut world, Op::Join(BOB, ROOM));
    done(&mut world, Op::Join(EVE, ROOM));
    let root = done(&mut world, Op::Send(OWNER, ROOM, Sent::Text));
    let bobs = done(&mut world, Op::Send(BOB, ROOM, Sent::Thread(0)));
    let eves = done(&mut world, Op::Send(EVE, ROOM, Sent::Thread(1)));
    let room = world.rooms[ROOM].1.clone();
    let thread = |world: &World| {
        let one = read(world, |v, r| messages::event(v, r, &room, &root));
        one["unsigned"]["m.relations"]["m.thread"].clone()
    };
    let told = thread(&world);
    assert_eq!((&told["count"], &told["latest_event"]["event_id"]), (&json!(2), &json!(eves)));
    ignore(&world, OWNER, &[EVE]);
    let told = thread(&world);
    assert_eq!((&told["count"], &told["latest_event"]["event_id"]), (&json!(1), &json!(bobs)));
    let ask = relations::Ask {
        room_id: &room,
        event_id: &root,
        rel_type: None,
        event_type: None,
        from: None,
        to: None,
        direction: Direction::Backward,
        limit: 10,
        recurse: false,
    };
    let children = read(&world, |v, r| relations::relations(v, r, &ask));
    assert_eq!(ids(&children["chunk"]), [bobs.as_str()]);
    ignore(&world, OWNER, &[EVE, BOB]);
    assert_eq!(thread(&world), Value::Null);
}

#[test]
fn the_root_of_an_ignored_user_is_listed_as_if_redacted() {
    let mut world = World::new(4);
    done(&mut world, Op::Join(EVE, ROOM));
    let root = done(&mut world, Op::Send(EVE, ROOM, Sent::Text));
    done(&mut world, Op::Send(OWNER, ROOM, Sent::Thread(0)));
    let room = world.rooms[ROOM].1.clone();
    let list = || read(&world, |v, r| threads(v, r, &room, true, None, 10))["chunk"].clone();
    assert_ne!(list()[0]["content"], json!({}));
    ignore(&world, OWNER, &[EVE]);
    assert_eq!(ids(&list()), [root.as_str()]);
    assert_eq!(list()[0]["content"], json!({}));
    assert_eq!(list()[0]["unsigned"]["m.relations"]["m.thread"]["count"], 1);
}

#[test]
fn replies_from_when_one_was_away_are_not_counted() {
    let mut world = World::new(4);
    // History for members only, from here on.
    done(&mut world, Op::History(OWNER, ROOM, 2));
    done(&mut world, Op::Join(BOB, ROOM));
    let root = done(&mut world, Op::Send(OWNER, ROOM, Sent::Text));
    done(&mut world, Op::Leave(BOB, ROOM));
    done(&mut world, Op::Send(OWNER, ROOM, Sent::Thread(1)));
    done(&mut world, Op::Join(BOB, ROOM));
    let seen = done(&mut world, Op::Send(OWNER, ROOM, Sent::Thread(3)));
    let room = world.rooms[ROOM].1.clone();
    let (number, id) = &world.users[BOB];
    let reader = Reader { user: *number, id, device: "D" };
    let one = world.store.read_here(|view| messages::event(view, &reader, &room, &root)).unwrap();
    let one: Value = serde_json::from_str(&one).unwrap();
    let thread = &one["unsigned"]["m.relations"]["m.thread"];
    assert_eq!((&thread["count"], &thread["latest_event"]["event_id"]), (&json!(1), &json!(seen)));
    let all = read(&world, |v, r| messages::event(v, r, &room, &root));
    assert_eq!(all["unsigned"]["m.relations"]["m.thread"]["count"], 2);
}
