use std::sync::Arc;

use base::{Error, Seq, UnixMs};
use ruma::{events::AnyToDeviceEventContent, server_name};
use serde_json::{json, value::to_raw_value};
use store::{Options, Store};

use super::*;

fn open() -> Store {
    let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
    let mut options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
    options.threads = 2;
    Store::open(Arc::new(kv::Memory::default()), options).unwrap()
}

fn id(name: &str) -> OwnedUserId {
    OwnedUserId::try_from(format!("@{name}:x.org")).unwrap()
}

fn user(store: &Store, name: &str, devices: &[&str]) -> User {
    let (id, devices): (_, Vec<String>) = (id(name), devices.iter().map(|&d| d.into()).collect());
    let made = store.write_here(move |tx| {
        let user = user::intern(tx, &id)?;
        for device in &devices {
            let row = Device { display_name: None, created: UnixMs(1) };
            tx.put(&DEVICES, (user, device.clone()), &row);
        }
        Ok(user)
    });
    made.unwrap().value
}

fn to(name: &str, device: &str, body: usize) -> Messages<AnyToDeviceEventContent> {
    let device = match device {
        "*" => DeviceIdOrAllDevices::AllDevices,
        id => DeviceIdOrAllDevices::DeviceId(id.into()),
    };
    let content = Raw::from_json(to_raw_value(&json!({ "n": body })).unwrap());
    Messages::from([(id(name), BTreeMap::from([(device, content)]))])
}

fn sent(
    store: &Store,
    from: User,
    messages: Messages<AnyToDeviceEventContent>,
    txn: &str,
) -> Reply<()> {
    let txn = txn.to_owned();
    let write = store.write_here(move |tx| {
        let txn = Txn { device: "A1", path: "sendToDevice/m.x", id: &txn };
        send(tx, (from, &id("alice")), "m.x", &messages, txn)
    });
    write.map(|written| written.value)
}

fn waiting(store: &Store, user: User, device: &str) -> Vec<u64> {
    let read = store.read_here(|view| inbox::read(view, user, device, Seq::ZERO, 1_000)).unwrap();
    let number = |m: &inbox::Message| {
        let event: serde_json::Value = serde_json::from_str(&m.text).unwrap();
        assert_eq!((&event["sender"], &event["type"]), (&json!("@alice:x.org"), &json!("m.x")));
        event["content"]["n"].as_u64().unwrap()
    };
    read.iter().map(number).collect()
}

#[test]
fn messages_wait_in_order_and_a_repeated_request_adds_none() {
    let store = open();
    let (alice, bob) = (user(&store, "alice", &["A1"]), user(&store, "bob", &["B1", "B2"]));
    for n in [1, 2, 2, 3] {
        sent(&store, alice, to("bob", "B1", n), &n.to_string()).unwrap();
    }
    assert_eq!(waiting(&store, bob, "B1"), [1, 2, 3]);
    assert!(waiting(&store, bob, "B2").is_empty());
}

#[test]
fn a_star_reaches_every_device_and_what_does_not_exist_is_passed_over() {
    let store = open();
    let (alice, bob) = (user(&store, "alice", &["A1"]), user(&store, "bob", &["B1", "B2"]));
    sent(&store, alice, to("bob", "*", 1), "1").unwrap();
    for (name, device) in [("bob", "B3"), ("nobody", "*")] {
        sent(&store, alice, to(name, device, 2), device).unwrap();
    }
    assert_eq!(waiting(&store, bob, "B1"), [1]);
    assert_eq!(waiting(&store, bob, "B2"), [1]);
    assert!(waiting(&store, bob, "B3").is_empty());
}

#[test]
fn what_is_acknowledged_is_gone_and_nothing_else() {
    let store = open();
    let (alice, bob) = (user(&store, "alice", &["A1"]), user(&store, "bob", &["B1"]));
    for n in 1..=3 {
        sent(&store, alice, to("bob", "B1", n), &n.to_string()).unwrap();
    }
    let read = store.read_here(|view| inbox::read(view, bob, "B1", Seq::ZERO, 2)).unwrap();
    let upto = read.last().unwrap().at;
    let had = store.read_here(|view| inbox::acknowledged(view, bob, "B1", upto)).unwrap();
    store.write_here(move |tx| inbox::forget(tx, bob, "B1", &had)).unwrap();
    assert_eq!(waiting(&store, bob, "B1"), [3]);
    let rest = store.read_here(|view| inbox::read(view, bob, "B1", upto, 9)).unwrap();
    assert_eq!(rest.len(), 1);
}

#[test]
fn an_inbox_ends_with_its_device_even_if_somebody_writes_at_that_moment() {
    let store = open();
    let (alice, bob) = (user(&store, "alice", &["A1"]), user(&store, "bob", &["B1"]));
    sent(&store, alice, to("bob", "B1", 1), "1").unwrap();
    let other = store.clone();
    let mut runs = 0;
    let ended = store.write_here(move |tx| {
        runs += 1;
        inbox::end(tx, bob, "B1")?;
        tx.delete(&DEVICES, (bob, "B1".to_owned()));
        if runs == 1 {
            // Between what this transaction has read and its commit.
            let (tell, told) = std::sync::mpsc::channel();
            let other = other.clone();
            std::thread::spawn(move || {
                tell.send(sent(&other, alice, to("bob", "B1", 2), "2")).unwrap();
            });
            told.recv().unwrap().unwrap();
        }
        Ok(runs)
    });
    assert_eq!(ended.unwrap().value, 2);
    assert!(waiting(&store, bob, "B1").is_empty());
}

