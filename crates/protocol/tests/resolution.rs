//! State resolution against oracles, over random rooms; and that it depends on nothing but the events.
//!
//! `CASES=100000 cargo test -p protocol --test resolution` looks harder; `SEED=n` begins elsewhere.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

#[path = "dag/mod.rs"]
mod dag;
#[path = "dag/oracle.rs"]
mod oracle;
#[path = "dag/random.rs"]
mod random;

use std::collections::HashMap;

use base::Event;
use dag::{Room, Says, State};
use protocol::resolve::{Conflict, Resolution, Step};
use protocol::version::SUPPORTED;
use random::Dice;
use ruma::RoomVersionId;
use ruma::room_version_rules::StateResolutionVersion;
use serde_json::{Value, json};

/// How many things somebody tries in a room: few enough for 10,000 rooms, enough to come apart several times.
const DEEDS: usize = 18;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Random rooms, as many as `CASES` says, the work shared by two threads.
fn each_room(usually: u64, check: impl Fn(u64, &Room) + Sync) {
    let (seed, cases) = (number("SEED", 1), number("CASES", usually));
    std::thread::scope(|scope| {
        for half in 0..2 {
            let check = &check;
            scope.spawn(move || {
                for case in (seed..seed + cases).filter(|case| case % 2 == half) {
                    let pick = usize::try_from(case).unwrap() % SUPPORTED.len();
                    check(case, &random::room(&SUPPORTED[pick], case, DEEDS));
                }
            });
        }
    });
}

/// Each set of states that was ever resolved in a room: before each event, and at its ends.
fn meetings(room: &Room) -> Vec<Vec<State>> {
    let prevs = room.events.iter().map(|made| made.prev.clone()).chain([room.ends()]);
    let several = prevs.filter(|prev| prev.len() > 1);
    several.map(|prev| prev.iter().map(|e| room.get(*e).after.clone()).collect()).collect()
}

#[test]
fn states_resolve_as_the_oracles_do() {
    each_room(4_000, |case, room| {
        for states in meetings(room) {
            let expected = match room.rules.state_res {
                StateResolutionVersion::V1 => oracle::version_1(room, &states),
                _ => oracle::ruma(room, &states),
            };
            let (found, _) = room.resolve(&states);
            assert_eq!(room.ids(&found), room.ids(&expected), "SEED={case} CASES=1");
        }
    });
}

/// The same events, received by another server in another order.
fn received_again(room: &Room, dice: &mut Dice) -> Room {
    let mut again = Room {
        version: room.version.clone(),
        rules: room.rules.clone(),
        id: room.id.clone(),
        events: Vec::new(),
    };
    let mut numbers: HashMap<Event, Event> = HashMap::new();
    let mut waiting: Vec<Event> = (0..room.events.len() as u64).map(Event).collect();
    while !waiting.is_empty() {
        let known = |events: &[Event]| events.iter().all(|e| numbers.contains_key(e));
        let ready: Vec<usize> = (0..waiting.len())
            .filter(|at| {
                let made = room.get(waiting[*at]);
                known(&made.prev) && known(&made.known.auth)
            })
            .collect();
        let event = waiting.swap_remove(*dice.one(&ready));
        let made = room.get(event);
        let mut here: Vec<Event> = made.prev.iter().map(|e| numbers[e]).collect();
        dice.shuffle(&mut here);
        let mut known = made.known.clone();
        known.auth = known.auth.iter().map(|e| numbers[e]).collect();
        let number = Event(again.events.len() as u64);
        let mut after = if here.is_empty() { State::new() } else { again.state_after(&here) };
        again.events.push(dag::Made { known, prev: here, after: State::new() });
        after.insert(again.slot(number), number);
        again.events.last_mut().unwrap().after = after;
        numbers.insert(event, number);
    }
    again
}

#[test]
fn servers_that_hold_the_same_events_hold_the_same_state_in_whatever_order_they_came() {
    each_room(10_000, |case, room| {
        let here = room.ids(&room.state_after(&room.ends()));
        let mut dice = Dice::new(case ^ 0x5555);
        let there = received_again(room, &mut dice);
        let mut ends = there.ends();
        dice.shuffle(&mut ends);
        assert_eq!(there.ids(&there.state_after(&ends)), here, "SEED={case} CASES=1");
    });
}

/// Something that `sender` says in a room of its tests' own making; the time is the number of the event.
fn says(room: &Room, sender: &'static str, kind: &'static str, key: &str, content: Value) -> Says {
    let ts = room.events.len() as u64;
    Says { sender, kind, key: key.to_owned(), content, ts, id: format!("e{ts:06}:x") }
}

/// Sends it; the room must allow it.
#[track_caller]
fn sent(
    room: &mut Room,
    prev: &[Event],
    (sender, kind, key): (&'static str, &'static str, &str),
    content: Value,
) -> Event {
    let says = says(room, sender, kind, key, content);
    room.send(&says, prev).unwrap()
}

const JOIN: &str = "m.room.member";

