use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{UnixMs, User};
use protocol::SigningKey;
use ruma::{OwnedUserId, UserId, server_name};
use serde_json::{Map, Value, json};
use store::{
    Options, Store, copied, device_keys,
    schema::{ACCOUNTS, Account, DESTINATIONS, DEVICES, Destination, Device},
    user,
};

use super::{
    claim::{Claims, claim},
    cross_signing::{self, Keys, Outcome},
    query::{self, Viewer},
    signatures::{self, SignedKeys},
    upload::{Upload, upload},
};

fn open() -> Store {
    let key = SigningKey::generate([7; 32], "t").unwrap();
    let mut options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
    options.threads = 4;
    Store::open(Arc::new(kv::Memory::default()), options).unwrap()
}

fn id(name: &str) -> OwnedUserId {
    OwnedUserId::try_from(format!("@{name}:x.org")).unwrap()
}

fn person(store: &Store, name: &str, device: &str) -> User {
    let (id, device) = (id(name), device.to_owned());
    let made = store.write_here(move |tx| {
        let user = user::intern(tx, &id)?;
        let (password, created) = (None, UnixMs(1));
        let account = Account {
            password,
            created,
            admin: false,
            guest: false,
            deactivated: false,
            erased: false,
        };
        tx.put(&ACCOUNTS, (user,), &account);
        tx.put(
            &DEVICES,
            (user, device.clone()),
            &Device { display_name: None, created: UnixMs(1) },
        );
        Ok(user)
    });
    made.unwrap().value
}

fn one_time(names: impl IntoIterator<Item = usize>) -> Upload {
    let named =
        |n| (format!("signed_curve25519:{n:03}"), json!({"key": format!("k{n}")}).to_string());
    Upload { one_time_keys: names.into_iter().map(named).collect(), ..Upload::default() }
}

fn put(store: &Store, user: User, name: &str, device: &str, new: Upload) -> base::Reply<u64> {
    let (id, device) = (id(name), device.to_owned());
    let left = store.write_here(move |tx| upload(tx, (user, &id), &device, &new))?.value;
    Ok(left.counts["signed_curve25519"])
}

fn asked(name: &str, device: &str) -> Claims {
    let device = BTreeMap::from([(device.to_owned(), "signed_curve25519".to_owned())]);
    BTreeMap::from([(id(name).to_string(), device)])
}

fn claimed(store: &Store, claims: &Claims) -> Option<String> {
    let claims = claims.clone();
    let given = store.write_here(move |tx| claim(tx, &claims)).unwrap().value.keys;
    let device = given.values().next()?.as_object()?.values().next()?;
    device.as_object()?.keys().next().cloned()
}

#[test]
fn a_key_is_given_out_once_however_many_claim_at_once() {
    let store = open();
    let bob = person(&store, "bob", "B");
    put(&store, bob, "bob", "B", one_time(0..40)).unwrap();
    let claims = asked("bob", "B");
    let all: Vec<Option<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(|| claimed(&store, &claims))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let given: Vec<&String> = all.iter().flatten().collect();
    let different: BTreeSet<&&String> = given.iter().collect();
    assert_eq!((given.len(), different.len()), (40, 40));
}

#[test]
fn keys_are_given_out_in_the_order_of_their_uploads_then_the_fallback_key_again_and_again() {
    let store = open();
    let bob = person(&store, "bob", "B");
    put(&store, bob, "bob", "B", one_time([5])).unwrap();
    let mut second = one_time([1]);
    let fallback = json!({"key": "f", "fallback": true}).to_string();
    second.fallback_keys.insert("signed_curve25519:fall".to_owned(), fallback);
    assert_eq!(put(&store, bob, "bob", "B", second.clone()).unwrap(), 2);
    let supply = |store: &Store| store.read_here(|v| device_keys::supply(v, bob, "B")).unwrap();
    assert_eq!(supply(&store).unused_fallbacks, ["signed_curve25519"]);
    let next = || claimed(&store, &asked("bob", "B")).unwrap();
    let given = [next(), next(), next(), next()];
    let names = ["005", "001", "fall", "fall"].map(|n| format!("signed_curve25519:{n}"));
    assert_eq!(given, names);
    assert!(supply(&store).unused_fallbacks.is_empty());
    assert_eq!(supply(&store).counts["signed_curve25519"], 0);
    // The same fallback key again is as used as before.
    second.one_time_keys.clear();
    put(&store, bob, "bob", "B", second).unwrap();
    assert!(supply(&store).unused_fallbacks.is_empty());
}

