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
use dag::{Room, State};
use random::Dice;
use ruma::RoomVersionId;
use ruma::room_version_rules::StateResolutionVersion;

const VERSIONS: [RoomVersionId; 6] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V6,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// How many things somebody tries in a room: few enough for 10,000 rooms, enough to come apart several times.
const DEEDS: usize = 18;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Random rooms, the work shared by two threads.
fn each_room(check: impl Fn(u64, &Room) + Sync) {
    let (seed, cases) = (number("SEED", 1), number("CASES", 10_000));
    std::thread::scope(|scope| {
        for half in 0..2 {
            let check = &check;
            scope.spawn(move || {
                for case in (seed..seed + cases).filter(|case| case % 2 == half) {
                    let pick = usize::try_from(case).unwrap() % VERSIONS.len();
                    check(case, &random::room(&VERSIONS[pick], case, DEEDS));
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
    let (met, differing) = (std::sync::Mutex::new(0), std::sync::Mutex::new(0));
    each_room(|case, room| {
        for states in meetings(room) {
            let expected = match room.rules.state_res {
                StateResolutionVersion::V1 => oracle::version_1(room, &states),
                _ => oracle::ruma(room, &states),
            };
            let (found, cost) = room.resolve(&states);
            assert_eq!(room.ids(&found), room.ids(&expected), "SEED={case} CASES=1");
            *met.lock().unwrap() += 1;
            *differing.lock().unwrap() += u32::from(cost.steps > 0);
        }
    });
    println!("{:?} meetings, {:?} of them conflicts", met, differing);
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
    each_room(|case, room| {
        let here = room.ids(&room.state_after(&room.ends()));
        let mut dice = Dice::new(case ^ 0x5555);
        let there = received_again(room, &mut dice);
        let mut ends = there.ends();
        dice.shuffle(&mut ends);
        assert_eq!(there.ids(&there.state_after(&ends)), here, "SEED={case} CASES=1");
    });
}
