//! Random rooms whose history comes apart and together again.

use base::Event;
use ruma::RoomVersionId;
use serde_json::{Value, json};

use super::dag::{CREATE, Room, Says, pair};

/// A small generator of numbers (xorshift), so that a seed names a room for good.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % (n as u64)).unwrap()
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Any order of these.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

const USERS: [&str; 5] = ["@a:x", "@b:x", "@c:y", "@d:z", "@e:z"];

/// A room with some members, and then `size` attempts to do something at some of its ends.
pub(crate) fn room(version: &RoomVersionId, seed: u64, size: usize) -> Room {
    let mut dice = Dice::new(seed);
    let create_id = id(&mut dice, 0);
    let mut room = Room::new(version.clone(), &create_id);
    let mut last = CREATE;
    let mut founding = vec![
        ("@a:x", "m.room.member", "@a:x", json!({ "membership": "join" })),
        ("@a:x", "m.room.power_levels", "", levels(version, &[("@b:x", 50)], 0)),
        ("@a:x", "m.room.join_rules", "", json!({ "join_rule": "public" })),
        ("@b:x", "m.room.member", "@b:x", json!({ "membership": "join" })),
    ];
    founding.push(("@c:y", "m.room.member", "@c:y", json!({ "membership": "join" })));
    for (n, (sender, kind, key, content)) in founding.into_iter().enumerate() {
        let id = id(&mut dice, n + 1);
        let says = Says { sender, kind, key: key.to_owned(), content, ts: n as u64, id };
        last = room.send(&says, &[last]).unwrap();
    }
    let mut ends = vec![last];
    for n in 0..size {
        let says = deed(&mut dice, version, n + 6);
        let mut prev: Vec<Event> = Vec::new();
        // Sometimes one end, sometimes the join of several, sometimes a new branch from the past.
        let from_past = dice.below(4) == 0;
        for _ in 0..=dice.below(3) {
            // Seldom from before there were members and power levels.
            let first = if dice.below(10) == 0 { 0 } else { last.0 };
            let past = || (first..room.events.len() as u64).map(Event).collect::<Vec<_>>();
            let event = if from_past { *dice.one(&past()) } else { *dice.one(&ends) };
            if !prev.contains(&event) {
                prev.push(event);
            }
        }
        let known = room.state_after(&prev);
        // Who is not in the room has little to say.
        let member = known.contains_key(&pair("m.room.member", says.sender));
        if !member && says.kind != "m.room.member" {
            continue;
        }
        if let Some(event) = room.send(&says, &prev) {
            ends.retain(|end| !prev.contains(end));
            ends.push(event);
        }
    }
    room
}

/// Ids in no order.
fn id(dice: &mut Dice, n: usize) -> String {
    format!("{:03}-{n}:x", dice.below(1000))
}

fn levels(version: &RoomVersionId, users: &[(&str, i64)], invite: i64) -> Value {
    let creator = (*version != RoomVersionId::V12).then_some(("@a:x", 100));
    let users: serde_json::Map<String, Value> = creator
        .iter()
        .chain(users)
        .map(|(user, level)| ((*user).to_owned(), json!(level)))
        .collect();
    json!({ "users": users, "invite": invite, "events": { "m.room.topic": 0 } })
}

fn deed(dice: &mut Dice, version: &RoomVersionId, n: usize) -> Says {
    let sender = *dice.one(&USERS);
    let other = *dice.one(&USERS);
    let member = |membership: &str| json!({ "membership": membership });
    let (kind, key, content) = match dice.below(16) {
        0..=2 => ("m.room.member", sender, json!({ "membership": "join", "displayname": n })),
        3 => ("m.room.member", sender, member(["leave", "knock"][dice.below(2)])),
        4 => ("m.room.member", other, member("invite")),
        5 => ("m.room.member", other, member("leave")),
        6 | 7 => ("m.room.member", other, member("ban")),
        8..=10 => {
            let to = *dice.one(&[0, 25, 50, 75, 100]);
            let users = [("@b:x", *dice.one(&[0, 50, 50, 100])), (other, to)];
            ("m.room.power_levels", "", levels(version, &users, *dice.one(&[0, 0, 50])))
        }
        11 | 12 => {
            let rule = *dice.one(&["public", "public", "invite", "knock"]);
            ("m.room.join_rules", "", json!({ "join_rule": rule }))
        }
        13 => ("m.room.name", "", json!({ "name": n })),
        14 => ("m.room.topic", "", json!({ "topic": n })),
        _ => ("m.mine", sender, json!({ "n": n })),
    };
    // Clocks differ, and some are the same.
    let ts = (n + dice.below(8)) as u64;
    Says { sender, kind, key: key.to_owned(), content, ts, id: id(dice, n) }
}
