//! Lazy-loaded members are told once, and again whenever the client may not have them (spec: "Lazy-loading room members").
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

use std::sync::Arc;

use ruma::api::client::filter::FilterDefinition;
use serde_json::{Value, json};
use store::Direction;
use sync::{
    Token,
    filter::RoomEvents,
    messages::{Page, Reader, messages},
    v3::{Ask, Compiled, LOG_SCAN_MAX, StateAfter, sync},
};
use testkit::{Op, Sent, World};

/// The public room and who made it.
const ROOM: usize = 0;
const OWNER: usize = 0;
const BOB: usize = 1;
const EVE: usize = 3;

struct Device<'a> {
    world: &'a World,
    redundant: bool,
    name: &'a str,
}

impl Device<'_> {
    /// The token of an answer, and whose membership its state tells.
    fn sync(&self, since: Option<Token>) -> (Token, Vec<String>) {
        let lazy = json!({"lazy_load_members": true, "include_redundant_members": self.redundant});
        let filter: FilterDefinition =
            serde_json::from_value(json!({"room": {"state": lazy}})).unwrap();
        let (user, user_id) = self.world.users[OWNER].clone();
        let ask = Ask {
            user,
            user_id,
            device: self.name.to_owned(),
            since,
            full_state: false,
            state_after: StateAfter::No,
            filter: Arc::new(Compiled::new(&filter)),
            log_scan_max: LOG_SCAN_MAX,
        };
        let answer = self.world.store.read_here(|view| sync(view, &ask)).unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let room = &body["rooms"]["join"][self.world.rooms[ROOM].1.as_str()];
        let next = Token::parse(body["next_batch"].as_str().unwrap()).unwrap();
        (next, members(&room["state"]["events"]))
    }
}

fn members(list: &Value) -> Vec<String> {
    let members = list.as_array().into_iter().flatten().filter(|e| e["type"] == "m.room.member");
    let mut whose: Vec<String> =
        members.map(|e| e["state_key"].as_str().unwrap()[1..3].to_owned()).collect();
    whose.sort();
    whose
}

fn world() -> World {
    let mut world = World::new(4);
    for user in [BOB, EVE] {
        assert!(world.perform(&Op::Join(user, ROOM)));
    }
    // A name, so that nobody stands for the room; and what was before lies far behind.
    for _ in 0..20 {
        assert!(world.perform(&Op::Send(OWNER, ROOM, Sent::Text)));
    }
    world
}

fn says(world: &mut World, user: usize) {
    assert!(world.perform(&Op::Send(user, ROOM, Sent::Text)));
}

#[test]
fn who_speaks_again_is_not_introduced_again() {
    let mut world = world();
    let of = |world: &World, since| Device { world, redundant: false, name: "D" }.sync(since);
    let (first, told) = of(&world, None);
    // Heroes, too, are told in the first answer.
    assert_eq!(told, ["u0", "u1", "u3"]);
    says(&mut world, BOB);
    let (second, told) = of(&world, Some(first));
    assert!(told.is_empty(), "{told:?}");
    // Whoever wants everybody is told.
    let all = Device { world: &world, redundant: true, name: "R" };
    assert_eq!(all.sync(Some(first)).1, ["u1"]);
    // Another device has not been told.
    let other = Device { world: &world, redundant: false, name: "E" };
    assert_eq!(other.sync(Some(first)).1, ["u1"]);
    // A new name is told by the timeline, and known from then on.
    assert!(world.perform(&Op::Name(BOB, ROOM, 5)));
    let (third, _) = of(&world, Some(second));
    says(&mut world, BOB);
    assert!(of(&world, Some(third)).1.is_empty());
}

