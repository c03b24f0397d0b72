//! Two servers in one process, each of which reaches the other by its door: what users of one do in rooms of the other.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use accounts::{account::New, device::Login};
use bytes::Bytes;
use flows::peers::{Patience, Peers, Wire};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use ruma::OwnedServerName;
use serde_json::{Value, json};
use store::Store;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{Local, testing};

const V3: &str = "/_matrix/client/v3";
const V1: &str = "/_matrix/client/v1";

/// The way to all servers there are.
#[derive(Clone, Default)]
struct Line(Arc<OnceLock<HashMap<OwnedServerName, Local>>>);

impl Wire for Line {
    fn exchange(
        &self,
        to: OwnedServerName,
        request: Request<Bytes>,
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
    /// What their server needs while it runs.
    _server: (Store, TempDir, watch::Sender<bool>),
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
    let local = Local::new(crate::client::routes().and(super::routes()), outside).unwrap();
    let new = Some(name.to_owned());
    let new = New { name: new, guest: false, password: None, admin: false, display_name: None };
    let made = store.write(None, move |tx| {
        let (user, id) = accounts::account::register(tx, &new)?;
        let login = Login { device: Some("D".into()), ..Login::default() };
        Ok((id.to_string(), accounts::device::log_in(tx, user, &login)?.tokens.access))
    });
    let (id, token) = made.await.unwrap().value;
    Person { local, id, token, _server: (store, folder, stop) }
}

/// Alice of `a.test` and bob of `b.test`.
async fn two() -> (Person, Person) {
    let line = Line::default();
    let (alice, bob) =
        (person("alice", "a.test", 1, &line).await, person("bob", "b.test", 2, &line).await);
    let servers = [("a.test", &alice), ("b.test", &bob)];
    let servers = servers.map(|(name, of)| (name.try_into().unwrap(), of.local.clone()));
    assert!(line.0.set(HashMap::from(servers)).is_ok());
    (alice, bob)
}

fn segment(text: &str) -> String {
    text.replace('!', "%21").replace('$', "%24").replace('@', "%40").replace('#', "%23")
}

impl Person {
    async fn try_to(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
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

    async fn says(&self, room: &str, text: &str) {
        let path = format!("{V3}/rooms/{}/send/m.room.message/{text}", segment(room));
        self.does("PUT", &path, json!({"msgtype": "m.text", "body": text})).await;
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
    bob.does("POST", &format!("{V3}/join/{}?via=a.test", segment(&room)), json!({})).await;
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
