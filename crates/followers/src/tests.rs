use std::sync::Arc;

use base::{Room, Seq, User};
use rooms::{New, append};
use ruma::{OwnedUserId, RoomVersionId, api::IncomingRequestExt as _, server_name};
use serde_json::{Value, json};
use store::{
    Options, Store, Tx, event, follow, key_backup,
    log::Entry,
    room,
    schema::{ACCOUNTS, Account, BACKED_UP_KEYS, BackedUpKey, PROFILES, Standing},
    user,
};

use crate::{ROOMS_AT_ONCE, all};

fn open() -> Store {
    let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
    let mut options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
    options.threads = 2;
    Store::open(Arc::new(kv::Memory::default()), options).unwrap()
}

fn account(tx: &mut Tx, id: &str, deactivated: bool) -> base::Reply<User> {
    let user = user::intern(tx, &OwnedUserId::try_from(id).unwrap())?;
    let account = Account {
        password: None,
        created: tx.now(),
        admin: false,
        guest: false,
        deactivated,
        erased: false,
    };
    tx.put(&ACCOUNTS, (user,), &account);
    Ok(user)
}

/// One user in more rooms than a step takes.
fn populated(store: &Store) -> User {
    let body = json!({"preset": "public_chat"}).to_string();
    let request = || http_request(&body);
    let requests: Vec<_> = (0..ROOMS_AT_ONCE + 3).map(|_| request()).collect();
    let made = store.write_here(move |tx| {
        let user = account(tx, "@alice:x.org", false)?;
        for request in &requests {
            rooms::create::create(tx, user, &RoomVersionId::V12, request)?;
        }
        Ok(user)
    });
    made.unwrap().value
}

fn http_request(body: &str) -> ruma::api::client::room::create_room::v3::Request {
    let uri = "/_matrix/client/v3/createRoom";
    let request = http::Request::post(uri).body(body.as_bytes()).unwrap();
    ruma::api::client::room::create_room::v3::Request::try_from_http_request(request, &[]).unwrap()
}

async fn run(store: &Store, id: &str) {
    let follower = all().into_iter().find(|f| f.id() == id).unwrap();
    let mut at = None;
    loop {
        let now = follow::advance(store, &follower, at).await.unwrap();
        if at == Some(now) {
            return;
        }
        at = Some(now);
    }
}

fn memberships(store: &Store, user: User) -> Vec<(Room, Standing, Value)> {
    store
        .read_here(|view| {
            let rooms = room::rooms_of(view, user)?;
            let content = |e| event::load(view, e).map(|e| e.content_as::<Value>().unwrap());
            rooms.iter().map(|(r, m)| Ok((*r, m.standing, content(m.event)?))).collect()
        })
        .unwrap()
}

#[tokio::test]
async fn a_new_name_reaches_every_room_once() {
    let store = open();
    let user = populated(&store);
    run(&store, "profile").await;
    let before = store.read_here(|view| Ok(view.head())).unwrap();
    store
        .write_here(move |tx| {
            tx.put(&PROFILES, (user, "displayname".to_owned()), &json!("Alice").to_string());
            tx.announce(Entry::Profile { user, key: "displayname".to_owned() });
            Ok(())
        })
        .unwrap();
    run(&store, "profile").await;
    let all = memberships(&store, user);
    assert_eq!(all.len(), ROOMS_AT_ONCE + 3);
    for (_, standing, content) in all {
        assert_eq!((standing, &content["displayname"]), (Standing::Join, &json!("Alice")));
    }
    let entries = store.read_here(|view| view.log(before, Seq::MAX, 1_000)).unwrap();
    let events = entries.iter().filter(|(_, e)| matches!(e, Entry::Event { .. })).count();
    assert_eq!(events, ROOMS_AT_ONCE + 3);
}

#[tokio::test]
async fn a_room_that_forbids_the_change_holds_up_no_other() {
    let store = open();
    let user = populated(&store);
    let (first, ..) = memberships(&store, user).remove(0);
    store
        .write_here(move |tx| {
            let content = serde_json::value::to_raw_value(&json!({"join_rule": "odd"})).unwrap();
            let kind = "m.room.join_rules".to_owned();
            let state_key = Some(String::new());
            append(tx, first, New { sender: user, kind, state_key, content, redacts: None })?;
            tx.put(&PROFILES, (user, "displayname".to_owned()), &json!("Alice").to_string());
            tx.announce(Entry::Profile { user, key: "displayname".to_owned() });
            Ok(())
        })
        .unwrap();
    run(&store, "profile").await;
    let renamed = |(_, _, content): &(Room, Standing, Value)| content["displayname"] == "Alice";
    let all = memberships(&store, user);
    assert_eq!(all.iter().filter(|m| !renamed(m)).map(|m| m.0).collect::<Vec<_>>(), [first]);
}

#[tokio::test]
async fn who_is_deactivated_leaves_every_room_and_nobody_else_does() {
    let store = open();
    let user = populated(&store);
    let mut others = memberships(&store, user);
    let (with_bob, ..) = others.remove(0);
    let bob = store.write_here(move |tx| {
        let bob = account(tx, "@bob:x.org", false)?;
        let id = room::id(tx, with_bob)?;
        rooms::join::join(tx, bob, false, <&ruma::RoomOrAliasId>::from(&*id), None)?;
        tx.announce(Entry::Account { user: bob });
        account(tx, "@alice:x.org", true)?;
        tx.announce(Entry::Account { user });
        Ok(bob)
    });
    run(&store, "departure").await;
    assert!(memberships(&store, user).iter().all(|(_, standing, _)| *standing == Standing::Leave));
    assert_eq!(memberships(&store, bob.unwrap().value)[0].1, Standing::Join);
}

#[tokio::test]
async fn keys_that_no_backup_has_are_swept_however_many_and_no_others() {
    let store = open();
    let (alice, bob) = (User(1), User(2));
    let of = |user: User, shelf: u64, count: usize| {
        store
            .write_here(move |tx| {
                for n in 0..count {
                    let key = BackedUpKey {
                        is_verified: false,
                        first_message_index: 0,
                        forwarded_count: 0,
                        json: "{}".to_owned(),
                    };
                    let place = (user, shelf, "!r:x.org".to_owned(), n.to_string());
                    tx.put(&BACKED_UP_KEYS, place, &key);
                }
                Ok(())
            })
            .unwrap();
    };
    for (user, shelf, count) in [(alice, 7, 1_200), (alice, 8, 3), (bob, 7, 2)] {
        of(user, shelf, count);
    }
    let leave = move |tx: &mut Tx| {
        key_backup::leave(tx, alice, 7);
        Ok(())
    };
    store.write_here(leave).unwrap();
    run(&store, "sweep").await;
    let left: Vec<((User, u64, String, String), BackedUpKey)> =
        store.read_here(|view| view.everything(&BACKED_UP_KEYS, None, 10_000)).unwrap();
    let left: Vec<(User, u64)> =
        left.into_iter().map(|((user, shelf, ..), _)| (user, shelf)).collect();
    assert_eq!(left, [(alice, 8), (alice, 8), (alice, 8), (bob, 7), (bob, 7)]);
}