#[test]
fn the_same_key_may_be_uploaded_again_and_another_under_its_name_may_not() {
    let store = open();
    let bob = person(&store, "bob", "B");
    assert_eq!(put(&store, bob, "bob", "B", one_time([1, 2])).unwrap(), 2);
    assert_eq!(put(&store, bob, "bob", "B", one_time([2, 3])).unwrap(), 3);
    let mut other = Upload::default();
    other
        .one_time_keys
        .insert("signed_curve25519:002".to_owned(), json!({"key": "other"}).to_string());
    assert!(put(&store, bob, "bob", "B", other).is_err());
}

#[test]
fn a_key_that_was_claimed_is_never_given_out_again_even_if_it_is_uploaded_again() {
    let store = open();
    let bob = person(&store, "bob", "B");
    put(&store, bob, "bob", "B", one_time([1, 2])).unwrap();
    assert_eq!(claimed(&store, &asked("bob", "B")).unwrap(), "signed_curve25519:001");
    // The answer to the upload was lost.
    assert_eq!(put(&store, bob, "bob", "B", one_time([1, 2])).unwrap(), 1);
    assert_eq!(claimed(&store, &asked("bob", "B")).unwrap(), "signed_curve25519:002");
    assert_eq!(claimed(&store, &asked("bob", "B")), None);
    // Another key under an old name is another key.
    let other = json!({"key": "other"}).to_string();
    let new = BTreeMap::from([("signed_curve25519:001".to_owned(), other)]);
    let new = Upload { one_time_keys: new, ..Upload::default() };
    assert_eq!(put(&store, bob, "bob", "B", new).unwrap(), 1);
}

#[test]
fn a_copy_of_a_store_gives_out_nothing_and_says_nothing_that_the_original_may_have() {
    let store = open();
    let bob = person(&store, "bob", "B");
    let mut keys = one_time([1, 2]);
    let fallback = json!({"key": "f"}).to_string();
    keys.fallback_keys = BTreeMap::from([("signed_curve25519:fall".to_owned(), fallback)]);
    put(&store, bob, "bob", "B", keys.clone()).unwrap();
    let stream = |store: &Store| {
        let key = ("b.org".to_owned(),);
        store.read_here(|v| v.get(&DESTINATIONS, key)).unwrap().unwrap().stream
    };
    let row = Destination { stream: 5, next: 9, ..Destination::default() };
    store
        .write_here(move |tx| {
            store::device_changes::announce(tx, bob, "B");
            tx.put(&DESTINATIONS, ("b.org".to_owned(),), &row);
            Ok(())
        })
        .unwrap();
    let last = |store: &Store, before| {
        store.read_here(|v| store::device_changes::last_before(v, bob, before)).unwrap().unwrap()
    };
    let (told, head) = (last(&store, base::Seq::MAX), store.head());
    copied::mark(&store).unwrap();
    copied::settle(&store).unwrap();
    assert!(!copied::is_marked(&store).unwrap());
    let supply = store.read_here(|v| device_keys::supply(v, bob, "B")).unwrap();
    assert_eq!((supply.counts["signed_curve25519"], supply.unused_fallbacks.len()), (0, 0));
    assert_eq!(put(&store, bob, "bob", "B", keys).unwrap(), 0);
    assert_eq!(claimed(&store, &asked("bob", "B")).unwrap(), "signed_curve25519:fall");
    assert_ne!(stream(&store), 5);
    assert!(store.head().0 > head.0 + (1 << 26), "a token of the original lies behind what comes");
    // The announced change follows upon one that no server was told of.
    let now = last(&store, base::Seq::MAX);
    assert!(now > head && last(&store, now) > told);
}

#[test]
fn devices_that_have_no_key_left_are_counted() {
    let store = open();
    let bob = person(&store, "bob", "B");
    let count = |device: &str| {
        let claims = asked("bob", device);
        let given = store.write_here(move |tx| claim(tx, &claims)).unwrap().value;
        (given.by_fallback, given.nothing)
    };
    assert_eq!(count("B"), (0, 0), "it has no keys at all");
    let keys = json!({"user_id": id("bob"), "device_id": "B", "algorithms": [], "keys": {}});
    let mut new = one_time([1]);
    new.device_keys = Some(keys.to_string());
    put(&store, bob, "bob", "B", new).unwrap();
    assert_eq!((count("B"), count("B")), ((0, 0), (0, 1)));
    let fallback = json!({"key": "f"}).to_string();
    let new = BTreeMap::from([("signed_curve25519:fall".to_owned(), fallback)]);
    let new = Upload { fallback_keys: new, ..Upload::default() };
    put(&store, bob, "bob", "B", new).unwrap();
    assert_eq!((count("B"), count("C")), ((1, 0), (0, 0)));
}

