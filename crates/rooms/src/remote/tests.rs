//! Servers that hold the same events hold the same room, whatever the order in which they came.

mod partial;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde_json::{Value, json};
use store::{
    event, room,
    schema::{MEMBERS, Member, SERVERS, Standing, TIMELINE},
    state::{self, Part},
    user,
};

use super::*;
use crate::testing::World;
use base::{Room, Seq, User};

/// Every event of a room's timeline, in its order, as other servers get them.
fn pdus(world: &World, id: &OwnedRoomId) -> Vec<Pdu> {
    let room = world.room(id);
    let rows = world
        .read(|view| {
            let (from, to) = ((room, Seq::ZERO), (room, Seq::MAX));
            view.range(&TIMELINE, from, to, store::Direction::Forward, 10_000)
        })
        .unwrap();
    rows.into_iter().map(|(_, event)| pdu(world, id, event)).collect()
}

fn pdu(world: &World, id: &OwnedRoomId, event: Event) -> Pdu {
    world
        .read(|view| {
            let info = room::info(view, world.room(id))?;
            let version = crate::ground::version(&info)?;
            let (stored, rest) = (event::load(view, event)?, event::rest(view, event)?);
            let text = protocol::pdu::join(&version, id, stored.client(), &rest)?;
            protocol::pdu::parse(&version, &text)
        })
        .unwrap()
}

/// Brings a room to a world that has not heard of it, by the creator's join and what came before it.
fn found(world: &World, version: &RoomVersionId, events: &[Pdu]) -> Room {
    let (version, create, join) = (version.clone(), events[0].clone(), events[1].clone());
    world
        .write(move |tx| {
            let room = know(tx, &create.room_id, &version, Some(&create))?;
            let create = event::find(tx, &create.event_id)?.unwrap();
            enter(tx, room, &join, &[create], None)?;
            Ok(room)
        })
        .unwrap()
}

fn receives(world: &World, room: Room, pdu: &Pdu) -> Outcome {
    let pdu = pdu.clone();
    world.write(move |tx| receive(tx, room, &pdu)).unwrap()
}

/// Takes in events, and those before them from all there are.
fn take_all(world: &World, room: Room, events: &[Pdu], all: &BTreeMap<OwnedEventId, Pdu>) {
    let mut waiting: Vec<Pdu> = events.iter().rev().cloned().collect();
    while let Some(pdu) = waiting.pop() {
        if let Outcome::Missing(missing) = receives(world, room, &pdu) {
            waiting.push(pdu);
            for id in missing.prev.iter().chain(&missing.auth) {
                waiting.push(all[id].clone());
            }
            assert!(waiting.len() < 10_000, "it goes in a circle");
        }
    }
}

/// The state of a room by event ids, and who is in it by its rows; the two agree.
fn seen(world: &World, id: &OwnedRoomId) -> BTreeMap<(String, String), OwnedEventId> {
    let room = world.room(id);
    world
        .read(|view| {
            let head = room::head(view, room)?;
            let mut found = BTreeMap::new();
            let mut members = BTreeMap::new();
            for event in state::list(view, head.state, Part::All)? {
                let stored = event::load(view, event)?;
                let key = stored.row.state_key.clone().unwrap();
                if stored.is_state("m.room.member") {
                    members.insert(key.clone(), (room::standing(&stored).unwrap(), event));
                }
                found.insert((stored.row.kind.clone(), key), stored.id.clone());
            }
            let rows: Vec<((Room, User), Member)> = view.under(&MEMBERS, (room,), 1_000)?;
            let mut joined = 0;
            for ((_, member), row) in &rows {
                let id = user::id(view, *member)?;
                assert_eq!(members.get(id.as_str()), Some(&(row.standing, row.event)), "{id}");
                joined += u64::from(row.standing == Standing::Join);
            }
            assert_eq!(rows.len(), members.len());
            assert_eq!(head.joined, joined);
            let servers: Vec<((Room, String), u64)> = view.under(&SERVERS, (room,), 10)?;
            assert_eq!(servers.iter().map(|(_, n)| n).sum::<u64>(), joined);
            Ok(found)
        })
        .unwrap()
}

