//! The state of a room and its members, as those may read it who are in the room, have left it, or never were there.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an oracle: failing loudly is its purpose"
)]

use base::{Error, Reply, Seq};
use serde_json::{Value, json};
use store::{View, schema::Standing};
use sync::{
    heroes,
    messages::Reader,
    state::{self, Wanted},
};
use testkit::{Op, Sent, World};

/// The public room and who made it.
const ROOM: usize = 0;
const OWNER: usize = 0;
const BOB: usize = 1;
const EVE: usize = 3;

fn read<T>(
    world: &World,
    user: usize,
    f: impl FnOnce(&View, &Reader<'_>) -> Reply<T>,
) -> Result<T, (u16, &'static str)> {
    let (number, id) = &world.users[user];
    let reader = Reader { user: *number, id, device: "D" };
    world.store.read_here(|view| f(view, &reader)).map_err(|error| match error {
        Error::Refused(no) => (no.status, no.errcode),
        Error::Fault(fault) => panic!("{fault}"),
    })
}

const FORBIDDEN: (u16, &str) = (403, "M_FORBIDDEN");

fn topic(world: &World, user: usize) -> Result<Value, (u16, &'static str)> {
    let room = &world.rooms[ROOM].1;
    let text = read(world, user, |view, reader| {
        state::get(view, reader, room, ("m.room.topic", ""), false)
    })?;
    Ok(serde_json::from_str::<Value>(&text).unwrap()["topic"].clone())
}

fn whole(world: &World, user: usize, kind: &str, key: &str) -> Value {
    let room = &world.rooms[ROOM].1;
    let text = read(world, user, |v, reader| state::get(v, reader, room, (kind, key), true));
    serde_json::from_str(&text.unwrap()).unwrap()
}

fn done(world: &mut World, deeds: &[Op]) {
    for deed in deeds {
        assert!(world.perform(deed), "{deed:?}");
    }
}

#[test]
fn who_left_sees_the_state_of_their_leaving_whatever_became_of_them() {
    let mut world = World::new(4);
    done(&mut world, &[Op::Topic(OWNER, ROOM, 1), Op::Join(BOB, ROOM), Op::Leave(BOB, ROOM)]);
    done(&mut world, &[Op::Topic(OWNER, ROOM, 2)]);
    assert_eq!(topic(&world, BOB), Ok(json!("t1")));
    for deed in
        [Op::Invite(OWNER, BOB, ROOM), Op::Leave(BOB, ROOM), Op::Ban(OWNER, BOB, ROOM, false)]
    {
        done(&mut world, &[deed]);
        assert_eq!(topic(&world, BOB), Ok(json!("t1")));
    }
    assert_eq!(topic(&world, OWNER), Ok(json!("t2")));
    assert_eq!(topic(&world, EVE), Err(FORBIDDEN));
    done(&mut world, &[Op::Invite(OWNER, EVE, ROOM)]);
    assert_eq!(topic(&world, EVE), Err(FORBIDDEN), "an invite is no membership");
    done(&mut world, &[Op::Leave(EVE, ROOM)]);
    assert_eq!(topic(&world, EVE), Err(FORBIDDEN));
}

#[test]
fn who_forgot_a_room_sees_nothing_of_it_but_what_is_open_to_the_world() {
    let mut world = World::new(4);
    done(&mut world, &[Op::Topic(OWNER, ROOM, 1), Op::Join(BOB, ROOM), Op::Leave(BOB, ROOM)]);
    done(&mut world, &[Op::Forget(BOB, ROOM)]);
    assert_eq!(topic(&world, BOB), Err(FORBIDDEN));
    assert_eq!(topic(&world, OWNER), Ok(json!("t1")));
    done(&mut world, &[Op::History(OWNER, ROOM, 3)]);
    assert_eq!(topic(&world, BOB), Ok(json!("t1")));
    assert_eq!(topic(&world, EVE), Ok(json!("t1")));
}

#[test]
fn a_whole_event_has_its_room_and_what_it_replaced_if_one_may_see_that() {
    let mut world = World::new(4);
    done(&mut world, &[Op::History(OWNER, ROOM, 2), Op::Topic(OWNER, ROOM, 1)]);
    done(&mut world, &[Op::Join(BOB, ROOM), Op::Topic(OWNER, ROOM, 2)]);
    let before = world.events(world.rooms[ROOM].0);
    let first = before[before.len() - 3].to_string();
    let seen = whole(&world, OWNER, "m.room.topic", "");
    assert_eq!((&seen["content"], &seen["state_key"]), (&json!({"topic": "t2"}), &json!("")));
    assert_eq!(seen["room_id"], world.rooms[ROOM].1.as_str());
    let unsigned = &seen["unsigned"];
    assert_eq!(unsigned["prev_content"], json!({"topic": "t1"}));
    assert_eq!(
        (&unsigned["replaces_state"], &unsigned["membership"]),
        (&json!(first), &json!("join"))
    );
    // Bob came when the first topic was no longer to be seen.
    let unsigned = &whole(&world, BOB, "m.room.topic", "")["unsigned"];
    assert_eq!(unsigned["replaces_state"], first.as_str());
    assert!(unsigned.get("prev_content").is_none(), "{unsigned}");
    let room = &world.rooms[ROOM].1;
    let none = read(&world, BOB, |v, r| state::get(v, r, room, ("m.none", ""), false));
    assert_eq!(none, Err((404, "M_NOT_FOUND")));
    let all = read(&world, BOB, |v, r| state::all(v, r, room)).unwrap();
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    assert!(all.len() > 6 && all.iter().any(|e| e["event_id"] == seen["event_id"]));
}

#[test]
fn members_are_filtered_and_taken_at_a_position_no_later_than_ones_leaving() {
    let mut world = World::new(4);
    let made = world.store.read_here(|view| Ok(view.head())).unwrap();
    done(&mut world, &[Op::Join(BOB, ROOM), Op::Leave(BOB, ROOM), Op::Join(EVE, ROOM)]);
    let of = |user, at: Option<Seq>, membership, not_membership| {
        let wanted = Wanted { membership, not_membership };
        let room = &world.rooms[ROOM].1;
        let text = read(&world, user, |v, r| state::members(v, r, room, at, wanted)).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        let list = body["chunk"].as_array().unwrap();
        let mut who: Vec<u8> =
            list.iter().map(|e| e["state_key"].as_str().unwrap().as_bytes()[2] - b'0').collect();
        who.sort_unstable();
        who
    };
    assert_eq!(of(OWNER, None, None, None), [0, 1, 3]);
    assert_eq!(of(OWNER, None, Some(Standing::Join), None), [0, 3]);
    assert_eq!(of(OWNER, None, None, Some(Standing::Join)), [1]);
    assert_eq!(of(OWNER, None, Some(Standing::Join), Some(Standing::Join)), [0, 1, 3]);
    assert_eq!(of(OWNER, Some(made), None, None), [0]);
    assert_eq!(of(BOB, None, None, None), [0, 1]);
    assert_eq!(of(BOB, Some(Seq(u64::MAX - 1)), None, None), [0, 1]);
    assert_eq!(of(BOB, Some(made), None, None), [0]);
}

#[test]
fn joined_members_are_shown_to_those_inside_with_their_names() {
    let mut world = World::new(4);
    done(&mut world, &[Op::Name(OWNER, ROOM, 7)]);
    let room = &world.rooms[ROOM].1;
    let joined = |user| read(&world, user, |v, r| state::joined(v, r.user, room));
    let body: Value = serde_json::from_str(&joined(OWNER).unwrap()).unwrap();
    assert_eq!(body, json!({"joined": {"@u0:x.test": {"display_name": "n7"}}}));
    assert_eq!(joined(BOB), Err(FORBIDDEN));
}

#[test]
fn heroes_are_the_first_five_by_their_member_events_and_never_oneself() {
    let mut world = World::new(9);
    let of = |world: &World, user: usize| {
        let (number, room) = (world.users[user].0, world.rooms[ROOM].0);
        let found = world.store.read_here(|view| heroes::current(view, room, number));
        let digit = |id: ruma::OwnedUserId| id.as_str().as_bytes()[2] - b'0';
        found.unwrap().into_iter().map(digit).collect::<Vec<u8>>()
    };
    assert!(of(&world, OWNER).is_empty());
    for user in [6, 3, 8, 5] {
        done(&mut world, &[Op::Join(user, ROOM)]);
    }
    done(&mut world, &[Op::Invite(OWNER, 2, ROOM), Op::Join(7, ROOM), Op::Join(1, ROOM)]);
    assert_eq!(of(&world, OWNER), [6, 3, 8, 5, 2]);
    assert_eq!(of(&world, 6), [0, 3, 8, 5, 2]);
    // Whoever changes their name is the newest member event.
    done(&mut world, &[Op::Name(6, ROOM, 1), Op::Leave(3, ROOM)]);
    assert_eq!(of(&world, OWNER), [8, 5, 2, 7, 1]);
    for user in [8, 5, 2, 7, 1, 6] {
        done(&mut world, &[Op::Leave(user, ROOM)]);
    }
    assert_eq!(of(&world, OWNER), [3, 8, 5, 2, 7], "nobody else is left");
    done(&mut world, &[Op::Send(OWNER, ROOM, Sent::Text), Op::Join(4, ROOM)]);
    assert_eq!(of(&world, OWNER), [4]);
}
