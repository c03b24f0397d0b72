//! Replaying incremental syncs equals the naive model, and equals a fresh first sync, over random histories.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

mod deeds;

use std::collections::BTreeMap;

use base::Room;
use deeds::{USERS, cases, ops};
use proptest::prelude::*;
use store::View;
use testkit::{
    Client, Known, Left, Naive, Op, State, Taste, World, account_data, naive, receipts, unread,
};

fn taste() -> impl Strategy<Value = Taste> {
    (1u8..8, any::<[bool; 5]>()).prop_map(|(limit, [threads, after, patient, lazy, archive])| {
        Taste { limit, threads, after, patient, lazy, archive }
    })
}

fn member(user: &str) -> (String, String) {
    ("m.room.member".to_owned(), user.to_owned())
}

/// Holds what a client knows against the model.
fn check(world: &World, client: &Client, user: usize, fresh: bool) {
    let (_, id) = &world.users[user];
    let of_rooms = |view: &View| {
        for (room, room_id) in &world.rooms {
            let (events, state) = naive(view, *room, id)?;
            let now = events
                .iter()
                .rev()
                .find(|e| e.kind == "m.room.member" && e.state_key.as_deref() == Some(id.as_str()));
            let membership = now.map(|e| e.membership.1.as_str());
            let known = client.rooms.get(room_id.as_str());
            assert_eq!(known.is_some(), membership == Some("join"), "{id} in {room_id}");
            let invite = client.invites.get(room_id.as_str());
            assert_eq!(invite.is_some(), membership == Some("invite"), "{id} invited to {room_id}");
            if let (Some(stripped), Some(now)) = (invite, now) {
                let sender = store::user::id(view, now.sender)?;
                let told = stripped.iter().any(|e| {
                    e["state_key"] == id.as_str()
                        && e["content"]["membership"] == "invite"
                        && e["sender"] == sender.as_str()
                });
                assert!(told, "{id} is not told who invited them to {room_id}");
            }
            if let Some(left) = client.left.get(room_id.as_str()) {
                let membership = store::room::membership(view, world.users[user].0, *room)?;
                let forgotten = membership.is_some_and(|m| m.forgotten || !m.was_joined);
                check_left(view, client.taste, left, &events, (id.as_str(), forgotten))?;
            }
            check_filled(view, client, room_id.as_str(), &events)?;
            let Some(known) = known else { continue };
            let about = format!("of {room_id} for {id}");
            check_state(client.taste, known, &state, id.as_str(), &about);
            check_introduced(view, client.taste, known, &events, &state)?;
            let visible: Vec<&String> =
                events.iter().filter(|e| e.visible).map(|e| &e.id).collect();
            let shown: Vec<&String> = known.timeline.iter().collect();
            assert!(visible.ends_with(&shown), "timeline {about}:\n{shown:#?}\n{visible:#?}");
            assert!(fresh || !shown.is_empty());
            check_own(view, world, client, user, (*room, known))?;
        }
        Ok(())
    };
    world.store.read_here(of_rooms).unwrap();
    let sent = &world.whispers[user];
    if fresh {
        assert!(sent.ends_with(&client.whispers), "{id}: what is not acknowledged is told");
    } else {
        assert_eq!(&client.whispers, sent, "{id}: each message once and in order");
    }
}

/// What users keep and have read.
fn check_own(
    view: &View,
    world: &World,
    client: &Client,
    user: usize,
    (room, known): (Room, &Known),
) -> base::Reply<()> {
    let (number, id) = &world.users[user];
    assert_eq!(client.data, account_data(view, *number, Room(0))?, "account data of {id}");
    assert_eq!(known.data, account_data(view, *number, room)?, "account data of {id} in {room}");
    assert_eq!(known.receipts, receipts(view, room, *number)?, "receipts of {room} for {id}");
    let (main, by_thread) = unread(view, room, *number, id)?;
    if client.taste.threads {
        assert_eq!((known.unread, &known.threads), (main, &by_thread), "unread of {id} in {room}");
    } else {
        let total = by_thread.values().fold(main, |a, b| (a.0 + b.0, a.1 + b.1));
        assert_eq!(known.unread, total, "unread of {id} in {room}");
        assert_eq!(known.threads, BTreeMap::new());
    }
    Ok(())
}

/// The state, and with lazy members those of it that the client knows.
fn check_state(taste: Taste, known: &Known, state: &State, user: &str, about: &str) {
    if !taste.lazy {
        assert_eq!(&known.state, state, "state {about}");
        return;
    }
    assert!(known.state.contains_key(&member(user)), "own member event {about}");
    let wanted: State = state
        .iter()
        .filter(|(key, _)| key.0 != "m.room.member" || known.state.contains_key(key))
        .map(|(key, id)| (key.clone(), id.clone()))
        .collect();
    assert_eq!(known.state, wanted, "lazy state {about}");
}