const USERS: usize = 4;

/// Something that somebody does on one of the servers.
#[derive(Clone, Debug)]
enum Deed {
    Say(usize),
    Topic(usize, u8),
    Leave(usize),
    Join(usize),
    Kick(usize, usize),
    Ban(usize, usize),
    Levels(usize, usize, i64),
    /// What the second has, the first gets.
    Tell(usize, usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = 0..USERS;
    prop_oneof![
        3 => who.clone().prop_map(Deed::Say),
        3 => (who.clone(), any::<u8>()).prop_map(|(u, n)| Deed::Topic(u, n)),
        1 => who.clone().prop_map(Deed::Leave),
        2 => who.clone().prop_map(Deed::Join),
        1 => (who.clone(), 0..USERS).prop_map(|(u, v)| Deed::Kick(u, v)),
        1 => (who.clone(), 0..USERS).prop_map(|(u, v)| Deed::Ban(u, v)),
        1 => (who, 0..USERS, 0..=60_i64).prop_map(|(u, v, n)| Deed::Levels(u, v, n)),
        3 => (0..3_usize, 0..3_usize).prop_map(|(a, b)| Deed::Tell(a, b)),
    ]
}

struct Three {
    worlds: Vec<World>,
    users: Vec<Vec<User>>,
    id: OwnedRoomId,
    rooms: Vec<Room>,
    known: Vec<BTreeSet<OwnedEventId>>,
    all: BTreeMap<OwnedEventId, Pdu>,
}

impl Three {
    fn new(version: &str) -> Three {
        let worlds: Vec<World> = (0..3).map(|_| World::new()).collect();
        for (n, world) in worlds.iter().enumerate() {
            world.wait(1 + n as u64 * 10_000);
        }
        let people = |world: &World| (0..USERS).map(|n| world.user(&format!("u{n}"))).collect();
        let users: Vec<Vec<User>> = worlds.iter().map(people).collect();
        let request = json!({ "preset": "public_chat", "room_version": version });
        let id = worlds[0].create(users[0][0], request).unwrap();
        for user in &users[0][1..] {
            worlds[0].join(*user, &id).unwrap();
        }
        let events = pdus(&worlds[0], &id);
        let version = RoomVersionId::try_from(version).unwrap();
        let mut rooms = vec![worlds[0].room(&id)];
        let all = events.iter().map(|pdu| (pdu.event_id.clone(), pdu.clone())).collect();
        for world in &worlds[1..] {
            let room = found(world, &version, &events);
            take_all(world, room, &events, &all);
            rooms.push(room);
        }
        Three { worlds, users, id, rooms, known: vec![BTreeSet::new(); 3], all }
    }

    /// Whether the room allowed it is not the point.
    fn act(&mut self, at: usize, deed: &Deed) {
        let (world, users, id) = (&self.worlds[at], &self.users[at], &self.id);
        match *deed {
            Deed::Say(u) => drop(world.send(users[u], id, "m.room.message", json!({ "body": u }))),
            Deed::Topic(u, n) => self.set(at, u, "m.room.topic", json!({ "topic": n })),
            Deed::Leave(u) => drop(world.leave(users[u], id)),
            Deed::Join(u) => drop(world.join(users[u], id)),
            Deed::Kick(u, v) if u != v => {
                let content = json!({ "membership": "leave" });
                let whom = world.id(users[v]);
                drop(world.set(users[u], id, "m.room.member", whom.as_str(), content));
            }
            Deed::Kick(..) => {}
            Deed::Ban(u, v) => drop(world.ban(users[u], id, users[v])),
            Deed::Levels(u, v, level) => {
                let mut content =
                    world.content(id, "m.room.power_levels", "").unwrap_or_else(|| json!({}));
                content["users"][world.id(users[v]).as_str()] = json!(level);
                self.set(at, u, "m.room.power_levels", content);
            }
            Deed::Tell(to, from) => return self.tell(to, from),
        }
        for pdu in pdus(&self.worlds[at], &self.id) {
            self.all.insert(pdu.event_id.clone(), pdu);
        }
    }