#[test]
fn a_device_that_ends_leaves_no_keys() {
    let store = open();
    let bob = person(&store, "bob", "B");
    put(&store, bob, "bob", "B", one_time([1])).unwrap();
    store.write_here(move |tx| device_keys::end(tx, bob, "B")).unwrap();
    assert_eq!(claimed(&store, &asked("bob", "B")), None);
}

/// A cross-signing key, signed by others.
fn key(of: &UserId, usage: &str, key: &SigningKey, signers: &[&SigningKey]) -> String {
    let public = key.public_key();
    let object =
        json!({"user_id": of, "usage": [usage], "keys": {format!("ed25519:{public}"): public}});
    signed(object, of, signers)
}

/// An object with signatures whose ids are the public keys.
fn signed(mut object: Value, by: &UserId, signers: &[&SigningKey]) -> String {
    let text = protocol::json::canonical(&object.to_string(), true).unwrap();
    let made: Map<String, Value> = signers
        .iter()
        .map(|key| (format!("ed25519:{}", key.public_key()), key.sign(text.as_bytes()).into()))
        .collect();
    if !made.is_empty() {
        object["signatures"] = json!({ by.as_str(): made });
    }
    object.to_string()
}

fn sign_up(
    store: &Store,
    user: User,
    id: &UserId,
    keys: &Keys,
    proven: bool,
) -> base::Reply<Outcome> {
    let (id, keys) = (id.to_owned(), keys.clone());
    let done = store.write_here(move |tx| cross_signing::upload(tx, (user, &id), &keys, proven));
    done.map(|done| done.value)
}

fn seed(n: u8) -> SigningKey {
    SigningKey::generate([n; 32], "k").unwrap()
}

fn keys_of(id: &UserId, first: u8) -> Keys {
    let [master, own, others] = [seed(first), seed(first + 1), seed(first + 2)];
    Keys {
        master: Some(key(id, "master", &master, &[])),
        self_signing: Some(key(id, "self_signing", &own, &[&master])),
        user_signing: Some(key(id, "user_signing", &others, &[&master])),
    }
}

#[test]
fn first_keys_and_the_same_keys_need_no_proof_and_others_do() {
    let store = open();
    let (alice, id) = (person(&store, "alice", "A"), id("alice"));
    let (keys, others) = (keys_of(&id, 10), keys_of(&id, 20));
    assert_eq!(sign_up(&store, alice, &id, &keys, false).unwrap(), Outcome::Kept);
    assert_eq!(sign_up(&store, alice, &id, &keys, false).unwrap(), Outcome::Kept);
    assert_eq!(sign_up(&store, alice, &id, &others, false).unwrap(), Outcome::NeedsProof);
    assert_eq!(sign_up(&store, alice, &id, &others, true).unwrap(), Outcome::Kept);
    let alone = Keys { master: None, self_signing: keys.self_signing, user_signing: None };
    assert!(sign_up(&store, alice, &id, &alone, true).is_err());
}

#[test]
fn a_signature_on_another_user_is_seen_by_the_signer_only() {
    let store = open();
    let (alice, bob) = (person(&store, "alice", "A"), person(&store, "bob", "B"));
    sign_up(&store, alice, &id("alice"), &keys_of(&id("alice"), 10), false).unwrap();
    sign_up(&store, bob, &id("bob"), &keys_of(&id("bob"), 20), false).unwrap();
    let public = seed(20).public_key();
    let object = json!({"user_id": id("bob"), "usage": ["master"],
        "keys": {format!("ed25519:{public}"): public}});
    let try_with = |signer: SigningKey| {
        let text = signed(object.clone(), &id("alice"), &[&signer]);
        let keys =
            SignedKeys::from([(id("bob").to_string(), BTreeMap::from([(public.clone(), text)]))]);
        let done = store.write_here(move |tx| {
            signatures::upload(tx, (alice, &id("alice")), &keys, &Map::new())
        });
        done.unwrap().value
    };
    let refused = try_with(seed(11));
    assert_eq!(refused[id("bob").as_str()][&public]["errcode"], "M_INVALID_SIGNATURE");
    assert!(try_with(seed(12)).is_empty());
    let asked = BTreeMap::from([(id("bob").to_string(), Vec::new())]);
    let seen = |viewer| {
        let found = store.read_here(|view| query::local(view, viewer, &asked)).unwrap();
        let master = found.master_keys[id("bob").as_str()].clone();
        let usk = found.user_signing_keys.contains_key(id("bob").as_str());
        (master["signatures"][id("alice").as_str()].is_object(), usk)
    };
    assert_eq!(seen(Viewer::User(alice)), (true, false));
    assert_eq!(seen(Viewer::User(bob)), (false, true));
    assert_eq!(seen(Viewer::Server), (false, false));
}
