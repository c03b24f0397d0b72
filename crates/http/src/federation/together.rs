//! Two servers in one process, each of which reaches the other by its door: what users of one do in rooms of the other.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use accounts::{account::New, device::Login};
use bytes::Bytes;
use flows::{
    journey::{Journeys, completion},
    peers::{Patience, Peers, Wire},
};
use futures_util::future::BoxFuture;
use http::Response;
use protocol::Pdu;
use rooms::remote::Outcome;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName, RoomId, RoomVersionId,
    api::federation::transactions::send_transaction_message::v1::Request,
};
use serde_json::{Value, json, value::RawValue};
use store::{Store, event};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{Local, testing};

/// For what comes in on its own.
const WAIT_MS: u32 = 5_000;
/// Other news that may come before what is waited for.
const NEWS_MAX: u32 = 4;
const V3: &str = "/_matrix/client/v3";
const V1: &str = "/_matrix/client/v1";

/// The way to all servers there are.
#[derive(Clone, Default)]
struct Line(Arc<OnceLock<HashMap<OwnedServerName, Local>>>);

impl Wire for Line {
    fn exchange(
        &self,
        to: OwnedServerName,
        request: http::Request<Bytes>,
        _: Patience,
    ) -> BoxFuture<'_, Result<Response<Bytes>, String>> {
        Box::pin(async move {
            let server = self.0.get().and_then(|servers| servers.get(&to)).cloned();
            let server = server.ok_or_else(|| format!("there is no {to}"))?;
            Ok(server.call(request).await)
        })
    }
}

/// Somebody with an account.
struct Person {
    local: Local,
    id: String,
    token: String,
    /// How their server asks others.
    peers: Peers,
    journeys: Journeys,
    /// What their server needs while it runs.
    server: Arc<(Store, TempDir, watch::Sender<bool>)>,
}

async fn person(name: &str, server: &str, key: u8, line: &Line) -> Person {
    let (store, folder) =
        (testing::store_of(server.try_into().unwrap(), key), TempDir::new().unwrap());
    let (stop, outside) = testing::outside_by(
        &store,
        &folder,
        |_| {},
        |_, options| Peers::with_wire(store.clone(), options, Arc::new(line.clone())),
    );
    let (peers, journeys) = (outside.peers.clone(), outside.journeys.clone());
    let local = Local::new(crate::client::routes().and(super::routes()), outside).unwrap();
    let (id, token) = account(&store, name).await;
    Person { local, id, token, peers, journeys, server: Arc::new((store, folder, stop)) }
}

/// A new account: its id, and an access token.
async fn account(store: &Store, name: &str) -> (String, String) {
    let name = Some(name.to_owned());
    let new = New { name, guest: false, password: None, admin: false, display_name: None };
    let made = store.write(None, move |tx| {
        let (user, id) = accounts::account::register(tx, &new)?;
        let login = Login { device: Some("D".into()), ..Login::default() };
        Ok((id.to_string(), accounts::device::log_in(tx, user, &login)?.tokens.access))
    });
    made.await.unwrap().value
}

/// Alice of `a.test`, bob of `b.test` and charlie of `c.test`.
async fn three() -> [Person; 3] {
    let line = Line::default();
    let alice = person("alice", "a.test", 1, &line).await;
    let bob = person("bob", "b.test", 2, &line).await;
    let charlie = person("charlie", "c.test", 3, &line).await;
    let servers = [("a.test", &alice), ("b.test", &bob), ("c.test", &charlie)];
    let servers = servers.map(|(name, of)| (name.try_into().unwrap(), of.local.clone()));
    assert!(line.0.set(HashMap::from(servers)).is_ok());
    [alice, bob, charlie]
}

async fn two() -> (Person, Person) {
    let [alice, bob, _] = three().await;
    (alice, bob)
}

fn segment(text: &str) -> String {
    text.replace('!', "%21").replace('$', "%24").replace('@', "%40").replace('#', "%23")
}