    fn set(&self, at: usize, who: usize, kind: &str, content: Value) {
        drop(self.worlds[at].set(self.users[at][who], &self.id, kind, "", content));
    }

    fn is_joined_everywhere(&self, who: usize) -> bool {
        let joined = |(world, users): (&World, &Vec<User>)| {
            world.standing(users[who], &self.id) == Some(Standing::Join)
        };
        self.worlds.iter().zip(&self.users).all(joined)
    }

    /// Is all that is shown on one of them shown on all?
    fn agree(&self) -> bool {
        let ids = |world| pdus(world, &self.id).into_iter().map(|pdu| pdu.event_id);
        let last: BTreeSet<_> = self.worlds.iter().filter_map(|w| ids(w).next_back()).collect();
        self.worlds.iter().all(|world| last.is_subset(&ids(world).collect()))
    }

    /// Could somebody say something?
    fn speaks(&mut self, at: usize, who: usize) -> bool {
        let content = json!({ "body": "together" });
        let (world, user) = (&self.worlds[at], self.users[at][who]);
        let said = world.send(user, &self.id, "m.room.message", content).is_ok();
        for pdu in pdus(&self.worlds[at], &self.id) {
            self.all.insert(pdu.event_id.clone(), pdu);
        }
        said
    }

    fn tell(&mut self, to: usize, from: usize) {
        if to == from {
            return;
        }
        let events = pdus(&self.worlds[from], &self.id);
        let new: Vec<Pdu> =
            events.into_iter().filter(|pdu| !self.known[to].contains(&pdu.event_id)).collect();
        self.known[to].extend(new.iter().map(|pdu| pdu.event_id.clone()));
        take_all(&self.worlds[to], self.rooms[to], &new, &self.all);
    }

    /// Brings together what can be, and holds the servers against each other.
    fn come_together(&mut self) {
        // What one soft-failed, another may have shown: they come together when somebody speaks who has seen both.
        for _ in 0..2 {
            for at in 0..3 {
                self.tell_all();
                // Whoever some servers do not see joined, they do not hear.
                let heard = |u: &usize| self.is_joined_everywhere(*u);
                let Some(who) = (0..USERS).rev().find(heard) else { return };
                if !self.speaks(at, who) {
                    return;
                }
            }
        }
        self.tell_all();
        if !self.agree() {
            return;
        }
        let seen: Vec<_> = self.worlds.iter().map(|world| seen(world, &self.id)).collect();
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], seen[2]);
    }

    fn tell_all(&mut self) {
        for (to, from) in [(0, 1), (0, 2), (1, 0), (2, 0), (1, 2), (2, 1)] {
            self.tell(to, from);
        }
    }
}

fn converge(version: &str, deeds: &[(usize, Deed)]) {
    let mut three = Three::new(version);
    for (at, deed) in deeds {
        three.act(*at, deed);
    }
    three.come_together();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn three_servers_come_to_one_state_in_version_12(
        deeds in prop::collection::vec((0..3_usize, deed()), 1..40),
    ) {
        converge("12", &deeds);
    }

    #[test]
    fn three_servers_come_to_one_state_in_version_10(
        deeds in prop::collection::vec((0..3_usize, deed()), 1..40),
    ) {
        converge("10", &deeds);
    }
}

#[test]
fn what_an_end_brings_is_resolved_anew_even_if_the_state_seems_to_be_known() {
    let deeds = [(0, Deed::Ban(0, 3)), (1, Deed::Leave(0)), (1, Deed::Say(1)), (0, Deed::Leave(1))];
    converge("10", &deeds);
}

