//! `cargo bench -p protocol --bench resolve`: state resolution of a large conflict. Budget: 10,000 events in 100 ms.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that fails panics")]

#[path = "../tests/dag/mod.rs"]
#[expect(dead_code, reason = "the tests' rooms; a bench needs only a part of them")]
mod dag;

use base::Event;
use dag::{CREATE, Meeting, Room, Says, State};
use divan::Bencher;
use ruma::RoomVersionId;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// A room without the state after each event: only the newest of each branch.
struct Branch {
    state: State,
    last: Event,
}

impl Branch {
    fn send(
        &mut self,
        room: &mut Room,
        sender: &str,
        kind: &'static str,
        key: &str,
        content: Value,
    ) {
        let ts = room.events.len() as u64;
        // The names of a bench's few thousand users live as long as it does.
        let sender: &'static str = Box::leak(sender.to_owned().into_boxed_str());
        let id = format!("{:08x}:x", ts.wrapping_mul(2_654_435_761) & 0xffff_ffff);
        let says = Says { sender, kind, key: key.to_owned(), content, ts, id };
        let auth = room.selected(&says, &self.state);
        self.last = room.place(&says, &[self.last], auth);
        self.state.insert(room.slot(self.last), self.last);
    }

    fn join(&mut self, room: &mut Room, user: &str, name: &str) {
        let content = json!({ "membership": "join", "displayname": name });
        self.send(room, user, "m.room.member", user, content);
    }

    fn levels(&mut self, room: &mut Room, version: &RoomVersionId, n: usize) {
        let mut users = json!({ "@b:x": 50 });
        users[format!("@mod{n}:x")] = json!(50);
        if *version != RoomVersionId::V12 {
            users["@a:x"] = json!(100);
        }
        self.send(room, "@a:x", "m.room.power_levels", "", json!({ "users": users }));
    }
}

/// Two branches that went their own ways for 10,000 state events: changes of profiles on both sides, new members on both,
/// bans on one, power levels on both.
fn parted(version: &RoomVersionId) -> (Room, [State; 2]) {
    let mut room = Room::new(version.clone(), "create:x");
    let state = State::from([(dag::pair("m.room.create", ""), CREATE)]);
    let mut trunk = Branch { state, last: CREATE };
    trunk.join(&mut room, "@a:x", "A");
    trunk.levels(&mut room, version, 0);
    let public = json!({ "join_rule": "public" });
    trunk.send(&mut room, "@a:x", "m.room.join_rules", "", public);
    trunk.join(&mut room, "@b:x", "B");
    for n in 0..3000 {
        trunk.join(&mut room, &format!("@u{n}:x"), "at first");
    }
    let mut branches = [(); 2].map(|()| Branch { state: trunk.state.clone(), last: trunk.last });
    let before = room.events.len();
    for n in 0..2500 {
        for (side, branch) in branches.iter_mut().enumerate() {
            branch.join(&mut room, &format!("@u{n}:x"), &format!("side {side}"));
            if n < 2220 {
                branch.join(&mut room, &format!("@new{side}-{n}:y"), "new");
            }
            if n % 100 == 0 {
                branch.levels(&mut room, version, n + side);
            }
            if side == 0 && n < 500 {
                let target = format!("@u{}:x", 2500 + n);
                let ban = json!({ "membership": "ban" });
                branch.send(&mut room, "@b:x", "m.room.member", &target, ban);
            }
        }
    }
    assert_eq!(room.events.len() - before, 9990, "about 10,000 events");
    let states = branches.map(|branch| branch.state);
    (room, states)
}

#[divan::bench(args = [RoomVersionId::V1, RoomVersionId::V11, RoomVersionId::V12], sample_count = 20)]
fn ten_thousand_events(bencher: Bencher<'_, '_>, version: &RoomVersionId) {
    let (room, states) = parted(version);
    let meeting = Meeting::new(&room, &states);
    meeting.settled();
    bencher.bench_local(|| meeting.resolve().0.len());
}

/// The usual case: two servers set something at the same time, in a room of thousands.
#[divan::bench(args = [RoomVersionId::V11, RoomVersionId::V12])]
fn two_topics(bencher: Bencher<'_, '_>, version: &RoomVersionId) {
    let (mut room, [one, _]) = parted(version);
    let last = Event(room.events.len() as u64 - 1);
    let states = ["one", "two"].map(|topic| {
        let mut branch = Branch { state: one.clone(), last };
        branch.send(&mut room, "@a:x", "m.room.topic", "", json!({ "topic": topic }));
        branch.state
    });
    let meeting = Meeting::new(&room, &states);
    meeting.settled();
    bencher.bench_local(|| meeting.resolve().0.len());
}
