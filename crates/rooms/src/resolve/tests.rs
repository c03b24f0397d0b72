use std::collections::BTreeSet;

use base::User;
use proptest::prelude::*;
use ruma::OwnedRoomId;
use serde_json::json;
use store::{
    schema::{AUTHORITIES, HEADS, Head},
    state::Part,
};

use super::*;
use crate::testing::World;

/// A room whose history is taken apart by putting its head back.
struct Forked {
    world: World,
    users: Vec<User>,
    id: OwnedRoomId,
    room: Room,
}

impl Forked {
    /// A public room of `@u0`, with three more members of whom `@u1` is a moderator.
    fn new() -> Forked {
        let world = World::new();
        let users: Vec<User> = (0..4).map(|n| world.user(&format!("u{n}"))).collect();
        let id = world.public(users[0]);
        for user in &users[1..] {
            world.join(*user, &id).unwrap();
        }
        // So that there is an event which only an event that is no longer in force names.
        world.leave(users[3], &id).unwrap();
        world.join(users[3], &id).unwrap();
        let room = world.room(&id);
        let forked = Forked { world, users, id, room };
        forked.levels(0, &[(1, 50)]);
        forked
    }

    fn head(&self) -> Head {
        let room = self.room;
        self.world.read(move |view| room::head(view, room)).unwrap()
    }

    fn put_back(&self, head: &Head) {
        let (room, head) = (self.room, head.clone());
        self.world
            .write(move |tx| {
                tx.put(&HEADS, (room,), &head);
                Ok(())
            })
            .unwrap();
    }

    fn levels(&self, by: usize, others: &[(usize, i64)]) -> bool {
        let users: serde_json::Map<_, _> =
            others.iter().map(|(n, level)| (format!("@u{n}:x.org"), json!(level))).collect();
        let content = json!({ "users": users, "events": { "m.room.topic": 0 } });
        self.set(by, "m.room.power_levels", content)
    }

    fn set(&self, by: usize, kind: &str, content: serde_json::Value) -> bool {
        self.world.set(self.users[by], &self.id, kind, "", content).is_ok()
    }

    /// Something that somebody does, if they may.
    fn deed(&self, by: usize, what: usize, other: usize) -> bool {
        let (by, whom, n) = (by % 4, other % 4, format!("{what}"));
        let (user, other) = (self.users[by], self.users[whom]);
        match what % 8 {
            0 | 1 => self.set(by, "m.room.topic", json!({ "topic": n })),
            2 => self.set(by, "m.room.name", json!({ "name": n })),
            3 => self.world.ban(user, &self.id, other).is_ok(),
            4 => self.world.leave(user, &self.id).is_ok(),
            5 => self.world.join(user, &self.id).is_ok(),
            6 => self.levels(by, &[(1, 50), (whom, 50)]),
            _ => {
                let rule = ["public", "invite"][what / 8 % 2];
                self.set(by, "m.room.join_rules", json!({ "join_rule": rule }))
            }
        }
    }

    fn resolved(&self, states: &[Root]) -> Root {
        let (room, states) = (self.room, states.to_vec());
        self.world.write(move |tx| resolve(tx, room, &states)?.write(tx)).unwrap()
    }

    fn content(&self, root: Root, kind: &str, key: &str) -> Option<serde_json::Value> {
        let event = self.world.read(|view| room::state(view, root, kind, key)).unwrap();
        event.map(|event| event.content_as().unwrap())
    }

