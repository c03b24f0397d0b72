use protocol::version::SUPPORTED;
use serde_json::{Value, json};
use store::schema::Standing::{self, *};

use super::*;
use crate::testing::{FORBIDDEN, Outcome, World};

/// How a user is brought into a standing before the action under test.
fn place(world: &World, standing: Option<Standing>, admin: User, room: &ruma::RoomId, bob: User) {
    let done: Outcome<()> = match standing {
        None => Ok(()),
        Some(Join) => world.join(bob, room),
        Some(Invite) => world.invite(admin, room, bob),
        Some(Knock) => {
            world.set(admin, room, "m.room.join_rules", "", json!({"join_rule": "knock"})).unwrap();
            let done = world.knock(bob, room);
            world
                .set(admin, room, "m.room.join_rules", "", json!({"join_rule": "public"}))
                .unwrap();
            done
        }
        Some(Leave) => world.join(bob, room).and_then(|()| world.leave(bob, room)),
        Some(Ban) => world.ban(admin, room, bob),
    };
    done.unwrap();
    assert_eq!(world.standing(bob, room), standing);
}

fn kick(world: &World, by: User, room: &ruma::RoomId, whom: User) -> Outcome<()> {
    let (room, whom) = (room.to_owned(), world.id(whom));
    world.write(move |tx| crate::kick::kick(tx, by, &room, &whom, Some("why"), false))
}

fn unban(world: &World, by: User, room: &ruma::RoomId, whom: User) -> Outcome<()> {
    let (room, whom) = (room.to_owned(), world.id(whom));
    world.write(move |tx| crate::unban::unban(tx, by, &room, &whom, None))
}

fn forget(world: &World, user: User, room: &ruma::RoomId) -> Outcome<()> {
    let room = room.to_owned();
    world.write(move |tx| crate::forget::forget(tx, user, &room))
}

const BAD_STATE: (u16, &str) = (403, "M_BAD_STATE");

