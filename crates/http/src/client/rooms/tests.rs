//! The whole way from a socket to the store and back, once for each endpoint. What the endpoints promise is tested where
//! it is decided.

use serde_json::{Value, json};

use crate::testing::{Answered, Server, start};

struct User<'a> {
    server: &'a Server,
    token: String,
    id: String,
}

/// Only what stands in paths here.
fn encode(text: &str) -> String {
    text.replace('!', "%21").replace('$', "%24").replace('#', "%23").replace('@', "%40")
}

impl User<'_> {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Answered {
        let token = format!("authorization: Bearer {}", self.token);
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let target = format!("/_matrix/client/v3/{path}");
        self.server.ask(method, &target, &[&token], &body).await
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answered = self.ask(method, path, body).await;
        assert_eq!(answered.status, 200, "{method} {path}: {answered:?}");
        answered.json()
    }

    async fn create(&self, request: Value) -> String {
        let made = self.ok("POST", "createRoom", request).await;
        made["room_id"].as_str().unwrap().to_owned()
    }

    async fn say(&self, room: &str, txn: &str, text: &str) -> String {
        let path = format!("rooms/{room}/send/m.room.message/{txn}");
        let body = json!({ "msgtype": "m.text", "body": text });
        let sent = self.ok("PUT", &path, body).await;
        sent["event_id"].as_str().unwrap().to_owned()
    }
}

async fn user<'a>(server: &'a Server, name: &str) -> User<'a> {
    User { server, token: server.token(name, false).await, id: format!("@{name}:x") }
}

#[tokio::test]
async fn a_room_is_made_entered_and_left() {
    let server = start(crate::client::routes(), |_| {}).await;
    let (alice, bob) = (user(&server, "alice").await, user(&server, "bob").await);
    let id = alice.create(json!({"name": "N", "room_alias_name": "pub"})).await;
    let room = encode(&id);
    let refused = bob.ask("POST", &format!("rooms/{room}/join"), json!({})).await;
    assert_eq!(refused.errcode(), (403, "M_FORBIDDEN".into()));
    let whom = || json!({"user_id": "@bob:x", "reason": "r"});
    alice.ok("POST", &format!("rooms/{room}/invite"), whom()).await;
    let joined = bob.ok("POST", "join/%23pub:x", json!({})).await;
    assert_eq!(joined, json!({ "room_id": id }));
    assert_eq!(bob.ok("GET", "joined_rooms", json!({})).await, json!({"joined_rooms": [id]}));
    let members =
        alice.ok("GET", &format!("rooms/{room}/members?membership=join"), json!({})).await;
    assert_eq!(members["chunk"].as_array().unwrap().len(), 2);
    let odd = alice.ask("GET", &format!("rooms/{room}/members?membership=odd"), json!({})).await;
    assert_eq!(odd.errcode(), (400, "M_INVALID_PARAM".into()));
    let inside = alice.ok("GET", &format!("rooms/{room}/joined_members"), json!({})).await;
    assert!(inside["joined"].get(&bob.id).is_some());
    alice.ok("POST", &format!("rooms/{room}/kick"), whom()).await;
    bob.ok("POST", &format!("rooms/{room}/forget"), json!({})).await;
    alice.ok("POST", &format!("rooms/{room}/ban"), whom()).await;
    alice.ok("POST", &format!("rooms/{room}/unban"), whom()).await;
    let again = alice.ask("POST", &format!("rooms/{room}/unban"), whom()).await;
    assert_eq!(again.errcode(), (403, "M_BAD_STATE".into()));
    let rule = json!({"join_rule": "knock"});
    alice.ok("PUT", &format!("rooms/{room}/state/m.room.join_rules"), rule).await;
    let knocked = bob.ok("POST", &format!("knock/{room}"), json!({"reason": "r"})).await;
    assert_eq!(knocked, json!({ "room_id": id }));
    alice.ok("POST", &format!("rooms/{room}/leave"), json!({})).await;
    assert_eq!(alice.ok("GET", "joined_rooms", json!({})).await, json!({"joined_rooms": []}));
}

#[tokio::test]
async fn messages_are_sent_once_and_redacted() {
    let server = start(crate::client::routes(), |_| {}).await;
    let alice = user(&server, "alice").await;
    let room = encode(&alice.create(json!({})).await);
    let first = alice.say(&room, "1", "hello").await;
    assert_eq!(alice.say(&room, "1", "hello").await, first);
    assert_ne!(alice.say(&room, "2", "hello").await, first);
    let path = format!("rooms/{room}/redact/{}/3", encode(&first));
    let redaction = alice.ok("PUT", &path, json!({"reason": "r"})).await;
    assert_eq!(alice.ok("PUT", &path, json!({})).await, redaction);
    let path = format!("rooms/{room}/send/m.room.message/4");
    let answered = alice.ask("PUT", &path, json!({"a": 1.5})).await;
    assert_eq!(answered.errcode(), (400, "M_BAD_JSON".into()));
}

