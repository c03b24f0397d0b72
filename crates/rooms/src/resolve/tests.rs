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

    /// The same, with every auth chain walked to its end.
    fn naive(&self, states: &[Root]) -> BTreeSet<Event> {
        self.world
            .read(|view| {
                let differing = differing(view, states)?;
                let mut agreed: BTreeSet<Event> =
                    state::list(view, states[0], Part::All)?.into_iter().collect();
                for root in states {
                    let here: BTreeSet<_> =
                        state::list(view, *root, Part::All)?.into_iter().collect();
                    agreed.retain(|event| here.contains(event));
                }
                let mut chain = BTreeSet::new();
                let mut waiting: Vec<Event> = agreed.iter().copied().collect();
                while let Some(event) = waiting.pop() {
                    for next in view.get(&AUTHORITIES, (event,))?.unwrap().auth {
                        if chain.insert(next) {
                            waiting.push(next);
                        }
                    }
                }
                let info = room::info(view, self.room)?;
                let conflict = Conflict {
                    create: info.create,
                    states: states.len(),
                    slots: differing.into_values().collect(),
                };
                let rules = protocol::rules(&ground::version(&info)?).unwrap();
                let mut machine = Resolution::new(rules, conflict)?;
                loop {
                    match machine.step() {
                        Step::Done(found) => {
                            agreed.extend(found);
                            return Ok(agreed);
                        }
                        Step::Missing(missing) => {
                            for event in missing.events {
                                let known = authority::known(view, event)?;
                                machine.tell_event(event, (*known).clone());
                            }
                            for (kind, key) in missing.slots {
                                let event = state::get(view, states[0], &kind, &key)?;
                                let event = event.filter(|event| agreed.contains(event));
                                machine.tell_slot(&kind, &key, event);
                            }
                            for event in missing.settled {
                                machine.tell_settled(event, chain.contains(&event));
                            }
                        }
                    }
                }
            })
            .unwrap()
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
        let resolved = forked.resolved(&states);
        let found = forked.world.read(|view| state::list(view, resolved, Part::All)).unwrap();
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), forked.naive(&states));
        states.reverse();
        prop_assert_eq!(forked.resolved(&states), resolved);
    }
}