    /// Every state event of the room, and whether it is settled: found as resolving does, and by walking the auth chain of
    /// each event that all states have.
    fn settled(&self, states: &[Root]) -> [BTreeMap<Event, bool>; 2] {
        let both = self.world.read(|view| {
            let mut shared: BTreeSet<Event> =
                state::list(view, states[0], Part::All)?.into_iter().collect();
            for root in states {
                let here: BTreeSet<_> = state::list(view, *root, Part::All)?.into_iter().collect();
                shared.retain(|event| here.contains(event));
            }
            let mut chain = BTreeSet::new();
            let mut waiting: Vec<Event> = shared.into_iter().collect();
            while let Some(event) = waiting.pop() {
                for next in view.get(&AUTHORITIES, (event,))?.unwrap().auth {
                    if chain.insert(next) {
                        waiting.push(next);
                    }
                }
            }
            let differing = differing(view, states)?.into_keys().collect();
            let settled = HashMap::new();
            let mut agreed = Agreed { view, root: states[0], differing, settled };
            let create = room::info(view, self.room)?.create;
            let mut both = [BTreeMap::new(), BTreeMap::new()];
            for ((event,), _) in view.everything(&AUTHORITIES, None, 10_000)? {
                if event != create {
                    both[0].insert(event, agreed.settles(event)?);
                    both[1].insert(event, chain.contains(&event));
                }
            }
            Ok(both)
        });
        both.unwrap()
    }
}

#[test]
fn a_ban_wins_over_what_the_banned_did_meanwhile() {
    let forked = Forked::new();
    let fork = forked.head();
    assert!(forked.set(1, "m.room.topic", json!({ "topic": "by the moderator" })));
    assert!(forked.set(1, "m.room.name", json!({ "name": "also" })));
    let theirs = forked.head().state;
    forked.put_back(&fork);
    forked.world.ban(forked.users[0], &forked.id, forked.users[1]).unwrap();
    assert!(forked.set(2, "m.room.topic", json!({ "topic": "by a member" })));
    let ours = forked.head().state;

    for states in [[ours, theirs], [theirs, ours]] {
        let resolved = forked.resolved(&states);
        let membership = forked.content(resolved, "m.room.member", "@u1:x.org").unwrap();
        assert_eq!(membership["membership"], "ban");
        let topic = forked.content(resolved, "m.room.topic", "").unwrap();
        assert_eq!(topic["topic"], "by a member");
        // It was in one state only, and is in none now.
        assert_eq!(forked.content(resolved, "m.room.name", ""), None);
        assert_eq!(resolved, forked.resolved(&[ours, theirs]));
    }
}

#[test]
fn equal_states_resolve_to_themselves() {
    let forked = Forked::new();
    let state = forked.head().state;
    assert_eq!(forked.resolved(&[state]), state);
    assert_eq!(forked.resolved(&[state, state]), state);
    let none = forked.world.read(|view| Ok(resolve(view, forked.room, &[]).is_err())).unwrap();
    assert!(none);
}

#[test]
fn what_is_resolved_is_stored_whole_and_small() {
    let forked = Forked::new();
    let fork = forked.head();
    assert!(forked.set(1, "m.room.topic", json!({ "topic": "one" })));
    let one = forked.head().state;
    forked.put_back(&fork);
    assert!(forked.set(2, "m.room.topic", json!({ "topic": "two" })));
    let two = forked.head().state;
    let resolved = forked.resolved(&[one, two]);
    assert!(resolved == one || resolved == two, "nothing but the topic differs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_search_for_what_is_settled_finds_what_walking_every_auth_chain_finds(
        common in proptest::collection::vec((0usize..4, 0usize..16, 0usize..4), 0..6),
        forks in proptest::collection::vec(
            proptest::collection::vec((0usize..4, 0usize..16, 0usize..4), 1..6), 2..4),
    ) {
        let forked = Forked::new();
        for (by, what, other) in common {
            forked.deed(by, what, other);
        }
        let fork = forked.head();
        let mut states: Vec<Root> = Vec::new();
        for deeds in forks {
            forked.put_back(&fork);
            for (by, what, other) in deeds {
                forked.deed(by, what, other);
            }
            let state = forked.head().state;
            if !states.contains(&state) {
                states.push(state);
            }
        }
        let [found, walked] = forked.settled(&states);
        prop_assert_eq!(found, walked);
        let resolved = forked.resolved(&states);
        states.reverse();
        prop_assert_eq!(forked.resolved(&states), resolved);
    }
}