#[tokio::test]
async fn state_is_set_and_read_with_and_without_a_key() {
    let server = start(crate::client::routes(), |_| {}).await;
    let alice = user(&server, "alice").await;
    let id = alice.create(json!({})).await;
    let room = encode(&id);
    for (path, topic) in [("m.room.topic", "a"), ("m.room.topic/", "b")] {
        let path = format!("rooms/{room}/state/{path}");
        let content = json!({ "topic": topic });
        let sent = alice.ok("PUT", &path, content.clone()).await;
        assert_eq!(alice.ok("GET", &path, json!({})).await, content);
        let whole = alice.ok("GET", &format!("{path}?format=event"), json!({})).await;
        assert_eq!((&whole["event_id"], &whole["room_id"]), (&sent["event_id"], &json!(id)));
    }
    let keyed = format!("rooms/{room}/state/m.x/some%2Fkey");
    alice.ok("PUT", &keyed, json!({"k": 1})).await;
    assert_eq!(alice.ok("GET", &keyed, json!({})).await, json!({"k": 1}));
    let all = alice.ok("GET", &format!("rooms/{room}/state"), json!({})).await;
    assert!(all.as_array().unwrap().iter().any(|event| event["state_key"] == "some/key"));
    let absent = alice.ask("GET", &format!("rooms/{room}/state/m.absent"), json!({})).await;
    assert_eq!(absent.errcode(), (404, "M_NOT_FOUND".into()));
    let bad = json!({"alias": "#none:x"});
    let bad = alice.ask("PUT", &format!("rooms/{room}/state/m.room.canonical_alias"), bad).await;
    assert_eq!(bad.errcode(), (400, "M_BAD_ALIAS".into()));
}

#[tokio::test]
async fn rooms_are_named_and_listed() {
    let server = start(crate::client::routes(), |_| {}).await;
    let alice = user(&server, "alice").await;
    let id = alice.create(json!({"name": "Tea", "preset": "public_chat"})).await;
    let room = encode(&id);
    alice.ok("PUT", "directory/room/%23a:x", json!({ "room_id": id })).await;
    let found = server.ask("GET", "/_matrix/client/v3/directory/room/%23a:x", &[], "").await;
    assert_eq!(found.json(), json!({"room_id": id, "servers": ["x"]}));
    let aliases = alice.ok("GET", &format!("rooms/{room}/aliases"), json!({})).await;
    assert_eq!(aliases, json!({"aliases": ["#a:x"]}));
    let listing = format!("directory/list/room/{room}");
    assert_eq!(alice.ok("GET", &listing, json!({})).await, json!({"visibility": "private"}));
    alice.ok("PUT", &listing, json!({"visibility": "public"})).await;
    let public = server.ask("GET", "/_matrix/client/v3/publicRooms?limit=5", &[], "").await.json();
    assert_eq!(
        (&public["chunk"][0]["room_id"], &public["total_room_count_estimate"]),
        (&json!(id), &json!(1))
    );
    for (term, count) in [("TEA", 1), ("coffee", 0)] {
        let search = json!({"filter": {"generic_search_term": term}});
        let found = alice.ok("POST", "publicRooms", search).await;
        assert_eq!(found["chunk"].as_array().unwrap().len(), count);
    }
    alice.ok("DELETE", "directory/room/%23a:x", json!({})).await;
    let gone = alice.ask("GET", "directory/room/%23a:x", json!({})).await;
    assert_eq!(gone.errcode(), (404, "M_NOT_FOUND".into()));
    let new =
        alice.ok("POST", &format!("rooms/{room}/upgrade"), json!({"new_version": "11"})).await;
    let public = alice.ok("GET", "publicRooms", json!({})).await;
    assert_eq!(public["chunk"][0]["room_id"], new["replacement_room"]);
}

#[tokio::test]
async fn receipts_markers_and_typing_are_taken() {
    let server = start(crate::client::routes(), |_| {}).await;
    let alice = user(&server, "alice").await;
    let room = encode(&alice.create(json!({})).await);
    let event = alice.say(&room, "1", "hello").await;
    let path = |kind: &str| format!("rooms/{room}/receipt/{kind}/{}", encode(&event));
    for kind in ["m.read", "m.read.private", "m.fully_read"] {
        alice.ok("POST", &path(kind), json!({})).await;
    }
    alice.ok("POST", &path("m.read"), json!({"thread_id": "main"})).await;
    for (kind, body) in [
        ("m.odd", json!({})),
        ("m.read", json!({"thread_id": ""})),
        ("m.read", json!({"thread_id": "odd"})),
        ("m.fully_read", json!({"thread_id": "main"})),
    ] {
        let refused = alice.ask("POST", &path(kind), body.clone()).await;
        assert_eq!(refused.errcode(), (400, "M_INVALID_PARAM".into()), "{kind} {body}");
    }
    let markers = json!({"m.fully_read": event, "m.read": event});
    alice.ok("POST", &format!("rooms/{room}/read_markers"), markers).await;
    for body in [json!({"typing": true, "timeout": 1000}), json!({"typing": false})] {
        alice.ok("PUT", &format!("rooms/{room}/typing/%40alice:x"), body).await;
    }
    let path = format!("rooms/{room}/typing/%40bob:x");
    let other = alice.ask("PUT", &path, json!({"typing": false})).await;
    assert_eq!(other.errcode(), (403, "M_FORBIDDEN".into()));
}
