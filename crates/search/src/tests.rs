use std::{collections::BTreeSet, sync::Arc};

use base::{Event, Room, User};
use rooms::{New, append};
use ruma::{OwnedUserId, RoomVersionId, api::IncomingRequestExt as _, server_name};
use serde_json::{Value, json};
use store::{Options, Store, schema::PROFILES, user};

use crate::{
    Messages,
    messages::{Key, Order, Query},
    people,
};

struct House {
    store: Store,
    alice: User,
    room: Room,
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
        let mut options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
        options.threads = 2;
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        let alice = member(&store, "@alice:x.org");
        let room = room(&store, alice, "private_chat");
        House { store, alice, room, folder: tempfile::TempDir::new().unwrap() }
    }

    fn says(&self, content: Value) -> (Event, String) {
        let (room, sender) = (self.room, self.alice);
        let content = serde_json::value::to_raw_value(&content).unwrap();
        let kind = "m.room.message".to_owned();
        let new = New { sender, kind, state_key: None, content, redacts: None };
        let sent = self.store.write_here(move |tx| append(tx, room, new.clone())).unwrap().value;
        (sent.event, sent.id.to_string())
    }

    fn redacts(&self, id: &str) {
        let (room, sender) = (self.room, self.alice);
        let content = serde_json::value::to_raw_value(&json!({ "redacts": id })).unwrap();
        let kind = "m.room.redaction".to_owned();
        let redacts = Some(id.try_into().unwrap());
        let new = New { sender, kind, state_key: None, content, redacts };
        self.store.write_here(move |tx| append(tx, room, new.clone())).unwrap();
    }

    fn open(&self) -> Messages {
        Messages::open(self.folder.path(), self.store.head()).unwrap()
    }

    fn find(&self, index: &Messages, term: &str) -> Vec<Event> {
        while index.catch_up(&self.store).unwrap() {}
        let keys = BTreeSet::from([Key::Body, Key::Name, Key::Topic]);
        let rooms = vec![self.room];
        let query = Query { term: term.to_owned(), rooms, keys, order: Order::Recent };
        index.find(&query, 0, 100).unwrap().0.into_iter().map(|hit| hit.event).collect()
    }
}

fn member(store: &Store, id: &str) -> User {
    let id = OwnedUserId::try_from(id).unwrap();
    store.write_here(move |tx| user::intern(tx, &id)).unwrap().value
}

fn room(store: &Store, creator: User, preset: &str) -> Room {
    let body = json!({ "preset": preset }).to_string();
    let request = http::Request::post("/_matrix/client/v3/createRoom").body(body.as_bytes());
    let request = ruma::api::client::room::create_room::v3::Request::try_from_http_request(
        request.unwrap(),
        &[],
    )
    .unwrap();
    let made = move |tx: &mut store::Tx| {
        let id = rooms::create::create(tx, creator, &RoomVersionId::V12, &request)?;
        Ok(store::room::find(tx, &id)?.unwrap())
    };
    store.write_here(made).unwrap().value
}

fn text(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

fn edit(of: &str, body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": format!("* {body}"), "m.new_content": text(body),
        "m.relates_to": { "rel_type": "m.replace", "event_id": of } })
}

#[test]
fn all_words_must_be_there_and_the_last_may_go_on() {
    let house = House::new();
    let (tea, _) = house.says(text("Earl Grey, hot"));
    let (cup, _) = house.says(text("a cup of tea, earl"));
    let index = house.open();
    assert_eq!(house.find(&index, "EARL"), [cup, tea]);
    assert_eq!(house.find(&index, "earl gr"), [tea]);
    assert_eq!(house.find(&index, "gr earl"), []);
    assert_eq!(house.find(&index, "coffee"), []);
}

#[test]
fn an_event_is_found_by_its_newest_edit_and_not_when_redacted() {
    let house = House::new();
    let (event, id) = house.says(text("first"));
    let index = house.open();
    assert_eq!(house.find(&index, "first"), [event]);
    let (_, edit_id) = house.says(edit(&id, "second"));
    assert_eq!(house.find(&index, "first"), []);
    assert_eq!(house.find(&index, "second"), [event]);
    house.redacts(&edit_id);
    assert_eq!(house.find(&index, "first"), [event]);
    house.redacts(&id);
    assert_eq!(house.find(&index, "first"), []);
}

#[test]
fn an_index_goes_on_where_it_was_and_a_broken_one_is_built_again() {
    let house = House::new();
    let (event, _) = house.says(text("needle"));
    assert_eq!(house.find(&house.open(), "needle"), [event]);
    let again = house.open();
    assert_eq!(again.position(), house.store.head());
    assert_eq!(house.find(&again, "needle"), [event]);
    drop(again);
    std::fs::write(house.folder.path().join("meta.json"), "{").unwrap();
    let built = house.open();
    assert_eq!(built.position(), base::Seq::ZERO);
    assert_eq!(house.find(&built, "needle"), [event]);
}

#[test]
fn an_index_ahead_of_its_store_is_built_again() {
    let house = House::new();
    house.says(text("needle"));
    assert_eq!(house.find(&house.open(), "needle").len(), 1);
    let restored = House::new();
    let index = Messages::open(house.folder.path(), base::Seq(1)).unwrap();
    assert_eq!(restored.find(&index, "needle"), []);
}

#[test]
fn people_are_found_by_how_their_names_begin_by_those_who_may() {
    let house = House::new();
    let eve = member(&house.store, "@eve:x.org");
    let zoe = member(&house.store, "@z:x.org");
    house
        .store
        .write_here(move |tx| {
            tx.put(&PROFILES, (zoe, "displayname".to_owned()), &"\"Zoé Österberg\"".to_owned());
            people::index(tx, zoe)
        })
        .unwrap();
    let find = |who: User, term: &str| {
        let found = house.store.read_here(|view| people::find(view, who, term, 10)).unwrap().0;
        found.into_iter().map(|p| p.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(find(zoe, "oster zo"), ["@z:x.org"]);
    assert!(find(eve, "zoe").is_empty(), "nothing in common");
    room(&house.store, zoe, "public_chat");
    assert_eq!(find(eve, "zoe"), ["@z:x.org"]);
    house
        .store
        .write_here(move |tx| {
            tx.put(&PROFILES, (zoe, "displayname".to_owned()), &"\"Someone\"".to_owned());
            people::index(tx, zoe)
        })
        .unwrap();
    assert!(find(eve, "zoe").is_empty(), "the old name is forgotten");
}
