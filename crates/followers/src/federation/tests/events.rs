use base::UnixMs;
use serde_json::json;
use store::log::Entry;

use super::{
    super::{compose::pdu, concern, scribe::Place},
    world::{World, numbers},
};

#[tokio::test(start_paused = true)]
async fn whoever_is_in_the_room_is_told_in_order_what_users_of_this_server_do() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let (room, other) = (world.room(alice), world.room(alice));
    let running = world.start().await;
    world.comes(room, "@bob:b.org", true);
    for n in 0..120 {
        world.say(room, alice, &n.to_string());
        world.say(other, alice, "elsewhere");
    }
    world.wire.until(|wire| wire.texts("b.org").len() >= 120).await;
    assert_eq!(world.wire.texts("b.org"), numbers(0..120));
    assert!(world.wire.told("b.org").iter().all(|transaction| transaction.pdus.len() <= 50));
    let sent = &world.wire.told("b.org")[0].pdus[0];
    let event: serde_json::Value = serde_json::from_str(sent.get()).unwrap();
    assert_eq!(event["room_id"], world.id(room).as_str());
    assert!(event["signatures"]["x.org"].is_object() && event["event_id"].is_null());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_put_out_is_told_so_and_nothing_after_that() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    let running = world.start().await;
    for id in ["@bob:b.org", "@carol:c.org"] {
        world.comes(room, id, true);
    }
    world.say(room, alice, "before");
    world.comes(room, "@bob:b.org", false);
    world.send(room, alice, "m.room.member", Some("@bob:b.org"), json!({ "membership": "ban" }));
    world.say(room, alice, "after");
    world.wire.until(|wire| wire.texts("c.org").len() == 3).await;
    world.wire.until(|wire| wire.texts("b.org").iter().any(|text| text == "ban")).await;
    running.stop().await;
    let told = world.wire.texts("b.org");
    // Whether the first still found it there depends on who was quicker.
    assert_eq!(told.last().unwrap(), "ban");
    assert_eq!(world.wire.texts("c.org"), ["before", "ban", "after"]);
}

