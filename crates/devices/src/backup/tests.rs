use std::sync::Arc;

use base::{Error, Reply, User};
use ruma::server_name;
use serde_json::{Value, json, value::to_raw_value};
use store::{
    Options, Store, Tx, View, key_backup,
    schema::{BACKED_UP_KEYS, BackedUpKey},
};

use super::{
    State,
    keys::{self, Rooms, Sessions},
    page::{Key, Reader},
    version::{self, Described},
};

const ALICE: User = User(1);
const ROOM: &str = "!r:x.org";

fn open() -> Store {
    let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
    let mut options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
    options.threads = 2;
    Store::open(Arc::new(kv::Memory::default()), options).unwrap()
}

fn write<T: Send + 'static>(
    store: &Store,
    f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
) -> Reply<T> {
    store.write_here(f).map(|written| written.value)
}

fn read<T>(store: &Store, f: impl FnOnce(&View) -> Reply<T>) -> Reply<T> {
    store.read_here(f)
}

fn described() -> Described {
    Described { algorithm: "a".to_owned(), auth_data: r#"{"k":1}"#.to_owned() }
}

fn create(store: &Store) -> String {
    write(store, |tx| version::create(tx, ALICE, described())).unwrap()
}

fn key(first: u64) -> Value {
    json!({
        "is_verified": false, "first_message_index": first, "forwarded_count": 0,
        "session_data": {"x": 1},
    })
}

fn put(store: &Store, version: &str, room: &str, named: &[(&str, Value)]) -> Reply<State> {
    let raw = |(name, key): &(&str, Value)| ((*name).to_owned(), to_raw_value(key).unwrap());
    let sessions: Sessions = named.iter().map(raw).collect();
    let rooms = Rooms::from([(room.to_owned(), sessions)]);
    let version = version.to_owned();
    write(store, move |tx| keys::put(tx, ALICE, &version, &rooms))
}

/// As many keys as asked for, in one room.
fn fill(store: &Store, version: &str, room: &str, count: usize) -> State {
    let names: Vec<String> = (0..count).map(|n| format!("{n:05}")).collect();
    let named: Vec<(&str, Value)> = names.iter().map(|name| (&**name, key(0))).collect();
    put(store, version, room, &named).unwrap()
}

fn state(store: &Store, version: &str) -> State {
    read(store, |view| version::get(view, ALICE, version)).unwrap().state
}

fn status<T>(reply: Reply<T>) -> (u16, &'static str) {
    match reply {
        Ok(_) => (200, ""),
        Err(Error::Refused(no)) => (no.status, no.errcode),
        Err(Error::Fault(fault)) => panic!("{fault}"),
    }
}

fn all(store: &Store, version: &str, room: Option<&str>) -> Vec<Key> {
    let mut reader = Reader::new(ALICE, version, room);
    let mut all = Vec::new();
    loop {
        let page = read(store, |view| reader.next(view)).unwrap();
        let last = Reader::is_last(&page);
        all.extend(page);
        if last {
            return all;
        }
    }
}

#[test]
fn versions_rise_and_never_come_twice() {
    let store = open();
    assert_eq!([create(&store), create(&store)], ["1", "2"]);
    let delete =
        |version: &'static str| write(&store, move |tx| version::delete(tx, ALICE, version));
    delete("2").unwrap();
    assert_eq!(create(&store), "3");
    for gone in ["2", "3", "3", "1"] {
        delete(gone).unwrap();
    }
    assert_eq!(status(delete("4")), (404, "M_NOT_FOUND"));
    assert_eq!(status(delete("0")), (404, "M_NOT_FOUND"));
    assert_eq!(status(delete("01")), (404, "M_NOT_FOUND"));
    assert_eq!(create(&store), "4");
}

#[test]
fn only_the_newest_backup_takes_keys() {
    let store = open();
    assert_eq!(status(put(&store, "1", ROOM, &[])), (404, "M_NOT_FOUND"));
    create(&store);
    create(&store);
    let Err(Error::Refused(no)) = put(&store, "1", ROOM, &[("s", key(0))]) else { panic!() };
    assert_eq!((no.status, no.errcode), (403, "M_WRONG_ROOM_KEYS_VERSION"));
    assert_eq!(no.extra["current_version"], "2");
    assert_eq!(status(put(&store, "3", ROOM, &[])), (404, "M_NOT_FOUND"));
    write(&store, |tx| version::delete(tx, ALICE, "2")).unwrap();
    assert_eq!(put(&store, "1", ROOM, &[("s", key(0))]).unwrap().count, 1);
}

#[test]
fn count_and_etag_change_with_the_keys_and_only_with_them() {
    let store = open();
    let version = create(&store);
    let one = put(&store, &version, ROOM, &[("s", key(5))]).unwrap();
    assert_eq!(one.count, 1);
    assert_eq!(put(&store, &version, ROOM, &[("s", key(6))]).unwrap(), one, "a worse key");
    let better = put(&store, &version, ROOM, &[("s", key(4))]).unwrap();
    assert_eq!(better.count, 1);
    assert_ne!(better.etag, one.etag);
    let gone = write(&store, |tx| keys::delete_one(tx, ALICE, "1", ROOM, "s")).unwrap();
    assert_eq!(gone.count, 0);
    assert_ne!(gone.etag, better.etag);
    let again = write(&store, |tx| keys::delete_one(tx, ALICE, "1", ROOM, "s")).unwrap();
    assert_eq!(again, gone);
    assert_eq!(state(&store, &version), gone);
}

#[test]
fn a_key_is_kept_as_it_was_given() {
    let store = open();
    let version = create(&store);
    let mut given = key(0);
    given["session_data"] = json!({"b": [1.5, null], "a": "é"});
    given["other"] = json!({"deep": true});
    put(&store, &version, ROOM, &[("s", given.clone())]).unwrap();
    let kept = read(&store, |view| keys::one(view, ALICE, &version, ROOM, "s")).unwrap();
    assert_eq!(kept, to_raw_value(&given).unwrap().get());
}

#[test]
fn what_is_no_key_is_refused_and_nothing_of_its_request_kept() {
    let store = open();
    let version = create(&store);
    let without = |field: &str| {
        let mut key = key(0);
        key.as_object_mut().unwrap().remove(field);
        key
    };
    let with = |field: &str, value: Value| {
        let mut key = key(0);
        key[field] = value;
        key
    };
    for bad in [
        without("is_verified"),
        without("first_message_index"),
        without("forwarded_count"),
        without("session_data"),
        with("first_message_index", json!(-1)),
        with("forwarded_count", json!("1")),
        with("session_data", json!("text")),
        json!([]),
    ] {
        let reply = put(&store, &version, ROOM, &[("a", key(0)), ("b", bad.clone())]);
        assert_eq!(status(reply), (400, "M_BAD_JSON"), "{bad}");
    }
    let large = with("session_data", json!({"c": "x".repeat(40_000)}));
    assert_eq!(status(put(&store, &version, ROOM, &[("a", large)])), (413, "M_TOO_LARGE"));
    let long = "s".repeat(129);
    for (room, session) in [("r", "s"), (ROOM, ""), (ROOM, "a\0b"), (ROOM, &long)] {
        let reply = put(&store, &version, room, &[(session, key(0))]);
        assert_eq!(status(reply), (400, "M_INVALID_PARAM"), "{room} {session}");
    }
    assert_eq!(state(&store, &version).count, 0);
}

#[test]
fn a_backup_of_many_pages_is_read_as_a_whole_and_by_room() {
    let store = open();
    let version = create(&store);
    // Neighbours in every way a key can be one.
    for (room, count) in [("!a:x", 300), ("!a:x.org", 1), ("!aa:x", 128), ("!b:x", 2)] {
        fill(&store, &version, room, count);
    }
    let found = all(&store, &version, None);
    assert_eq!(found.len(), 431);
    assert!(found.windows(2).all(|two| (&two[0].0, &two[0].1) < (&two[1].0, &two[1].1)));
    for (room, count) in [("!a:x", 300), ("!a:x.org", 1), ("!aa:x", 128), ("!c:x", 0)] {
        let of = all(&store, &version, Some(room));
        assert_eq!(of.len(), count);
        assert!(of.iter().all(|key| key.0 == room));
    }
}

#[test]
fn a_room_is_deleted_in_portions_each_of_which_counts() {
    let store = open();
    let version = create(&store);
    fill(&store, &version, ROOM, 700);
    let before = fill(&store, &version, "!other:x.org", 3);
    let some = || write(&store, |tx| keys::delete_some(tx, ALICE, "1", ROOM)).unwrap();
    let (first, more) = some();
    assert_eq!((first.count, more), (203, true));
    assert_ne!(first.etag, before.etag);
    assert_eq!(state(&store, &version), first);
    let (second, more) = some();
    assert_eq!((second.count, more), (3, false));
    assert_eq!(all(&store, &version, None).len(), 3);
}

/// Keys that lie about, whoever has them.
fn lying(store: &Store) -> usize {
    let rows: Vec<((User, u64, String, String), BackedUpKey)> =
        read(store, |view| view.everything(&BACKED_UP_KEYS, None, 10_000)).unwrap();
    rows.len()
}

/// What the follower does.
fn sweep(store: &Store) {
    let entries = read(store, |view| view.log(base::Seq::ZERO, view.head(), 10_000)).unwrap();
    for (_, entry) in entries {
        if let store::log::Entry::ShelfGone { user, shelf } = entry {
            while write(store, move |tx| key_backup::sweep(tx, user, shelf, 100)).unwrap() {}
        }
    }
}

#[test]
fn all_keys_go_at_once_and_new_ones_outlive_the_sweeping() {
    let store = open();
    let version = create(&store);
    let full = fill(&store, &version, ROOM, 250);
    let empty = write(&store, |tx| keys::delete_all(tx, ALICE, "1")).unwrap();
    assert_eq!(empty.count, 0);
    assert_ne!(empty.etag, full.etag);
    assert!(all(&store, &version, None).is_empty());
    fill(&store, &version, ROOM, 2);
    assert_eq!(lying(&store), 252);
    sweep(&store);
    assert_eq!((lying(&store), all(&store, &version, None).len()), (2, 2));
    write(&store, |tx| version::delete(tx, ALICE, "1")).unwrap();
    sweep(&store);
    assert_eq!(lying(&store), 0);
}

#[test]
fn an_answer_breaks_off_when_its_keys_are_deleted() {
    let store = open();
    let version = create(&store);
    fill(&store, &version, ROOM, 200);
    let mut reader = Reader::new(ALICE, &version, None);
    assert_eq!(read(&store, |view| reader.next(view)).unwrap().len(), 128);
    write(&store, |tx| keys::delete_all(tx, ALICE, "1")).unwrap();
    assert_eq!(status(read(&store, |view| reader.next(view))), (404, "M_NOT_FOUND"));
}

#[test]
fn only_what_describes_a_backup_may_change() {
    let store = open();
    create(&store);
    let update = |named: Option<&'static str>, algorithm: &str, auth_data: &str| {
        let new = Described { algorithm: algorithm.to_owned(), auth_data: auth_data.to_owned() };
        write(&store, move |tx| version::update(tx, ALICE, "1", named, new.clone()))
    };
    assert_eq!(status(update(Some("2"), "a", "{}")), (400, "M_INVALID_PARAM"));
    assert_eq!(status(update(None, "b", "{}")), (400, "M_INVALID_PARAM"));
    assert_eq!(status(update(None, "a", "[]")), (400, "M_BAD_JSON"));
    update(Some("1"), "a", r#"{"k":2}"#).unwrap();
    let shown = read(&store, |view| version::latest(view, ALICE)).unwrap();
    assert_eq!((shown.version.as_str(), shown.described.auth_data.as_str()), ("1", r#"{"k":2}"#));
}

#[test]
fn the_backups_of_an_account_end_with_it() {
    let store = open();
    create(&store);
    let version = create(&store);
    fill(&store, &version, ROOM, 20);
    write(&store, |tx| key_backup::end_of_account(tx, ALICE)).unwrap();
    assert_eq!(status(read(&store, |view| version::latest(view, ALICE))), (404, "M_NOT_FOUND"));
    sweep(&store);
    assert_eq!(lying(&store), 0);
}