/// A public room of `@a:x`, in which `@b:x` is a moderator.
fn small(version: RoomVersionId) -> (Room, Event) {
    let mut room = Room::new(version.clone(), "create:x");
    let join = json!({ "membership": "join" });
    let mut last = sent(&mut room, &[dag::CREATE], ("@a:x", JOIN, "@a:x"), join.clone());
    let mut users = json!({ "@b:x": 50 });
    if version != RoomVersionId::V12 {
        users["@a:x"] = json!(100);
    }
    let levels = json!({ "users": users, "events": { "m.room.topic": 0 } });
    last = sent(&mut room, &[last], ("@a:x", "m.room.power_levels", ""), levels);
    let rule = json!({ "join_rule": "public" });
    last = sent(&mut room, &[last], ("@a:x", "m.room.join_rules", ""), rule);
    last = sent(&mut room, &[last], ("@b:x", JOIN, "@b:x"), join.clone());
    last = sent(&mut room, &[last], ("@c:y", JOIN, "@c:y"), join);
    (room, last)
}

#[test]
fn what_is_asked_for_grows_with_the_conflict_and_not_with_the_room() {
    for version in [RoomVersionId::V1, RoomVersionId::V11, RoomVersionId::V12] {
        let mut costs = Vec::new();
        for members in [10, 1000] {
            let (mut room, mut last) = small(version.clone());
            // All that happens before the fork; what a state holds is not copied for each event.
            let mut state = room.get(last).after.clone();
            for n in 0..members {
                let topic = json!({ "topic": n });
                let topic = says(&room, "@a:x", "m.room.topic", "", topic);
                let auth = room.selected(&topic, &state);
                last = room.place(&topic, &[last], auth);
                state.insert(room.slot(last), last);
                let invite = json!({ "membership": "invite" });
                let invite = says(&room, "@a:x", JOIN, &format!("@m{n}:y"), invite);
                let auth = room.selected(&invite, &state);
                last = room.place(&invite, &[last], auth);
                state.insert(room.slot(last), last);
            }
            room.events.last_mut().unwrap().after = state;
            let ban = json!({ "membership": "ban" });
            let one = sent(&mut room, &[last], ("@a:x", JOIN, "@b:x"), ban);
            let name = json!({ "name": "by the moderator" });
            let two = sent(&mut room, &[last], ("@b:x", "m.room.name", ""), name);
            let states = [one, two].map(|event| room.get(event).after.clone());
            let (resolved, cost) = room.resolve(&states);
            assert_eq!(resolved[&dag::pair(JOIN, "@b:x")], one);
            // In version 1, what only one side has is no conflict.
            let name = resolved.contains_key(&dag::pair("m.room.name", ""));
            assert_eq!(name, version == RoomVersionId::V1);
            costs.push(cost);
        }
        assert_eq!(costs[0], costs[1], "version {version}");
        assert!(costs[0].events < 12 && costs[0].slots < 12 && costs[0].steps < 12, "{costs:?}");
    }
}

#[test]
fn a_rejected_auth_event_authorises_nothing() {
    for version in [RoomVersionId::V2, RoomVersionId::V11, RoomVersionId::V12] {
        for rejected in [false, true] {
            let (mut room, last) = small(version.clone());
            let topic = json!({ "topic": "by the moderator, which nobody doubts" });
            let last = sent(&mut room, &[last], ("@b:x", "m.room.topic", ""), topic);
            let name = json!({ "name": "by the moderator" });
            let name = sent(&mut room, &[last], ("@b:x", "m.room.name", ""), name);
            // No state says that the moderator is in the room: only the event's own auth events do.
            let states = [name, last].map(|event| {
                let mut state = room.get(event).after.clone();
                state.remove(&dag::pair(JOIN, "@b:x"));
                state
            });
            let by_moderator = |made: &&mut dag::Made| made.known.pdu.sender == "@b:x";
            room.events.iter_mut().find(by_moderator).unwrap().known.rejected = rejected;
            let (resolved, _) = room.resolve(&states);
            assert_eq!(resolved.contains_key(&dag::pair("m.room.name", "")), !rejected);
        }
    }
}

#[test]
fn version_12_puts_creators_before_any_number() {
    // The creator and a user of the highest number change the levels at the same time, the user earlier by the clock.
    let (mut room, last) = small(RoomVersionId::V12);
    let most = 9_007_199_254_740_991_i64;
    let levels = json!({ "users": { "@b:x": most } });
    let last = sent(&mut room, &[last], ("@a:x", "m.room.power_levels", ""), levels);
    let by_user = json!({ "users": { "@b:x": most, "@c:y": 50 } });
    let by_user = sent(&mut room, &[last], ("@b:x", "m.room.power_levels", ""), by_user);
    let by_creator = json!({ "users": {} });
    let by_creator = sent(&mut room, &[last], ("@a:x", "m.room.power_levels", ""), by_creator);
    let states = [by_user, by_creator].map(|event| room.get(event).after.clone());
    let (resolved, _) = room.resolve(&states);
    assert_eq!(resolved[&dag::pair("m.room.power_levels", "")], by_creator);
}

#[test]
fn what_is_not_told_is_asked_for_again_and_too_many_states_are_refused() {
    let (room, _) = small(RoomVersionId::V11);
    let conflict = |states| Conflict {
        create: dag::CREATE,
        states,
        slots: vec![vec![Some(Event(1)); states]],
    };
    let mut machine = Resolution::new(&room.rules, conflict(2)).unwrap();
    let first = machine.step();
    assert!(matches!(&first, Step::Missing(missing) if missing.events == [dag::CREATE, Event(1)]));
    assert_eq!(machine.step(), first);
    assert!(Resolution::new(&room.rules, conflict(protocol::resolve::STATES_MAX + 1)).is_err());
}