/// From each standing, what every action in a public room comes to: the new standing, or the refusal.
#[test]
fn every_transition_ends_as_the_spec_says() {
    type Row = (Option<Standing>, [Result<Standing, (u16, &'static str)>; 6]);
    // join, leave, invite, kick, ban, unban
    let table: [Row; 6] = [
        (None, [Ok(Join), Err(FORBIDDEN), Ok(Invite), Err(FORBIDDEN), Ok(Ban), Err(BAD_STATE)]),
        (Some(Join), [Ok(Join), Ok(Leave), Err(FORBIDDEN), Ok(Leave), Ok(Ban), Err(BAD_STATE)]),
        (Some(Invite), [Ok(Join), Ok(Leave), Ok(Invite), Ok(Leave), Ok(Ban), Err(BAD_STATE)]),
        (Some(Knock), [Ok(Join), Ok(Leave), Ok(Invite), Ok(Leave), Ok(Ban), Err(BAD_STATE)]),
        (Some(Leave), [Ok(Join), Ok(Leave), Ok(Invite), Err(FORBIDDEN), Ok(Ban), Err(BAD_STATE)]),
        (
            Some(Ban),
            [Err(FORBIDDEN), Err(FORBIDDEN), Err(FORBIDDEN), Err(FORBIDDEN), Ok(Ban), Ok(Leave)],
        ),
    ];
    for (before, outcomes) in table {
        for (action, expected) in outcomes.into_iter().enumerate() {
            let world = World::new();
            let (admin, bob) = (world.user("admin"), world.user("bob"));
            let room = world.public(admin);
            place(&world, before, admin, &room, bob);
            let done = match action {
                0 => world.join(bob, &room),
                1 => world.leave(bob, &room),
                2 => world.invite(admin, &room, bob),
                3 => kick(&world, admin, &room, bob),
                4 => world.ban(admin, &room, bob),
                _ => unban(&world, admin, &room, bob),
            };
            let now = world.standing(bob, &room);
            match expected {
                Ok(standing) => {
                    assert_eq!((done, now), (Ok(()), Some(standing)), "{before:?} {action}")
                }
                Err(refusal) => {
                    assert_eq!((done, now), (Err(refusal), before), "{before:?} {action}")
                }
            }
            counts_agree(&world, &room);
        }
    }
}

fn counts_agree(world: &World, room: &ruma::RoomId) {
    let room = world.room(room);
    let (head, members) =
        world.read(|view| Ok((room::head(view, room)?, room::members(view, room)?))).unwrap();
    let of = |standing| members.iter().filter(|(_, m)| m.standing == standing).count() as u64;
    assert_eq!((head.joined, head.invited), (of(Join), of(Invite)));
}

#[test]
fn a_private_room_lets_in_only_who_is_invited() {
    let world = World::new();
    let (admin, bob) = (world.user("admin"), world.user("bob"));
    let room = world.create(admin, json!({})).unwrap();
    assert_eq!(world.join(bob, &room), Err(FORBIDDEN));
    assert_eq!(world.knock(bob, &room), Err(FORBIDDEN));
    world.invite(admin, &room, bob).unwrap();
    world.join(bob, &room).unwrap();
    counts_agree(&world, &room);
}

#[test]
fn who_has_no_power_neither_kicks_nor_bans_nor_unbans() {
    let world = World::new();
    let (admin, bob, eve) = (world.user("admin"), world.user("bob"), world.user("eve"));
    let room = world.public(admin);
    for user in [bob, eve] {
        world.join(user, &room).unwrap();
    }
    assert_eq!(kick(&world, eve, &room, bob), Err(FORBIDDEN));
    assert_eq!(world.ban(eve, &room, bob), Err(FORBIDDEN));
    assert_eq!(world.ban(bob, &room, admin), Err(FORBIDDEN));
    world.ban(admin, &room, bob).unwrap();
    assert_eq!(unban(&world, eve, &room, bob), Err(FORBIDDEN));
}

#[test]
fn who_is_outside_acts_on_nobody_inside() {
    let world = World::new();
    let (admin, bob, eve) = (world.user("admin"), world.user("bob"), world.user("eve"));
    let room = world.public(admin);
    world.join(bob, &room).unwrap();
    assert_eq!(kick(&world, eve, &room, bob), Err(FORBIDDEN));
    assert_eq!(world.invite(eve, &room, bob), Err(FORBIDDEN));
    assert_eq!(world.set(eve, &room, "m.room.topic", "", json!({"topic": "x"})), Err(FORBIDDEN));
    let nowhere = ruma::room_id!("!nowhere:x.org");
    assert_eq!(world.leave(eve, nowhere), Err(FORBIDDEN));
    assert_eq!(world.join(eve, nowhere), Err((404, "M_NOT_FOUND")));
}

#[test]
fn an_invite_shows_the_room_stripped_and_itself_last() {
    let world = World::new();
    let (admin, bob) = (world.user("admin"), world.user("bob"));
    let room =
        world.create(admin, json!({"name": "N", "topic": "T", "invite": ["@bob:x.org"]})).unwrap();
    let number = world.room(&room);
    let mine = world.read(|view| room::membership(view, bob, number)).unwrap().unwrap();
    assert_eq!((mine.sender, mine.was_joined), (admin, false));
    let events: Vec<Value> = serde_json::from_str(mine.stripped.as_deref().unwrap()).unwrap();
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    let expected = ["m.room.create", "m.room.name", "m.room.topic", "m.room.join_rules"];
    assert_eq!(kinds, [&expected[..], &["m.room.member", "m.room.member"]].concat());
    let keys = |event: &Value| event.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for event in &events {
        assert_eq!(keys(event), ["content", "sender", "state_key", "type"]);
    }
    assert_eq!(events[0]["content"]["room_version"], "12");
    assert_eq!(events[4]["state_key"], "@admin:x.org");
    assert_eq!(
        (&events[5]["state_key"], &events[5]["content"]["membership"]),
        (&json!("@bob:x.org"), &json!("invite"))
    );
    world.join(bob, &room).unwrap();
    let mine = world.read(|view| room::membership(view, bob, number)).unwrap().unwrap();
    assert_eq!((mine.stripped, mine.was_joined), (None, true));
}

#[test]
fn a_knock_shows_the_room_and_itself_once() {
    let world = World::new();
    let (admin, bob) = (world.user("admin"), world.user("bob"));
    let rule = json!({"type": "m.room.join_rules", "content": {"join_rule": "knock"}});
    let room = world.create(admin, json!({"initial_state": [rule]})).unwrap();
    world.knock(bob, &room).unwrap();
    let number = world.room(&room);
    let mine = world.read(|view| room::membership(view, bob, number)).unwrap().unwrap();
    let events: Vec<Value> = serde_json::from_str(mine.stripped.as_deref().unwrap()).unwrap();
    let members: Vec<&Value> = events.iter().filter(|e| e["type"] == "m.room.member").collect();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["content"]["reason"], "please");
}

#[test]
fn a_room_is_forgotten_only_by_who_left_it_and_until_they_are_back() {
    let world = World::new();
    let (admin, bob) = (world.user("admin"), world.user("bob"));
    let room = world.public(admin);
    assert_eq!(forget(&world, bob, &room), Err((404, "M_NOT_FOUND")));
    world.join(bob, &room).unwrap();
    assert_eq!(forget(&world, bob, &room), Err((400, "M_UNKNOWN")));
    world.leave(bob, &room).unwrap();
    let number = world.room(&room);
    let mine = || world.read(|view| room::membership(view, bob, number)).unwrap().unwrap();
    assert!(mine().was_joined && !mine().forgotten);
    forget(&world, bob, &room).unwrap();
    forget(&world, bob, &room).unwrap();
    assert!(mine().forgotten);
    world.invite(admin, &room, bob).unwrap();
    assert!(!mine().forgotten && !mine().was_joined, "who forgot the room begins anew");
    world.leave(bob, &room).unwrap();
    assert!(!mine().was_joined);
}

#[test]
fn joining_twice_is_one_event() {
    let world = World::new();
    let (admin, bob) = (world.user("admin"), world.user("bob"));
    let room = world.public(admin);
    world.join(bob, &room).unwrap();
    let before = world.log().len();
    world.join(bob, &room).unwrap();
    assert_eq!(world.log().len(), before);
}

#[test]
fn guests_join_only_where_guests_may() {
    let world = World::new();
    let (admin, guest) = (world.user("admin"), world.user("guest"));
    let room = world.public(admin);
    let join = || {
        let room = <&ruma::RoomOrAliasId>::from(&*room).to_owned();
        world.write(move |tx| crate::join::join(tx, guest, true, &room, None)).map(drop)
    };
    assert_eq!(join(), Err((403, "M_GUEST_ACCESS_FORBIDDEN")));
    let access = json!({"guest_access": "can_join"});
    world.set(admin, &room, "m.room.guest_access", "", access).unwrap();
    assert_eq!(join(), Ok(()));
}

#[test]
fn a_restricted_room_lets_in_members_of_the_rooms_it_names() {
    for version in &SUPPORTED[7..] {
        let world = World::new();
        let (admin, bob, eve) = (world.user("admin"), world.user("bob"), world.user("eve"));
        let space = world.public(admin);
        world.join(bob, &space).unwrap();
        let allow = json!([{"type": "m.room_membership", "room_id": space}]);
        let rule = json!({"type": "m.room.join_rules",
            "content": {"join_rule": "restricted", "allow": allow}});
        let room =
            world.create(admin, json!({"room_version": version, "initial_state": [rule]})).unwrap();
        assert_eq!(world.join(eve, &room), Err(FORBIDDEN));
        world.join(bob, &room).unwrap();
        let content = world.content(&room, "m.room.member", "@bob:x.org").unwrap();
        assert_eq!(content["join_authorised_via_users_server"], "@admin:x.org");
        // An invite needs no condition.
        world.invite(admin, &room, eve).unwrap();
        world.join(eve, &room).unwrap();
        let content = world.content(&room, "m.room.member", "@eve:x.org").unwrap();
        assert!(content.get("join_authorised_via_users_server").is_none());
    }
}

#[test]
fn versions_that_know_no_restricted_rooms_or_knocking_let_nobody_in_by_them() {
    for (position, version) in SUPPORTED.iter().enumerate() {
        let world = World::new();
        let (admin, bob) = (world.user("admin"), world.user("bob"));
        let space = world.public(admin);
        world.join(bob, &space).unwrap();
        let make = |rule: &str| {
            let allow = json!([{"type": "m.room_membership", "room_id": space}]);
            let rule = json!({"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": allow}});
            world.create(admin, json!({"room_version": version, "initial_state": [rule]})).unwrap()
        };
        for (rule, joins, knocks) in
            [("restricted", 8, 99), ("knock", 99, 7), ("knock_restricted", 10, 10)]
        {
            let outcome = |since| if position + 1 < since { Err(FORBIDDEN) } else { Ok(()) };
            assert_eq!(world.join(bob, &make(rule)), outcome(joins), "{version} {rule}");
            assert_eq!(world.knock(bob, &make(rule)), outcome(knocks), "{version} {rule}");
        }
    }
}

#[test]
fn nobody_of_another_server_is_invited_without_it_and_nobody_who_does_not_exist() {
    let world = World::new();
    let admin = world.user("admin");
    let room = world.public(admin);
    let invite = |id: &str, content: Value| world.set(admin, &room, "m.room.member", id, content);
    let content = || json!({"membership": "invite"});
    assert_eq!(invite("@far:away.org", content()), Err(FORBIDDEN));
    assert_eq!(invite("@nobody:x.org", content()), Err((404, "M_NOT_FOUND")));
    assert_eq!(invite("bob", content()), Err(FORBIDDEN));
    invite("@far:away.org", json!({"membership": "ban"})).unwrap();
}

/// Sets global account data.
fn keep(world: &World, user: User, kind: &'static str, content: serde_json::Value) {
    world
        .write(move |tx| {
            let data =
                store::schema::AccountData { content: content.to_string(), changed: tx.now() };
            tx.put(&store::schema::ACCOUNT_DATA, (user, Room(0), kind.to_owned()), &data);
            Ok(())
        })
        .unwrap();
}

#[test]
fn who_wants_no_invites_gets_none_by_whatever_way() {
    const BLOCKED: (u16, &str) = (403, "M_INVITE_BLOCKED");
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.create(alice, json!({})).unwrap();
    keep(&world, bob, "m.invite_permission_config", json!({"default_action": "block"}));
    assert_eq!(world.invite(alice, &room, bob), Err(BLOCKED));
    let invite = json!({"membership": "invite"});
    let by_state = world.set(alice, &room, "m.room.member", "@bob:x.org", invite);
    assert_eq!(by_state, Err(BLOCKED));
    assert_eq!(world.create(alice, json!({"invite": ["@bob:x.org"]})), Err(BLOCKED));
    assert_eq!(world.standing(bob, &room), None);
    keep(&world, bob, "m.invite_permission_config", json!({}));
    let ignored = json!({"ignored_users": {"@alice:x.org": {}}});
    keep(&world, bob, "m.ignored_user_list", ignored);
    world.invite(alice, &room, bob).unwrap();
    assert_eq!(world.standing(bob, &room), Some(Standing::Invite), "alice is not told");
}

#[test]
fn who_is_suspended_leaves_and_takes_back_but_writes_nothing() {
    const SUSPENDED: (u16, &str) = (403, "M_USER_SUSPENDED");
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let (room, other) = (world.public(alice), world.public(alice));
    world.join(bob, &room).unwrap();
    let levels = json!({"users": {"@bob:x.org": 100}});
    world.set(alice, &room, "m.room.power_levels", "", levels).unwrap();
    let (own, theirs) = (world.say(bob, &room, "own"), world.say(alice, &room, "theirs"));
    let restrain = |suspended| {
        world
            .write(move |tx| {
                let restraint = store::schema::Restraint { suspended, locked: false };
                tx.put(&store::schema::RESTRAINTS, (bob,), &restraint);
                Ok(())
            })
            .unwrap();
    };
    restrain(true);
    assert_eq!(world.send(bob, &room, "m.room.message", json!({})), Err(SUSPENDED));
    assert_eq!(world.set(bob, &room, "m.room.name", "", json!({"name": "x"})), Err(SUSPENDED));
    assert_eq!(world.join(bob, &other), Err(SUSPENDED));
    assert_eq!(world.knock(bob, &other), Err(SUSPENDED));
    assert_eq!(world.invite(bob, &room, alice), Err(SUSPENDED));
    assert_eq!(world.ban(bob, &room, alice), Err(SUSPENDED));
    assert_eq!(world.create(bob, json!({})), Err(SUSPENDED));
    assert_eq!(world.redact(bob, &room, &theirs), Err(SUSPENDED));
    world.redact(bob, &room, &own).unwrap();
    world.leave(bob, &room).unwrap();
    restrain(false);
    world.join(bob, &other).unwrap();
}