#[test]
fn a_message_is_an_object() {
    let store = open();
    let alice = user(&store, "alice", &["A1"]);
    let mut messages = to("alice", "A1", 1);
    for by_device in messages.values_mut() {
        for content in by_device.values_mut() {
            *content = Raw::from_json(to_raw_value(&json!([1])).unwrap());
        }
    }
    let Err(Error::Refused(no)) = sent(&store, alice, messages, "1") else { panic!() };
    assert_eq!((no.status, no.errcode), (400, "M_BAD_JSON"));
}

fn outbox(store: &Store, server: &str) -> Vec<serde_json::Value> {
    let rows: Vec<((String, Seq), String)> = store
        .read_here(|view| view.under(&store::schema::OUTBOX, (server.to_owned(),), 100))
        .unwrap();
    rows.into_iter().map(|(_, text)| serde_json::from_str(&text).unwrap()).collect()
}

#[test]
fn what_is_for_users_of_another_server_waits_for_it_once_and_together() {
    let store = open();
    let alice = user(&store, "alice", &["A1"]);
    for id in ["@bob:b.org", "@carol:b.org", "@dan:d.org"] {
        let id = OwnedUserId::try_from(id).unwrap();
        store.write_here(move |tx| user::intern(tx, &id)).unwrap();
    }
    let mut messages = Messages::new();
    for (id, device) in
        [("@bob:b.org", "*"), ("@carol:b.org", "C1"), ("@dan:d.org", "D"), ("@eve:e.org", "E")]
    {
        let (_, by_device) = to("x", device, 7).pop_first().unwrap();
        messages.insert(OwnedUserId::try_from(id).unwrap(), by_device);
    }
    sent(&store, alice, messages.clone(), "1").unwrap();
    sent(&store, alice, messages, "1").unwrap();
    let told = outbox(&store, "b.org");
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&told["sender"], &told["type"]), (&json!("@alice:x.org"), &json!("m.x")));
    let both = json!({ "@bob:b.org": { "*": { "n": 7 } }, "@carol:b.org": { "C1": { "n": 7 } } });
    assert_eq!(told["messages"], both);
    let other = outbox(&store, "d.org");
    assert_ne!(told["message_id"], other[0]["message_id"]);
    assert_eq!(outbox(&store, "e.org").len(), 1, "nothing need be known of who is written to");
}

#[test]
fn a_transaction_that_comes_twice_delivers_each_of_its_messages_once() {
    let store = open();
    let bob = user(&store, "bob", &["B"]);
    for _ in 0..2 {
        for id in 0..200 {
            let incoming: Incoming = serde_json::from_value(json!({
                "sender": "@eve:c.org", "type": "m.x", "message_id": format!("{id}"),
                "messages": { "@bob:x.org": { "B": { "n": id } } },
            }))
            .unwrap();
            store.write_here(move |tx| receive(tx, "c.org", &incoming)).unwrap();
        }
    }
    let kept = store.read_here(|view| inbox::read(view, bob, "B", Seq::ZERO, 999)).unwrap();
    assert_eq!(kept.len(), 200);
}

#[test]
fn a_message_of_another_server_is_delivered_once_and_only_in_the_name_of_its_users() {
    let store = open();
    let bob = user(&store, "bob", &["B1", "B2"]);
    let come = |sender: &str, id: &str, device: &str| {
        let incoming: Incoming = serde_json::from_value(json!({
            "sender": sender, "type": "m.x", "message_id": id,
            "messages": {
                "@bob:x.org": { device: { "n": 1 } },
                "@nobody:x.org": { "*": { "n": 1 } },
                "@bob:b.org": { "*": { "n": 1 } },
                "odd": { "*": { "n": 1 } },
            },
        }))
        .unwrap();
        store.write_here(move |tx| receive(tx, "c.org", &incoming)).unwrap();
    };
    let count = |device: &str| {
        store.read_here(|view| inbox::read(view, bob, device, Seq::ZERO, 99)).unwrap().len()
    };
    come("@eve:c.org", "1", "*");
    come("@eve:c.org", "1", "*");
    assert_eq!((count("B1"), count("B2")), (1, 1));
    come("@eve:c.org", "2", "B2");
    come("@eve:c.org", "3", "B9");
    come("@alice:x.org", "4", "*");
    assert_eq!((count("B1"), count("B2")), (1, 2));
    let first = store.read_here(|view| inbox::read(view, bob, "B1", Seq::ZERO, 1)).unwrap();
    let event: serde_json::Value = serde_json::from_str(&first[0].text).unwrap();
    assert_eq!(event, json!({ "content": { "n": 1 }, "sender": "@eve:c.org", "type": "m.x" }));
}
