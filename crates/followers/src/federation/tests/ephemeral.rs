use std::sync::Arc;

use base::{Event, UnixMs, User};
use serde_json::{Value, json};
use store::{
    PresenceState,
    schema::{DEVICES, Device, OUTBOX},
};

use super::world::World;

fn of_kind(edus: Vec<Value>, kind: &str) -> Vec<Value> {
    let edus = edus.into_iter().filter(|edu| edu["edu_type"] == kind);
    edus.map(|edu| edu["content"].clone()).collect()
}

impl World {
    fn read(&self, room: base::Room, user: User, event: Event, thread: Option<&'static str>) {
        let id = self.id(room);
        let event =
            self.store.read_here(|view| store::event::load(view, event)).unwrap().id.clone();
        self.write(move |tx| {
            let mark = rooms::receipt::Mark::Read;
            rooms::receipt::set(tx, user, &id, mark, &event, thread)
        });
    }

    fn read_unseen(&self, room: base::Room, user: User, event: Event) {
        let id = self.id(room);
        let event =
            self.store.read_here(|view| store::event::load(view, event)).unwrap().id.clone();
        self.write(move |tx| {
            let mark = rooms::receipt::Mark::ReadPrivate;
            rooms::receipt::set(tx, user, &id, mark, &event, None)
        });
    }

    fn waiting(&self, server: &str) -> usize {
        let rows: Vec<((String, base::Seq), String)> =
            self.store.read_here(|view| view.under(&OUTBOX, (server.to_owned(),), 100)).unwrap();
        rows.len()
    }
}

#[tokio::test(start_paused = true)]
async fn of_receipts_the_newest_of_each_thread_is_told_and_private_ones_never() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    world.wire.go_down("b.org");
    let running = world.start().await;
    let first = world.say(room, alice, "0");
    world.wire.until(|wire| wire.tried("b.org").len() == 1).await;
    let (second, third) = (world.say(room, alice, "1"), world.say(room, alice, "2"));
    for event in [first, second, third] {
        world.read(room, alice, event, None);
    }
    world.read(room, alice, second, Some("main"));
    world.read_unseen(room, alice, third);
    world.wire.come_back("b.org");
    world.wire.until(|wire| of_kind(wire.edus("b.org"), "m.receipt").len() == 2).await;
    running.stop().await;
    let receipts = of_kind(world.wire.edus("b.org"), "m.receipt");
    let of = |n: usize| receipts[n][world.id(room).as_str()]["m.read"]["@alice:x.org"].clone();
    let id =
        |event| world.store.read_here(|view| store::event::load(view, event)).unwrap().id.clone();
    assert_eq!(of(0)["event_ids"], json!([id(third)]));
    assert_eq!(of(1)["event_ids"], json!([id(second)]));
    assert_eq!(
        (&of(0)["data"]["thread_id"], &of(1)["data"]["thread_id"]),
        (&json!(null), &json!("main"))
    );
    assert!(of(0)["data"]["ts"].is_u64());
}

#[tokio::test(start_paused = true)]
async fn a_message_for_devices_waits_until_it_was_acknowledged() {
    let world = World::new();
    world.wire.go_down("b.org");
    let running = world.start().await;
    world.write(|tx| {
        store::outbox::put(tx, "b.org", json!({ "message_id": "m1" }).to_string());
        Ok(())
    });
    world.wire.until(|wire| wire.tried("b.org").len() == 1).await;
    assert_eq!(world.waiting("b.org"), 1);
    world.wire.come_back("b.org");
    world.wire.until(|wire| wire.tried("b.org").len() == 2).await;
    running.stop().await;
    let tried = world.wire.tried("b.org");
    assert_eq!((&tried[0].id, &tried[0].edus), (&tried[1].id, &tried[1].edus));
    let told = of_kind(world.wire.edus("b.org"), "m.direct_to_device");
    assert_eq!(told, [json!({ "message_id": "m1" })]);
    assert_eq!(world.waiting("b.org"), 0);
}

