//! Replaying incremental syncs equals the naive model, and equals a fresh first sync, over random histories.

use std::collections::BTreeMap;

use proptest::prelude::*;
use testkit::{Client, Op, Sent, World, naive, receipts, unread};

const USERS: usize = 4;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (u, r, n) = (|| 0..USERS, || 0..3usize, || 0..12usize);
    let sent = prop_oneof![
        4 => Just(Sent::Text),
        1 => u().prop_map(Sent::Mention),
        1 => Just(Sent::MentionRoom),
        3 => n().prop_map(Sent::Thread),
        1 => n().prop_map(Sent::Reaction),
        1 => n().prop_map(Sent::Edit),
    ];
    let op = prop_oneof![
        10 => (u(), r(), sent).prop_map(|(a, b, c)| Op::Send(a, b, c)),
        6 => (u(), r()).prop_map(|(a, b)| Op::Join(a, b)),
        2 => (u(), r()).prop_map(|(a, b)| Op::Leave(a, b)),
        2 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Invite(a, b, c)),
        1 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Kick(a, b, c)),
        2 => (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::Topic(a, b, c)),
        1 => (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::History(a, b, c)),
        2 => (u(), r(), n()).prop_map(|(a, b, c)| Op::Redact(a, b, c)),
        4 => (u(), r(), n(), any::<bool>(), any::<bool>())
            .prop_map(|(a, b, c, d, e)| Op::Read(a, b, c, d, e)),
        5 => u().prop_map(Op::Sync),
        1 => (u(), 1u8..12).prop_map(|(a, b)| Op::Fresh(a, b)),
    ];
    proptest::collection::vec(op, 1..90)
}

/// Holds what a client knows against the model.
fn check(world: &World, client: &Client, user: usize, threads: bool, fresh: bool) {
    let (number, id) = &world.users[user];
    world
        .store
        .read_here(|view| {
            for (room, room_id) in &world.rooms {
                let (events, state) = naive(view, *room, id)?;
                let member = state.get(&("m.room.member".to_owned(), id.to_string()));
                let content = member.and_then(|m| events.iter().find(|e| e.id == *m));
                let membership = content.map(|e| e.content["membership"].as_str().unwrap_or(""));
                let known = client.rooms.get(room_id.as_str());
                assert_eq!(known.is_some(), membership == Some("join"), "{id} in {room_id}");
                let invited = client.invites.contains(room_id.as_str());
                assert_eq!(invited, membership == Some("invite"), "{id} invited to {room_id}");
                let Some(known) = known else { continue };
                assert_eq!(known.state, state, "state of {room_id} for {id}");

                let visible: Vec<&String> =
                    events.iter().filter(|e| e.visible).map(|e| &e.id).collect();
                let shown: Vec<&String> = known.timeline.iter().collect();
                assert!(visible.ends_with(&shown), "timeline of {room_id} for {id}:\n{shown:#?}\n{visible:#?}");
                assert!(fresh || !shown.is_empty());

                assert_eq!(known.receipts, receipts(view, *room, *number)?, "receipts of {room_id} for {id}");
                let (main, by_thread) = unread(view, *room, *number, id)?;
                if threads {
                    assert_eq!((known.unread, &known.threads), (main, &by_thread), "unread of {id} in {room_id}");
                } else {
                    let total = by_thread.values().fold(main, |a, b| (a.0 + b.0, a.1 + b.1));
                    assert_eq!(known.unread, total, "unread of {id} in {room_id}");
                    assert_eq!(known.threads, BTreeMap::new());
                }
            }
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(
        std::env::var("SYNC_ORACLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
    ) })]

    #[test]
    fn incremental_syncs_equal_the_model_and_a_fresh_sync(
        ops in ops(), limit in 1u8..8, threads: bool, after: bool, patient: bool,
    ) {
        let mut world = World::new(USERS);
        let client = |world: &World, u: usize, limit| Client::new(world.users[u].clone(), limit, threads, after, patient);
        let mut clients: Vec<Client> = (0..USERS).map(|u| client(&world, u, limit)).collect();
        for op in &ops {
            world.perform(op);
            match op {
                Op::Sync(u) => {
                    clients[*u].sync(&world.store);
                    check(&world, &clients[*u], *u, threads, false);
                    prop_assert!(!clients[*u].sync(&world.store), "nothing happened, but the server says so");
                }
                Op::Fresh(u, limit) => {
                    let mut fresh = client(&world, *u, *limit);
                    fresh.sync(&world.store);
                    check(&world, &fresh, *u, threads, true);
                }
                _ => {}
            }
        }
        for (u, client) in clients.iter_mut().enumerate() {
            client.sync(&world.store);
            check(&world, client, u, threads, false);
        }
    }
}