impl Person {
    async fn try_to(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let response = self.local.call(request.body(body.into()).unwrap()).await;
        let (head, body) = response.into_parts();
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    async fn does(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_to(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        self.does("GET", path, Value::Null).await
    }

    async fn room(&self, request: Value) -> String {
        let made = self.does("POST", &format!("{V3}/createRoom"), request).await;
        made["room_id"].as_str().unwrap().to_owned()
    }

    /// Somebody else of the same server.
    async fn neighbour(&self, name: &str) -> Person {
        let (id, token) = account(&self.server.0, name).await;
        let (local, peers) = (self.local.clone(), self.peers.clone());
        let journeys = self.journeys.clone();
        Person { local, id, token, peers, journeys, server: self.server.clone() }
    }

    async fn says(&self, room: &str, text: &str) -> String {
        let path = format!("{V3}/rooms/{}/send/m.room.message/{text}", segment(room));
        let said = self.does("PUT", &path, json!({"msgtype": "m.text", "body": text})).await;
        said["event_id"].as_str().unwrap().to_owned()
    }

    async fn joins(&self, room: &str, via: &str) {
        self.does("POST", &format!("{V3}/join/{}?via={via}", segment(room)), json!({})).await;
    }

    /// Waits until its server knows all members of a room.
    async fn knows_all(&self, room: &str) {
        let stop = self.server.2.subscribe();
        tokio::spawn(completion::run(self.journeys.clone(), stop));
        self.get(&format!("{V3}/rooms/{}/members", segment(room))).await;
    }

    async fn leaves(&self, room: &str) {
        self.does("POST", &format!("{V3}/rooms/{}/leave", segment(room)), json!({})).await;
    }

    /// What has come since: the sections of rooms, and the next token.
    async fn hears(&self, since: &str) -> (Value, String) {
        let path = match since {
            "" => format!("{V3}/sync"),
            since => format!("{V3}/sync?timeout={WAIT_MS}&since={since}"),
        };
        let answer = self.get(&path).await;
        (answer["rooms"].clone(), answer["next_batch"].as_str().unwrap().to_owned())
    }

    /// The last event of a room that this server has, as others get it.
    fn newest_text(&self, room: &str) -> (RoomVersionId, String) {
        let id = RoomId::parse(room).unwrap();
        let newest = self.server.0.read_here(|view| {
            let room = store::room::find(view, &id)?.unwrap();
            let (_, newest) = store::room::last_at(view, room, view.head())?.unwrap();
            let version = store::room::info(view, room)?.version.as_str().try_into().unwrap();
            let (event, rest) = (event::load(view, newest)?, event::rest(view, newest)?);
            let text = protocol::pdu::join(&version, &id, event.client(), &rest)?;
            Ok((version, text))
        });
        newest.unwrap()
    }

    fn newest(&self, room: &str) -> Pdu {
        let (version, text) = self.newest_text(room);
        protocol::pdu::parse(&version, &text).unwrap()
    }

    /// Its server tells another of an event.
    async fn tells(&self, event: String, to: &str) {
        let (id, from) = ("1".into(), self.server.0.server_name().to_owned());
        let at = MilliSecondsSinceUnixEpoch(1_u32.into());
        let mut transaction = Request::new(id, from, at);
        transaction.pdus = vec![RawValue::from_string(event).unwrap()];
        let to: OwnedServerName = to.try_into().unwrap();
        self.peers.request(&to, transaction, Patience::default()).await.unwrap();
    }

    /// Its server is told of an event.
    async fn receives(&self, pdu: Pdu) {
        let received = self.server.0.write(None, move |tx| {
            let room = store::room::find(tx, &pdu.room_id)?.unwrap();
            rooms::remote::receive(tx, room, &pdu)
        });
        let outcome = received.await.unwrap().value;
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }

    async fn set(&self, room: &str, kind: &str, key: &str, content: Value) {
        let path = format!("{V3}/rooms/{}/state/{kind}/{}", segment(room), segment(key));
        self.does("PUT", &path, content).await;
    }

    /// How this server has the membership of somebody.
    async fn sees(&self, room: &str, user: &str) -> Value {
        let path = format!("{V3}/rooms/{}/state/m.room.member/{}", segment(room), segment(user));
        self.get(&path).await["membership"].clone()
    }
}

#[tokio::test]
async fn who_joins_a_room_elsewhere_reads_its_past_and_finds_events_by_time() {
    let (alice, bob) = two().await;
    let room = alice.room(json!({"preset": "public_chat"})).await;
    for text in ["one", "two", "three"] {
        alice.says(&room, text).await;
    }
    bob.joins(&room, "a.test").await;
    assert_eq!(alice.sees(&room, &bob.id).await, "join");
    assert_eq!(bob.sees(&room, &alice.id).await, "join");
    let first = format!("{V1}/rooms/{}/timestamp_to_event?ts=1&dir=f", segment(&room));
    assert_eq!(bob.get(&first).await, alice.get(&first).await);
    let page = format!("{V3}/rooms/{}/messages?dir=b&limit=50", segment(&room));
    let page = bob.get(&page).await;
    let said: Vec<&str> = page["chunk"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["content"]["body"].as_str())
        .collect();
    assert_eq!(said, ["three", "two", "one"]);
}

/// Alice, Bob of the other server and somebody else of that one; and a public room of Alice's that Bob is in, with all of its state.
async fn shared() -> (Person, Person, Person, String) {
    let (alice, bob) = two().await;
    let carol = bob.neighbour("carol").await;
    let room = alice.room(json!({"preset": "public_chat"})).await;
    bob.joins(&room, "a.test").await;
    bob.knows_all(&room).await;
    (alice, bob, carol, room)
}

/// A room that everybody may see to its beginning, where a client has been told that its user left; the other server has heard
/// neither of the leave nor of what it replaced, and lets somebody else of the first one in.
#[tokio::test]
async fn who_is_put_back_into_a_room_and_out_of_it_again_is_told_both() {
    let (alice, bob, carol, room) = shared().await;
    let named = json!({"membership": "join", "displayname": "Bob"});
    bob.set(&room, "m.room.member", &bob.id, named).await;
    let named = bob.newest(&room);
    let (rooms, since) = bob.hears("").await;
    assert!(rooms["join"].get(&room).is_some(), "{rooms}");
    bob.leaves(&room).await;
    let leave = bob.newest(&room);
    let (rooms, since) = bob.hears(&since).await;
    assert_eq!(rooms["leave"][&room]["timeline"]["events"][0]["event_id"], json!(leave.event_id));

    carol.joins(&room, "a.test").await;
    let (rooms, since) = bob.hears(&since).await;
    // As a room that is new to the client: with its whole state, or what of it is not in the timeline.
    let told = &rooms["join"][&room];
    let kinds = [&told["state"]["events"], &told["timeline"]["events"]];
    let mut kinds = kinds.into_iter().filter_map(Value::as_array).flatten();
    assert!(kinds.any(|event| event["type"] == "m.room.create"), "{rooms}");

    alice.receives(named).await;
    alice.receives(leave).await;
    alice.says(&room, "one").await;
    bob.receives(alice.newest(&room)).await;
    let (rooms, since) = bob.hears(&since).await;
    assert!(rooms["join"].get(&room).is_none(), "{rooms}");
    assert!(rooms["leave"].get(&room).is_some(), "{rooms}");
    alice.says(&room, "two").await;
    bob.receives(alice.newest(&room)).await;
    let news = bob.get(&format!("{V3}/sync?timeout=0&since={since}")).await;
    assert_eq!(news["rooms"], Value::Null);
}

#[tokio::test]
async fn who_left_stays_out_when_their_server_comes_in_again_by_one_that_has_not_heard_of_it() {
    let (alice, bob, carol, room) = shared().await;
    bob.leaves(&room).await;
    let leave = bob.newest(&room);
    let (_, since) = bob.hears("").await;
    carol.joins(&room, "a.test").await;
    let news = bob.get(&format!("{V3}/sync?timeout=0&since={since}")).await;
    assert_eq!(news["rooms"], Value::Null, "not in the room, and nothing new of it");
    assert_eq!(carol.sees(&room, &bob.id).await, "leave");
    alice.receives(leave).await;
    alice.says(&room, "one").await;
    carol.receives(alice.newest(&room)).await;
    assert_eq!(carol.sees(&room, &bob.id).await, "leave");
}

#[tokio::test]
async fn what_was_written_before_a_server_came_into_a_room_is_no_news_to_its_people() {
    let [alice, bob, charlie] = three().await;
    let room = alice.room(json!({"preset": "public_chat"})).await;
    alice.says(&room, "one").await;
    charlie.joins(&room, "a.test").await;
    charlie.knows_all(&room).await;
    bob.joins(&room, "a.test").await;
    let (_, since) = bob.hears("").await;
    // Charlie's server hears of bob when this is written.
    charlie.says(&room, "two").await;
    charlie.says(&room, "three").await;
    let three = charlie.newest_text(&room).1;
    charlie.receives(bob.newest(&room)).await;
    charlie.tells(three, "b.test").await;
    let said = |events: &Value| -> Vec<String> {
        let bodies = events.as_array().into_iter().flatten().map(|e| e["content"]["body"].as_str());
        bodies.flatten().map(str::to_owned).collect()
    };
    let (mut news, mut since) = (Vec::new(), since);
    for _ in 0..NEWS_MAX {
        let (rooms, next) = bob.hears(&since).await;
        news.extend(said(&rooms["join"][&room]["timeline"]["events"]));
        since = next;
        if news.contains(&"three".to_owned()) {
            break;
        }
    }
    assert_eq!(news, ["three"]);
    let page = format!("{V3}/rooms/{}/messages?dir=b&limit=50", segment(&room));
    // What the first server knows that is asked, and then what only another does.
    bob.get(&page).await;
    let mut past = said(&bob.get(&page).await["chunk"]);
    past.sort();
    assert_eq!(past, ["one", "three", "two"]);
}

#[tokio::test]
async fn an_invite_elsewhere_arrives_and_may_be_turned_down_or_followed() {
    let (alice, bob) = two().await;
    let room = alice.room(json!({"preset": "private_chat", "invite": [bob.id]})).await;
    assert_eq!(alice.sees(&room, &bob.id).await, "invite");
    let sync = bob.get(&format!("{V3}/sync")).await;
    assert!(sync["rooms"]["invite"].get(&room).is_some(), "{sync}");
    bob.does("POST", &format!("{V3}/rooms/{}/leave", segment(&room)), json!({})).await;
    assert_eq!(alice.sees(&room, &bob.id).await, "leave");
    let invite = format!("{V3}/rooms/{}/invite", segment(&room));
    alice.does("POST", &invite, json!({"user_id": bob.id})).await;
    bob.does("POST", &format!("{V3}/join/{}", segment(&room)), json!({})).await;
    assert_eq!(alice.sees(&room, &bob.id).await, "join");
}

#[tokio::test]
async fn a_knock_elsewhere_is_heard() {
    let (alice, bob) = two().await;
    let room = alice.room(json!({"preset": "private_chat"})).await;
    let knock = format!("{V3}/knock/{}?via=a.test", segment(&room));
    let (status, no) = bob.try_to("POST", &knock, json!({})).await;
    assert_eq!((status, &no["errcode"]), (403, &json!("M_FORBIDDEN")), "{no}");
    alice.set(&room, "m.room.join_rules", "", json!({"join_rule": "knock"})).await;
    bob.does("POST", &knock, json!({})).await;
    assert_eq!(alice.sees(&room, &bob.id).await, "knock");
}

#[tokio::test]
async fn a_space_elsewhere_is_shown_as_far_as_it_is_open_to_who_asks() {
    let (alice, bob) = two().await;
    let space = json!({"preset": "public_chat", "creation_content": {"type": "m.space"}});
    let (top, below) = (alice.room(space.clone()).await, alice.room(space).await);
    let open = alice.room(json!({"preset": "public_chat", "name": "Open"})).await;
    let closed = alice.room(json!({"preset": "private_chat", "name": "Closed"})).await;
    let via = |order: &str| json!({"via": ["a.test"], "order": order});
    alice.set(&top, "m.space.child", &below, via("a")).await;
    alice.set(&below, "m.space.child", &open, via("a")).await;
    alice.set(&below, "m.space.child", &closed, via("b")).await;
    let tree = format!("{V1}/rooms/{}/hierarchy", segment(&top));
    let (status, no) = bob.try_to("GET", &format!("{tree}?via=nowhere.test"), Value::Null).await;
    assert_eq!((status, &no["errcode"]), (403, &json!("M_FORBIDDEN")));
    let page = bob.get(&format!("{tree}?via=a.test")).await;
    let shown: Vec<&str> =
        page["rooms"].as_array().unwrap().iter().map(|r| r["room_id"].as_str().unwrap()).collect();
    assert_eq!(shown, [&top, &below, &open]);
    assert_eq!(page["rooms"][0]["children_state"][0]["state_key"], json!(below));
    let summary = |room: &str| format!("{V1}/room_summary/{}?via=a.test", segment(room));
    let told = bob.get(&summary(&open)).await;
    assert_eq!((&told["name"], &told["membership"]), (&json!("Open"), &json!("leave")));
    let (status, no) = bob.try_to("GET", &summary(&closed), Value::Null).await;
    assert_eq!((status, &no["errcode"]), (404, &json!("M_NOT_FOUND")));
}
