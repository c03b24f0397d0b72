//! A server that came into a room without being told of its members holds, once it was, what it would hold had it been told
//! of them at first: whatever it let happen meanwhile.

use store::schema::{PARTIAL, Partial};

use super::*;

/// State that is told though members are left out: what is none, and memberships that authorise the rest.
fn without_members(view: &store::View, all: &[Event], join: &Pdu) -> base::Reply<Vec<Event>> {
    let mut needed: BTreeSet<OwnedEventId> = join.auth_events.iter().cloned().collect();
    let mut kept = Vec::new();
    for event in all {
        if !event::load(view, *event)?.is_state("m.room.member") {
            needed.extend(crate::authority::pdu(view, *event)?.auth_events);
        }
    }
    for event in all {
        let stored = event::load(view, *event)?;
        if !stored.is_state("m.room.member") || needed.contains(&stored.id) {
            kept.push(*event);
        }
    }
    Ok(kept)
}

/// Comes into the room of these events by the last of them. Gives all state before it, too.
fn enters(
    world: &World,
    events: &[Pdu],
    before: &[OwnedEventId],
    part: bool,
) -> (Room, Vec<Event>) {
    let (events, before) = (events.to_vec(), before.to_vec());
    let entered = world.write(move |tx| {
        let (create, join) = (&events[0], &events[events.len() - 1]);
        let version = tx_version(create);
        let room = know(tx, &create.room_id, &version, Some(create))?;
        let state: Vec<Pdu> = events[1..events.len() - 1].to_vec();
        learn(tx, room, &state.into_iter().filter(Pdu::is_state).collect::<Vec<_>>())?;
        let all = before.iter().map(|id| Ok(event::find(tx, id)?.unwrap()));
        let all: Vec<Event> = all.collect::<base::Reply<_>>()?;
        if part {
            let (join_at, via) = (Event(0), "elsewhere.test".to_owned());
            let partial = Partial { join: join_at, servers: BTreeSet::from([via.clone()]), via };
            let told = without_members(tx, &all, join)?;
            enter(tx, room, join, &told, Some(partial))?;
        } else {
            enter(tx, room, join, &all, None)?;
        }
        Ok((room, all))
    });
    entered.unwrap()
}

fn tx_version(create: &Pdu) -> RoomVersionId {
    let content: Value = serde_json::from_str(create.content.get()).unwrap();
    RoomVersionId::try_from(content["room_version"].as_str().unwrap()).unwrap()
}

fn state_before(world: &World, pdu: &Pdu) -> Vec<OwnedEventId> {
    let stored = world.event(&pdu.event_id);
    let state = world.read(|view| {
        let state = state::list(view, stored.row.before, Part::All)?;
        state.into_iter().map(|event| Ok(event::load(view, event)?.id.clone())).collect()
    });
    state.unwrap()
}

/// `before` happens on one server; then two more come in, of which the last is not told of the members until `since` is over.
/// `None`: they cannot come in.
fn completed(version: &str, before: &[Deed], since: &[(usize, Deed)]) -> Option<Three> {
    let mut three = Three::new(version);
    for deed in before {
        three.act(0, deed);
    }
    let last = three.users[0][USERS - 1];
    let _ = three.worlds[0].leave(last, &three.id);
    three.worlds[0].join(last, &three.id).ok()?;
    let events = pdus(&three.worlds[0], &three.id);
    let state = state_before(&three.worlds[0], &events[events.len() - 1]);
    three.all = events.iter().map(|pdu| (pdu.event_id.clone(), pdu.clone())).collect();
    three.known = vec![three.all.keys().cloned().collect(); 3];
    let mut all = Vec::new();
    for at in [1, 2] {
        let world = World::new();
        world.wait(100_000 * at as u64);
        three.users[at] = (0..USERS).map(|n| world.user(&format!("u{n}"))).collect();
        (three.rooms[at], all) = enters(&world, &events, &state, at == 2);
        three.worlds[at] = world;
    }
    for (at, deed) in since {
        three.act(*at, deed);
    }
    let room = three.rooms[2];
    three.worlds[2].write(move |tx| complete(tx, room, &all)).unwrap();
    Some(three)
}

#[test]
fn what_a_banned_user_was_allowed_meanwhile_counts_for_nothing_afterwards() {
    let before = [Deed::Levels(0, 3, 50), Deed::Ban(0, 1)];
    let since = [(2, Deed::Join(1)), (2, Deed::Say(1)), (2, Deed::Topic(3, 7))];
    let three = completed("11", &before, &since).unwrap();
    let (world, users) = (&three.worlds[2], &three.users[2]);
    assert_eq!(world.standing(users[1], &three.id), Some(Standing::Ban));
    assert_eq!(world.content(&three.id, "m.room.topic", "").unwrap()["topic"], 7);
    assert!(world.send(users[1], &three.id, "m.room.message", json!({})).is_err());
}