#[tokio::test(start_paused = true)]
async fn who_was_down_gets_everything_in_order_beginning_with_the_same_transaction() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.comes(room, "@carol:c.org", true);
    world.wire.go_down("b.org");
    let running = world.start().await;
    world.say(room, alice, "0");
    world.wire.until(|wire| wire.tried("b.org").len() == 1).await;
    for n in 1..700 {
        world.say(room, alice, &n.to_string());
    }
    world.wire.until(|wire| wire.texts("c.org").len() == 700).await;
    assert_eq!(world.wire.tried("b.org").len(), 1, "it rests");
    world.wire.come_back("b.org");
    world.wire.until(|wire| wire.texts("b.org").len() == 700).await;
    assert_eq!(world.wire.texts("b.org"), numbers(0..700));
    let tried = world.wire.tried("b.org");
    assert_eq!(tried[0].id, tried[1].id);
    assert_eq!(tried[0].pdus[0].get(), tried[1].pdus[0].get());
    assert_eq!(tried[0].pdus.len(), tried[1].pdus.len());
    // Live again.
    world.say(room, alice, "700");
    world.wire.until(|wire| wire.texts("b.org").len() == 701).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_rests_is_not_tried_before_its_time() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.comes(room, "@carol:c.org", true);
    world.wire.go_down("b.org");
    let until = UnixMs(world.now.lock().0 + 100_000_000);
    world.wire.rest("b.org", until);
    let running = world.start().await;
    for n in 0..5 {
        world.say(room, alice, &n.to_string());
        world.wire.until(|wire| wire.texts("c.org").len() == n + 1).await;
        world.now.lock().0 += 7_000_000;
    }
    assert_eq!(
        world.wire.tried("b.org").len(),
        1,
        "who is to be told something the first time is tried"
    );
    assert!(world.row("b.org").unwrap().retry >= until);
    *world.now.lock() = UnixMs(until.0 + 10_000_000);
    world.wire.until(|wire| wire.tried("b.org").len() == 2).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_misses_nothing_and_gets_nothing_twice() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.comes(room, "@carol:c.org", true);
    let running = world.start().await;
    world.wire.hold("b.org");
    for n in 0..1_300 {
        world.say(room, alice, &n.to_string());
    }
    world.wire.until(|wire| wire.texts("c.org").last().is_some_and(|last| last == "1299")).await;
    world.wire.let_go("b.org");
    world.wire.until(|wire| wire.texts("b.org").last().is_some_and(|last| last == "1299")).await;
    let told = world.wire.texts("b.org");
    let begun: usize = told[0].parse().unwrap();
    assert_eq!(told, numbers(begun..1_300));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_same_transaction_is_sent_again_and_then_the_rest() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.wire.go_down("b.org");
    let running = world.start().await;
    world.say(room, alice, "0");
    world.wire.until(|wire| wire.tried("b.org").len() == 1).await;
    world.say(room, alice, "1");
    running.stop().await;
    assert!(world.row("b.org").unwrap().sending.is_some());
    world.say(room, alice, "2");
    world.wire.go_down("nobody");
    let running = world.start().await;
    world.wire.come_back("b.org");
    world.now.lock().0 += 10_000_000;
    world.wire.until(|wire| wire.texts("b.org").len() == 3).await;
    assert_eq!(world.wire.texts("b.org"), numbers(0..3));
    let tried = world.wire.tried("b.org");
    assert_eq!((&tried[0].id, tried[0].at), (&tried[1].id, tried[1].at));
    running.stop().await;
    let row = world.row("b.org").unwrap();
    assert_eq!((row.sending, row.failures), (None, 0));
    // Nothing is sent again, and nothing is lost, when there is another start.
    let before = world.wire.tried("b.org").len();
    world.say(room, alice, "3");
    let running = world.start().await;
    world.wire.until(|wire| wire.texts("b.org").len() == 4).await;
    assert_eq!(world.wire.tried("b.org").len(), before + 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_late_does_not_see_what_was_only_for_those_who_were_there() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let (room, open) = (world.room(alice), world.room(alice));
    let visibility = json!({ "history_visibility": "joined" });
    world.send(room, alice, "m.room.history_visibility", Some(""), visibility);
    world.comes(open, "@bob:b.org", true);
    world.wire.go_down("b.org");
    let running = world.start().await;
    world.say(open, alice, "0");
    world.wire.until(|wire| wire.tried("b.org").len() == 1).await;
    world.say(room, alice, "not for bob");
    world.say(open, alice, "1");
    world.comes(room, "@bob:b.org", true);
    world.wire.come_back("b.org");
    world.wire.until(|wire| wire.texts("b.org").len() >= 2).await;
    running.stop().await;
    assert_eq!(world.wire.texts("b.org"), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_was_let_in_is_told_of_by_this_server() {
    let world = World::new();
    let (alice, bob) = (world.user("@alice:x.org"), world.user("@bob:b.org"));
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.comes(room, "@carol:c.org", true);
    let event = world.say(room, alice, "shown as his");
    let entry = Entry::Event { room, event, sender: bob, target: Some(bob), state: true };
    let news = |entry: &Entry| world.store.read_here(|view| concern::news(view, entry));
    assert_eq!(news(&entry).unwrap(), None);
    world.write(move |tx| {
        store::outbox::speak_for(tx, event);
        Ok(())
    });
    let news = news(&entry).unwrap().unwrap();
    let servers = world.store.read_here(|view| concern::servers(view, &news)).unwrap();
    assert!(servers.contains("c.org") && !servers.contains("b.org"));
    let is_for =
        |server| world.store.read_here(|view| concern::is_for(view, &news, server)).unwrap();
    assert!(is_for("c.org") && !is_for("b.org"));
}

#[tokio::test]
async fn of_two_processes_one_sends() {
    let world = World::new();
    let (one, two) = (Place::new(false), Place::new(false));
    assert!(one.claim(&world.store).await.unwrap());
    assert!(!two.claim(&world.store).await.unwrap());
    assert!(one.claim(&world.store).await.unwrap());
    // It is gone without a word.
    world.now.lock().0 += 1_000_000;
    assert!(two.claim(&world.store).await.unwrap());
    assert!(!one.claim(&world.store).await.unwrap());
    two.release(&world.store).await.unwrap();
    assert!(one.claim(&world.store).await.unwrap());
}

#[test]
fn a_redacted_event_is_sent_without_its_content() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    let event = world.say(room, alice, "secret");
    let text = || world.store.read_here(|view| pdu(view, event)).unwrap().get().to_owned();
    assert!(text().contains("secret"));
    let (id, event_id) = (world.id(room), {
        world.store.read_here(|view| store::event::load(view, event)).unwrap().id.clone()
    });
    let content = serde_json::value::to_raw_value(&json!({ "redacts": event_id })).unwrap();
    world.write(move |tx| {
        let (kind, content) = ("m.room.redaction".to_owned(), content.clone());
        let room = store::room::find(tx, &id)?.unwrap();
        let redacts = Some(event_id.clone());
        let new = rooms::New { sender: alice, kind, state_key: None, content, redacts };
        rooms::append(tx, room, new).map(drop)
    });
    assert!(!text().contains("secret"));
}