#[test]
fn what_an_answer_told_that_was_lost_is_told_again() {
    let mut world = world();
    let device = |world: &World, since| Device { world, redundant: false, name: "D" }.sync(since);
    let start = world.store.read_here(|view| Ok(Token::at(view.head()))).unwrap();
    says(&mut world, BOB);
    assert_eq!(device(&world, Some(start)).1, ["u1"]);
    assert_eq!(device(&world, Some(start)).1, ["u1"], "the client asks once more");
    says(&mut world, EVE);
    let (got, told) = device(&world, Some(start));
    assert_eq!(told, ["u1", "u3"]);
    says(&mut world, BOB);
    says(&mut world, EVE);
    assert!(device(&world, Some(got)).1.is_empty(), "with its token, an answer has arrived");
    // A client that has lost its memory begins anew.
    assert_eq!(device(&world, None).1, ["u0", "u1", "u3"]);
    assert_eq!(device(&world, Some(start)).1, ["u1", "u3"], "or goes back");
}

#[test]
fn only_what_the_client_has_for_sure_is_left_out() {
    // Too many to be heroes all of them.
    let mut world = World::new(9);
    for user in (1..9).filter(|user| *user != BOB).chain([BOB]) {
        assert!(world.perform(&Op::Join(user, ROOM)));
    }
    let device = |world: &World, since| Device { world, redundant: false, name: "D" }.sync(since);
    let now = |world: &World| world.store.read_here(|view| Ok(Token::at(view.head()))).unwrap();
    let start = now(&world);
    says(&mut world, BOB);
    assert_eq!(device(&world, Some(start)).1, ["u1"]);
    // A later token, but not the one of that answer.
    says(&mut world, EVE);
    let other = now(&world);
    says(&mut world, BOB);
    let (arrived, told) = device(&world, Some(other));
    assert_eq!(told, ["u1"]);
    says(&mut world, BOB);
    assert!(device(&world, Some(arrived)).1.is_empty());
    // Back to the beginning, and on from an answer that had no room for u1.
    for _ in 0..12 {
        says(&mut world, EVE);
    }
    let (back, told) = device(&world, Some(start));
    assert!(!told.contains(&"u1".to_owned()), "{told:?}");
    says(&mut world, BOB);
    let (sure, told) = device(&world, Some(back));
    assert_eq!(told, ["u1"]);
    says(&mut world, BOB);
    assert!(device(&world, Some(sure)).1.is_empty());
    // Whoever begins anew has forgotten everything.
    for _ in 0..12 {
        says(&mut world, EVE);
    }
    let (anew, told) = device(&world, None);
    assert!(!told.contains(&"u1".to_owned()), "{told:?}");
    says(&mut world, BOB);
    assert_eq!(device(&world, Some(anew)).1, ["u1"]);
}

#[test]
fn pages_that_follow_each_other_bring_a_member_once() {
    let mut world = world();
    for user in [BOB, EVE, BOB, BOB, EVE, BOB] {
        says(&mut world, user);
    }
    let (number, id) = &world.users[OWNER];
    let reader = Reader { user: *number, id, device: "D" };
    let page = |from: Option<Token>, filter: &str| {
        let filter = RoomEvents::parse(filter).unwrap();
        let (room_id, direction) = (&world.rooms[ROOM].1, Direction::Backward);
        let page = Page { room_id, from, to: None, direction, limit: 2, filter: &filter };
        let body = world.store.read_here(|view| messages(view, &reader, &page)).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        let end = Token::parse(body["end"].as_str().unwrap()).unwrap();
        (Some(end), members(&body["state"]))
    };
    let lazy = r#"{"lazy_load_members":true}"#;
    let (second, told) = page(None, lazy);
    assert_eq!(told, ["u1", "u3"]);
    let (third, told) = page(second, lazy);
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(page(third, lazy).1, Vec::<String>::new());
    assert_eq!(page(second, lazy).1, ["u1"], "not where the last page ended: begun anew");
    let all = r#"{"lazy_load_members":true,"include_redundant_members":true}"#;
    let (second, _) = page(None, all);
    assert_eq!(page(second, all).1, ["u1"]);
}