/// Whoever speaks in the timeline is known when it is shown, as who they were then.
fn check_introduced(
    view: &View,
    taste: Taste,
    known: &Known,
    events: &[Naive],
    end: &State,
) -> base::Reply<()> {
    for (id, introduced) in &known.introduced {
        let event = events.iter().find(|e| e.id == *id).unwrap();
        let sender = member(store::user::id(view, event.sender)?.as_str());
        let state = if taste.after { end } else { &event.before };
        assert_eq!(introduced.as_ref(), state.get(&sender), "{id}: {}", sender.1);
    }
    Ok(())
}

/// A page brings the member events of those who speak in it, unless a page before has: from the first page of a gap, or one
/// that went on where an earlier gap ended.
fn check_filled(view: &View, client: &Client, room_id: &str, events: &[Naive]) -> base::Reply<()> {
    for (_, page) in client.filled.iter().filter(|(room, _)| room == room_id) {
        let Some((newest, _)) = page.chunk.first() else { continue };
        let state = events.iter().find(|e| e.id == *newest).unwrap().after();
        let mut wanted = BTreeMap::new();
        for (id, sender) in &page.chunk {
            let event = events.iter().find(|e| e.id == *id).unwrap();
            assert_eq!(store::user::id(view, event.sender)?.as_str(), sender);
            if client.taste.lazy {
                wanted.extend(state.get(&member(sender)).map(|id| (sender.clone(), id.clone())));
            }
        }
        for (whose, event) in &page.members {
            assert_eq!(wanted.get(whose), Some(event), "members of a page of {room_id}");
            assert!(!page.before.contains(event), "{event} is told twice");
        }
        let told = |event: &String| page.before.contains(event) || client.paged.contains(event);
        for (whose, event) in wanted {
            assert!(page.members.contains_key(&whose) || told(&event), "{whose} in {room_id}");
        }
    }
    Ok(())
}

/// A room that was left is told up to when the user left it, and nothing later.
fn check_left(
    view: &View,
    taste: Taste,
    left: &Left,
    events: &[Naive],
    (user, forgotten): (&str, bool),
) -> base::Reply<()> {
    let departure = events.iter().rev().find(|e| e.is_departure());
    let own = |e: &Naive| e.kind == "m.room.member" && e.state_key.as_deref() == Some(user);
    let find = |id: &String| events.iter().find(|e| e.id == *id).unwrap();
    for event in left.timeline.iter().map(find) {
        assert!(event.visible || own(event), "{user} sees {} after leaving", event.id);
    }
    for event in left.state.iter().map(find) {
        let was_there = departure.is_some_and(|d| event.seq <= d.seq);
        let allowed = was_there || event.visible || own(event);
        assert!(allowed, "{user} is told of {} {} after leaving", event.kind, event.id);
    }
    let last = left.timeline.last().map(find);
    let now = events.iter().rev().find(|e| own(e));
    assert_eq!(last.map(|e| &e.id), now.map(|e| &e.id), "{user} is not told how they left");
    let known_before = departure.is_none_or(|d| left.since.is_some_and(|since| d.seq <= since));
    if forgotten || known_before {
        assert_eq!(left.timeline.len(), 1, "{user} is told only that the room is left");
        return Ok(());
    }
    let (Some(known), Some(departure)) = (&left.known, departure) else { return Ok(()) };
    let mut known = known.clone();
    let mut shown: Vec<&String> = known.timeline.iter().collect();
    while shown.last().is_some_and(|id| find(id).seq > departure.seq) {
        shown.pop();
    }
    let visible = events.iter().filter(|e| e.visible && e.seq <= departure.seq);
    let visible: Vec<&String> = visible.map(|e| &e.id).collect();
    assert!(visible.ends_with(&shown), "timeline of a room left:\n{shown:#?}\n{visible:#?}");
    known.introduced.retain(|(id, _)| find(id).seq <= departure.seq);
    let end = departure.after();
    // What happened to the user later stands behind the rest.
    known.state.insert(member(user), departure.id.clone());
    check_state(taste, &known, &end, user, "of a room left");
    check_introduced(view, taste, &known, events, &end)
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn incremental_syncs_equal_the_model_and_a_fresh_sync(
        ops in ops(90), tastes in proptest::collection::vec(taste(), USERS),
    ) {
        let mut world = World::new(USERS);
        let client = |world: &World, u: usize| Client::new(world.users[u].clone(), tastes[u]);
        let mut clients: Vec<Client> = (0..USERS).map(|u| client(&world, u)).collect();
        for op in &ops {
            world.perform(op);
            match op {
                Op::Sync(u) => {
                    clients[*u].sync(&world.store);
                    check(&world, &clients[*u], *u, false);
                    prop_assert!(!clients[*u].sync(&world.store), "nothing happened, but the server says so");
                }
                Op::Lost(u) => clients[*u].lose(&world.store),
                Op::Fresh(u, limit) => {
                    let taste = Taste { limit: *limit, ..tastes[*u] };
                    let mut fresh = Client::new(world.users[*u].clone(), taste);
                    fresh.device = "F".to_owned();
                    fresh.sync(&world.store);
                    check(&world, &fresh, *u, true);
                }
                _ => {}
            }
        }
        for (u, client) in clients.iter_mut().enumerate() {
            client.sync(&world.store);
            check(&world, client, u, false);
        }
    }
}
