//! Servers that are there and take nothing, that this one does not talk to, and that are away for very long.

use base::{Seq, UnixMs};
use flows::peers::{Said, Unanswered};
use store::{outbox, schema::OUTBOX};

use super::world::World;

fn said(status: u16) -> Option<Unanswered> {
    let (errcode, message) = ("M_SOMETHING".to_owned(), String::new());
    Some(Unanswered::Refused(Said { status, errcode, message }))
}

fn later(world: &World, ms: u64) {
    world.now.lock().0 += ms;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_refused_for_what_is_in_it_is_left_out_in_the_end() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.wire.refuse("b.org", said(400));
    let running = world.start().await;
    world.say(room, alice, "unfit");
    for tries in 1..=5 {
        world.wire.until(|wire| wire.tried("b.org").len() >= tries).await;
        later(&world, 3_600_000);
    }
    world.wire.refuse("b.org", None);
    world.say(room, alice, "fit");
    world.wire.until(|wire| wire.texts("b.org").iter().any(|text| text == "fit")).await;
    let tried = world.wire.tried("b.org");
    assert!(tried[..5].iter().all(|transaction| transaction.id == tried[0].id));
    assert_eq!(world.wire.texts("b.org"), ["unfit", "fit"], "each in a transaction of its own");
    assert_eq!(tried.len(), 6);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_from_this_one_is_asked_rarely_until_it_is_heard_of() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.wire.refuse("b.org", said(403));
    let running = world.start().await;
    world.say(room, alice, "0");
    world.wire.until(|wire| wire.tried("b.org").len() == 1).await;
    let mut before = UnixMs(0);
    for tries in 2..=10 {
        let retry = loop {
            match world.row("b.org") {
                Some(row) if row.retry > before => break row.retry,
                _ => tokio::task::yield_now().await,
            }
        };
        before = retry;
        *world.now.lock() = retry;
        world.wire.until(|wire| wire.tried("b.org").len() == tries).await;
    }
    loop {
        let row = world.row("b.org").unwrap();
        if row.failures == 10 {
            assert!(row.retry.0 - world.now.lock().0 > 12 * 3_600_000);
            break;
        }
        tokio::task::yield_now().await;
    }
    world.wire.refuse("b.org", None);
    world.wire.come_back("b.org");
    world.wire.until(|wire| wire.tried("b.org").len() == 11).await;
    assert_eq!(world.wire.texts("b.org"), ["0"], "nothing was left out");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_talked_to_waits_for_the_lists_to_be_read_again() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    for id in ["@bob:b.org", "@carol:c.org"] {
        world.comes(room, id, true);
    }
    world.wire.refuse("b.org", Some(Unanswered::Barred));
    let running = world.start().await;
    world.say(room, alice, "0");
    world.wire.until(|wire| wire.tried("b.org").len() == 1).await;
    for n in 1..10 {
        later(&world, 1_000_000_000);
        world.say(room, alice, &n.to_string());
        world.wire.until(|wire| wire.texts("c.org").len() == n + 1).await;
    }
    assert_eq!(world.wire.tried("b.org").len(), 1);
    world.wire.refuse("b.org", None);
    world.wire.change_border();
    world.wire.until(|wire| wire.texts("b.org").len() == 10).await;
    running.stop().await;
}

#[test]
fn messages_for_a_server_that_is_away_are_bounded_by_number_and_age() {
    const DAY_MS: u64 = 86_400_000;
    let world = World::new();
    let waiting = |server: &'static str| {
        let rows = world.store.read_here(|view| view.under(&OUTBOX, (server.to_owned(),), 100_000));
        let rows: Vec<((String, Seq), String)> = rows.unwrap();
        rows.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    let put = |server: &'static str, from: usize, to: usize| {
        world.write(move |tx| {
            (from..to).for_each(|n| outbox::put(tx, server, n.to_string()));
            Ok(())
        });
    };
    let drop_excess = |server: &'static str| {
        world.write(move |tx| match outbox::excess(tx, server, tx.now())? {
            Some(upto) => outbox::drop_upto(tx, server, upto, 100_000),
            None => Ok(0),
        })
    };
    world.write(outbox::mark_day);
    put("b.org", 0, 10);
    put("c.org", 0, outbox::MESSAGES_MAX + 3);
    assert_eq!((drop_excess("b.org"), drop_excess("c.org")), (0, 3));
    assert_eq!(waiting("c.org")[0], "3", "the oldest go");
    for _ in 0..13 {
        later(&world, DAY_MS);
        world.write(outbox::mark_day);
    }
    put("b.org", 10, 20);
    assert_eq!(drop_excess("b.org"), 0);
    later(&world, 2 * DAY_MS);
    world.write(outbox::mark_day);
    assert_eq!(drop_excess("b.org"), 10);
    assert_eq!(waiting("b.org").len(), 10);
    later(&world, 30 * DAY_MS);
    world.write(outbox::mark_day);
    assert_eq!(drop_excess("b.org"), 10);
    let days = world.store.read_here(|view| view.everything(&store::schema::DAYS, None, 100));
    let days: Vec<((u64,), Seq)> = days.unwrap();
    assert_eq!(days.len(), 2, "{days:?}");
}