fn ends(world: &World, id: &OwnedRoomId) -> Vec<Event> {
    world.read(|view| Ok(room::head(view, world.room(id))?.extremities)).unwrap()
}

#[test]
fn what_was_put_into_the_past_is_no_end_of_the_room() {
    let mut three = completed("11", &[], &[]).unwrap();
    for _ in 0..3 {
        three.act(0, &Deed::Say(0));
    }
    let all = pdus(&three.worlds[0], &three.id);
    let (world, room) = (&three.worlds[2], three.rooms[2]);
    let join = ends(world, &three.id)[0];
    let (levels, second, third) = (&all[2], &all[all.len() - 2], all[all.len() - 1].clone());
    let (last, past) = (third.event_id.clone(), vec![second.clone(), levels.clone()]);
    let told = world.write(move |tx| {
        let told = state::list(tx, room::head(tx, room)?.state, Part::All)?;
        let partial = Partial { join, servers: BTreeSet::new(), via: String::new() };
        tx.put(&PARTIAL, (room,), &partial);
        receive_at(tx, room, &third, &told)?;
        Ok(told)
    });
    let told = told.unwrap();
    let placed = world.write(move |tx| {
        let placed = look_back(tx, room, &past, &told)?;
        complete(tx, room, &told)?;
        Ok(placed)
    });
    assert_eq!(placed, Ok(2));
    assert_eq!(ends(world, &three.id), [join, world.number(&last)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_room_completed_later_is_the_same_room(
        before in prop::collection::vec(deed(), 0..12),
        since in prop::collection::vec((0..3_usize, deed()), 1..20),
    ) {
        if let Some(mut three) = completed("11", &before, &since) {
            three.come_together();
        }
    }
}

#[test]
fn who_left_stays_out_when_their_server_comes_in_by_one_that_has_not_heard_of_it() {
    for part in [false, true] {
        let mut three = Three::new("11");
        three.act(1, &Deed::Leave(1));
        three.act(0, &Deed::Leave(3));
        three.act(0, &Deed::Join(3));
        let events = pdus(&three.worlds[0], &three.id);
        let state = state_before(&three.worlds[0], &events[events.len() - 1]);
        let world = &three.worlds[1];
        let (room, all) = enters(world, &events, &state, part);
        if part {
            world.write(move |tx| complete(tx, room, &all)).unwrap();
        }
        assert_eq!(world.standing(three.users[1][1], &three.id), Some(Standing::Leave), "{part}");
        assert!(three.speaks(1, 3));
        let said = pdus(&three.worlds[1], &three.id).pop().unwrap();
        assert_eq!(said.prev_events.len(), 2, "the others hear of it: {said:?}");
    }
}

#[test]
fn what_came_in_a_stay_that_was_never_completed_is_no_ground_for_what_follows() {
    let mut three = Three::new("11");
    for deed in [Deed::Leave(3), Deed::Join(3)] {
        three.act(0, &deed);
    }
    let events = pdus(&three.worlds[0], &three.id);
    let state = state_before(&three.worlds[0], &events[events.len() - 1]);
    let world = World::new();
    for n in 0..USERS {
        world.user(&format!("u{n}"));
    }
    enters(&world, &events, &state, true);
    for deed in [Deed::Say(0), Deed::Leave(3), Deed::Join(3)] {
        three.act(0, &deed);
    }
    let events = pdus(&three.worlds[0], &three.id);
    let [.., said, leave, join] = events.as_slice() else { panic!("{events:?}") };
    let room = world.room(&three.id);
    assert!(matches!(receives(&world, room, said), Outcome::Accepted(_)));
    let (room, all) = enters(&world, &events, &state_before(&three.worlds[0], join), true);
    world.write(move |tx| complete(tx, room, &all)).unwrap();
    let Outcome::Missing(missing) = receives(&world, room, leave) else { panic!("not missing") };
    assert_eq!(missing.prev, std::slice::from_ref(&said.event_id));
    let told = |id| world.read(move |view| crate::snapshot::state_ids(view, room, id));
    assert!(told(&said.event_id).is_err());
    assert!(told(&join.event_id).is_ok());
}

#[test]
fn what_was_kept_and_not_shown_meanwhile_is_put_right_too() {
    let since = [
        (2, Deed::Join(1)),
        (2, Deed::Kick(0, 1)),
        (2, Deed::Levels(0, 0, 0)),
        (0, Deed::Kick(0, 2)),
        (0, Deed::Tell(2, 0)),
    ];
    completed("11", &[], &since).unwrap().come_together();
}