/// A server on which a room begins, one that heard of its beginning, and messages that only the first has.
fn ahead(messages: usize) -> (Three, Vec<Pdu>) {
    let three = Three::new("11");
    let before = pdus(&three.worlds[0], &three.id).len();
    for n in 0..messages {
        let content = json!({ "body": n });
        three.worlds[0].send(three.users[0][0], &three.id, "m.room.message", content).unwrap();
    }
    let said = pdus(&three.worlds[0], &three.id).split_off(before);
    (three, said)
}

/// Receives an event of which nothing before is told but the state.
fn receives_at(world: &World, room: Room, pdu: &Pdu) {
    let pdu = pdu.clone();
    let received = world.write(move |tx| {
        let before = state::list(tx, room::head(tx, room)?.state, Part::All)?;
        receive_at(tx, room, &pdu, &before)
    });
    assert!(matches!(received, Ok(Outcome::Accepted(_))));
}

#[test]
fn what_is_fetched_later_finds_its_place_in_the_middle() {
    let (three, said) = ahead(200);
    let (world, room) = (&three.worlds[1], three.rooms[1]);
    assert!(matches!(receives(world, room, &said[0]), Outcome::Accepted(_)));
    receives_at(world, room, &said[199]);
    for page in said[1..199].rchunks(70) {
        let newest_first: Vec<Pdu> = page.iter().rev().cloned().collect();
        let placed = world.write(move |tx| {
            let before = state::list(tx, room::head(tx, room)?.state, Part::All)?;
            look_back(tx, room, &newest_first, &before)
        });
        assert_eq!(placed.unwrap(), page.len());
    }
    let ids = |world: &World| pdus(world, &three.id).into_iter().map(|pdu| pdu.event_id);
    let wanted: Vec<_> = said.iter().map(|pdu| pdu.event_id.clone()).collect();
    let shown: Vec<_> = ids(world).filter(|id| wanted.contains(id)).collect();
    assert_eq!(shown, wanted);
}

#[test]
fn what_was_only_told_authorises_nothing_before_it_was_learned() {
    let (first, other) = (World::new(), World::new());
    first.wait(1);
    let (maker, guest) = (first.user("u0"), first.user("u1"));
    let request = json!({ "preset": "private_chat", "room_version": "11" });
    let id = first.create(maker, request).unwrap();
    let events = pdus(&first, &id);
    let room = found(&other, &RoomVersionId::V11, &events);
    let all = events.iter().map(|pdu| (pdu.event_id.clone(), pdu.clone())).collect();
    take_all(&other, room, &events, &all);
    first.invite(maker, &id, guest).unwrap();
    first.join(guest, &id).unwrap();
    let [.., invite, join] = &pdus(&first, &id)[..] else { panic!("no invite and join") };
    let (said, at) = (invite.clone(), room);
    other.write(move |tx| told(tx, at, &said, None)).unwrap();

    let Outcome::Missing(missing) = receives(&other, room, join) else { panic!("not missed") };
    assert_eq!(missing.auth, std::slice::from_ref(&invite.event_id));
    let (said, at) = (invite.clone(), room);
    let learned = other.write(move |tx| learn(tx, at, std::slice::from_ref(&said))).unwrap();
    assert!(matches!(learned[..], [Outcome::Accepted(_)]));
    assert!(matches!(receives(&other, room, invite), Outcome::Accepted(_)));
    assert!(matches!(receives(&other, room, join), Outcome::Accepted(_)));
}

#[test]
fn a_state_event_that_names_a_message_as_its_authority_is_rejected() {
    let (three, said) = ahead(1);
    let (world, room) = (&three.worlds[1], three.rooms[1]);
    assert!(matches!(receives(world, room, &said[0]), Outcome::Accepted(_)));
    three.set(0, 0, "m.room.topic", json!({ "topic": "new" }));
    let mut topic = pdus(&three.worlds[0], &three.id).pop().unwrap();
    topic.auth_events.push(said[0].event_id.clone());
    assert!(matches!(receives(world, room, &topic), Outcome::Rejected(..)));
}