#[tokio::test(start_paused = true)]
async fn changes_of_devices_name_the_change_before_them() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    let changed = |device: &'static str, there: bool| {
        world.write(move |tx| {
            let key = (alice, device.to_owned());
            let row = Device { display_name: Some(device.to_lowercase()), created: UnixMs(1) };
            if there {
                tx.put(&DEVICES, key, &row)
            } else {
                tx.delete(&DEVICES, key)
            }
            store::device_changes::announce(tx, alice, device);
            Ok(())
        });
    };
    let running = world.start().await;
    changed("A", true);
    world.comes(room, "@bob:b.org", true);
    for (device, there) in [("B", true), ("A", false)] {
        changed(device, there);
    }
    let told = || of_kind(world.wire.edus("b.org"), "m.device_list_update");
    world.wire.until(|_| told().iter().any(|edu| edu["deleted"] == true)).await;
    running.stop().await;
    let told = told();
    let [.., made, gone] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&made["device_id"], &made["device_display_name"]), (&json!("B"), &json!("b")));
    assert_eq!((&gone["device_id"], &gone["user_id"]), (&json!("A"), &json!("@alice:x.org")));
    assert_eq!(gone["prev_id"], json!([made["stream_id"]]));
    assert_eq!(made["prev_id"].as_array().unwrap().len(), 1, "one that was not told is named too");
}

#[tokio::test(start_paused = true)]
async fn who_types_here_is_told_of_and_who_types_elsewhere_is_not() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    let bob = world.user("@bob:b.org");
    let running = world.start().await;
    let told = || of_kind(world.wire.edus("b.org"), "m.typing");
    world.store.set_typing(room, bob, Some(UnixMs(u64::MAX)));
    world.store.set_typing(room, alice, Some(UnixMs(u64::MAX)));
    world.wire.until(|_| told().len() == 1).await;
    // Who goes on is told of again.
    world.now.lock().0 += 40_000;
    world.wire.until(|_| told().len() == 2).await;
    world.store.set_typing(room, alice, None);
    world.wire.until(|_| told().iter().any(|edu| edu["typing"] == false)).await;
    running.stop().await;
    let typing = |typing: bool| json!({ "room_id": world.id(room), "user_id": "@alice:x.org", "typing": typing });
    assert_eq!(told(), [typing(true), typing(true), typing(false)]);
    assert_eq!(world.row("b.org"), None, "nothing is written down for that");
}

#[tokio::test(start_paused = true)]
async fn who_shares_a_room_is_told_who_is_present() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    world.comes(room, "@bob:b.org", true);
    let running = world.start().await;
    let status = Some("here".to_owned());
    world.store.set_presence(alice, "A", PresenceState::Online, status, &Arc::from([room]));
    let told = || of_kind(world.wire.edus("b.org"), "m.presence");
    world.wire.until(|_| !told().is_empty()).await;
    running.stop().await;
    let push = &told()[0]["push"][0];
    assert_eq!((&push["user_id"], &push["presence"]), (&json!("@alice:x.org"), &json!("online")));
    assert_eq!((&push["status_msg"], &push["currently_active"]), (&json!("here"), &json!(true)));
    assert!(push["last_active_ago"].is_u64());
}

#[tokio::test(start_paused = true)]
async fn whom_the_room_keeps_out_is_not_told_what_passes_in_it() {
    let world = World::new();
    let alice = world.user("@alice:x.org");
    let room = world.room(alice);
    for id in ["@bob:b.org", "@carol:c.org"] {
        world.comes(room, id, true);
    }
    let acl = json!({ "allow": ["*"], "deny": ["b.org"] });
    world.send(room, alice, "m.room.server_acl", Some(""), acl);
    let running = world.start().await;
    let event = world.say(room, alice, "0");
    world.read(room, alice, event, None);
    world.store.set_typing(room, alice, Some(UnixMs(u64::MAX)));
    world.wire.until(|wire| wire.edus("c.org").len() == 2).await;
    world.say(room, alice, "1");
    world.wire.until(|wire| wire.texts("b.org").len() == 2).await;
    running.stop().await;
    assert_eq!(world.wire.edus("b.org"), [json!(null); 0]);
}
