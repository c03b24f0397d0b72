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
