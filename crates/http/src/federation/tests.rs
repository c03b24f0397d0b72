//! What another server sees of this one, over HTTP: signed requests, and events that it makes itself.

use std::collections::BTreeMap;

use protocol::{Draft, Pdu, SigningKey, pdu::Named, request::authorization, signed::decode_key};
use ruma::{OwnedServerName, RoomVersionId, server_name};
use serde_json::{Value, json, value::to_raw_value};
use store::schema::{SERVER_KEYS, ServerKey};

use crate::testing::{Answered, Server, start};

const V12: RoomVersionId = RoomVersionId::V12;

/// This server with a user of its own, and another server that asks it things.
struct Scene {
    server: Server,
    name: OwnedServerName,
    key: SigningKey,
    alice: String,
}

fn encode(text: &str) -> String {
    text.replace('!', "%21").replace('$', "%24").replace('@', "%40").replace('#', "%23")
}

impl Scene {
    async fn new(public_rooms: bool) -> Scene {
        let routes = crate::client::routes().and(super::routes());
        let server = start(routes, |settings| settings.public_rooms = public_rooms).await;
        let key = SigningKey::generate([9; 32], "k").unwrap();
        let row = ServerKey {
            public: decode_key(&key.public_key()).unwrap(),
            valid_until: base::UnixMs(server.store.now().0 + 3_600_000),
            expired: None,
        };
        let put = server.store.write(None, move |tx| {
            tx.put(&SERVER_KEYS, ("b.example".to_owned(), "ed25519:k".to_owned()), &row);
            Ok(())
        });
        put.await.unwrap();
        let alice = server.token("alice", false).await;
        Scene { server, name: server_name!("b.example").to_owned(), key, alice }
    }

    /// A request of the other server.
    async fn ask(&self, method: &str, target: &str, body: Option<Value>) -> Answered {
        let target = format!("/_matrix/federation/{target}");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let own = server_name!("x");
        let sign = authorization(&self.key, method, &target, &self.name, own, body.as_bytes());
        let header = format!("authorization: {}", sign.unwrap());
        self.server.ask(method, &target, &[&header], &body).await
    }

    async fn get(&self, target: &str) -> Value {
        let answered = self.ask("GET", target, None).await;
        assert_eq!(answered.status, 200, "{target}: {answered:?}");
        answered.json()
    }

    async fn no(&self, method: &str, target: &str, body: Option<Value>) -> (u16, String) {
        self.ask(method, target, body).await.errcode()
    }

    /// A request of alice's client.
    async fn does(&self, method: &str, path: &str, body: Value) -> Value {
        let header = format!("authorization: Bearer {}", self.alice);
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let path = format!("/_matrix/client/v3/{path}");
        let answered = self.server.ask(method, &path, &[&header], &body).await;
        assert_eq!(answered.status, 200, "{path}: {answered:?}");
        answered.json()
    }

    async fn room(&self, request: Value) -> String {
        let made = self.does("POST", "createRoom", request).await;
        made["room_id"].as_str().unwrap().to_owned()
    }

    async fn says(&self, room: &str, text: &str) -> String {
        let path = format!("rooms/{}/send/m.room.message/{text}", encode(room));
        let sent = self.does("PUT", &path, json!({"msgtype": "m.text", "body": text})).await;
        sent["event_id"].as_str().unwrap().to_owned()
    }

    fn complete(&self, event: &Value) -> Pdu {
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        let draft = Draft {
            room_id: Some(text("room_id").try_into().unwrap()),
            sender: text("sender").try_into().unwrap(),
            kind: text("type"),
            state_key: Some(text("state_key")),
            content: to_raw_value(&event["content"]).unwrap(),
            redacts: None,
            prev_events: serde_json::from_value(event["prev_events"].clone()).unwrap(),
            auth_events: serde_json::from_value(event["auth_events"].clone()).unwrap(),
            depth: event["depth"].as_u64().unwrap(),
            origin_server_ts: event["origin_server_ts"].as_u64().unwrap(),
        };
        draft.sign(&V12, &self.name, &self.key).unwrap()
    }

    /// Both steps of a handshake of bob's.
    async fn passes(&self, room: &str, verb: &str, version: &str) -> Answered {
        let room = encode(room);
        let made = self.get(&format!("v1/make_{verb}/{room}/%40bob:b.example?ver=12")).await;
        assert_eq!(made["room_version"], "12");
        let pdu = self.complete(&made["event"]);
        let target = format!("{version}/send_{verb}/{room}/{}", encode(pdu.event_id.as_str()));
        let body = serde_json::from_str(&pdu.to_federation(&V12)).unwrap();
        self.ask("PUT", &target, Some(body)).await
    }
}

fn forbidden() -> (u16, String) {
    (403, "M_FORBIDDEN".to_owned())
}

#[tokio::test]
async fn a_server_joins_reads_on_and_leaves() {
    let scene = Scene::new(false).await;
    let room = scene.room(json!({"preset": "public_chat"})).await;
    let said = scene.says(&room, "early").await;
    let (id, event) = (encode(&room), encode(&said));
    let reads = [
        format!("v1/event/{event}"),
        format!("v1/state/{id}?event_id={event}"),
        format!("v1/state_ids/{id}?event_id={event}"),
        format!("v1/event_auth/{id}/{event}"),
        format!("v1/backfill/{id}?v={event}&limit=5"),
        format!("v1/timestamp_to_event/{id}?ts=0&dir=f"),
    ];
    for read in &reads {
        assert_eq!(scene.no("GET", read, None).await, forbidden(), "{read}");
    }
    let joined = scene.passes(&room, "join", "v2").await;
    assert_eq!(joined.status, 200, "{joined:?}");
    let joined = joined.json();
    assert_eq!(joined["event"]["sender"], "@bob:b.example");
    assert!(joined["state"].as_array().unwrap().len() > 4);
    let members = scene.does("GET", &format!("rooms/{id}/joined_members"), json!({})).await;
    assert!(members["joined"]["@bob:b.example"].is_object(), "{members}");

    let late = scene.says(&room, "late").await;
    for read in &reads {
        scene.get(read).await;
    }
    let read = scene.get(&reads[0]).await;
    assert_eq!(read["pdus"][0]["content"]["body"], "early");
    assert_eq!((&read["origin"], read["pdus"].as_array().unwrap().len()), (&json!("x"), 1));
    assert_eq!(scene.get(&reads[4]).await["pdus"].as_array().unwrap().len(), 5);
    let gap = json!({"earliest_events": [said], "latest_events": [late]});
    let missing = scene.ask("POST", &format!("v1/get_missing_events/{id}"), Some(gap)).await;
    assert_eq!(missing.json()["events"].as_array().unwrap().len(), 1, "the join: {missing:?}");

    assert_eq!(scene.passes(&room, "leave", "v2").await.json(), json!({}));
    for read in &reads {
        assert_eq!(scene.no("GET", read, None).await, forbidden(), "{read}");
    }
}

#[tokio::test]
async fn an_event_that_is_not_what_the_endpoint_is_for_is_refused() {
    let scene = Scene::new(false).await;
    let room = scene.room(json!({"preset": "public_chat"})).await;
    let id = encode(&room);
    let made = scene.get(&format!("v1/make_join/{id}/%40bob:b.example?ver=12")).await;
    let pdu = scene.complete(&made["event"]);
    let body: Value = serde_json::from_str(&pdu.to_federation(&V12)).unwrap();
    let event = encode(pdu.event_id.as_str());
    let invalid = (400, "M_INVALID_PARAM".to_owned());
    for (target, body) in [
        (format!("v2/send_leave/{id}/{event}"), body.clone()),
        (format!("v2/send_join/{id}/%24other"), body.clone()),
        (format!("v2/send_join/{id}/{event}"), {
            let mut unsigned = body.clone();
            unsigned["signatures"] = json!({"b.example": {"ed25519:k": "AAAA"}});
            unsigned
        }),
    ] {
        assert_eq!(scene.no("PUT", &target, Some(body)).await, invalid, "{target}");
    }
    let old = scene.ask("GET", &format!("v1/make_join/{id}/%40bob:b.example"), None).await;
    assert_eq!(old.errcode(), (400, "M_INCOMPATIBLE_ROOM_VERSION".to_owned()));
    assert_eq!(old.json()["room_version"], "12");
    let foreign = format!("v1/make_join/{id}/%40eve:elsewhere?ver=12");
    assert_eq!(scene.no("GET", &foreign, None).await, forbidden());
    let nowhere = "v1/make_join/%21none/%40bob:b.example?ver=12";
    assert_eq!(scene.no("GET", nowhere, None).await, (404, "M_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_user_of_this_server_is_invited_from_elsewhere_and_told() {
    let scene = Scene::new(false).await;
    let draft = |room_id, kind: &str, key: &str, content: Value| Draft {
        room_id,
        sender: "@bob:b.example".try_into().unwrap(),
        kind: kind.to_owned(),
        state_key: Some(key.to_owned()),
        content: to_raw_value(&content).unwrap(),
        redacts: None,
        prev_events: Vec::new(),
        auth_events: Vec::new(),
        depth: 1,
        origin_server_ts: 1_700_000_000_000,
    };
    let sign = |draft: Draft| draft.sign(&V12, &scene.name, &scene.key).unwrap();
    let create = sign(draft(None, "m.room.create", "", json!({"room_version": "12"})));
    let room = create.room_id.clone();
    let content = json!({"membership": "invite"});
    let invite = sign(draft(Some(room.clone()), "m.room.member", "@alice:x", content));
    let text = |pdu: &Pdu| serde_json::from_str::<Value>(&pdu.to_federation(&V12)).unwrap();
    let target =
        format!("v2/invite/{}/{}", encode(room.as_str()), encode(invite.event_id.as_str()));
    let body = |version: &str, shown: Value| json!({"room_version": version, "event": text(&invite), "invite_room_state": shown});
    let no = scene.no("PUT", &target, Some(body("12", json!([])))).await;
    assert_eq!(no, (400, "M_INVALID_PARAM".to_owned()), "the create event is missing");
    let no = scene.no("PUT", &target, Some(body("odd", json!([text(&create)])))).await;
    assert_eq!(no, (400, "M_INCOMPATIBLE_ROOM_VERSION".to_owned()));
    let other = sign(draft(None, "m.room.create", "", json!({"room_version": "12", "a": 1})));
    let no = scene.no("PUT", &target, Some(body("12", json!([text(&other)])))).await;
    assert_eq!(no, (400, "M_INVALID_PARAM".to_owned()), "it is another room's");
    // As most servers do still.
    let stripped = json!({
        "type": "m.room.create", "state_key": "", "sender": "@bob:b.example",
        "content": {"room_version": "12"},
    });
    let signed = scene.ask("PUT", &target, Some(body("12", json!([stripped])))).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let signed = scene.ask("PUT", &target, Some(body("12", json!([text(&create)])))).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let signatures = &signed.json()["event"]["signatures"];
    assert!(signatures["x"].is_object() && signatures["b.example"].is_object(), "{signatures}");
    let sync = scene.does("GET", "sync", json!({})).await;
    let shown = &sync["rooms"]["invite"][room.as_str()]["invite_state"]["events"];
    let kinds: Vec<&str> =
        shown.as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["m.room.create", "m.room.member"]);
}

#[tokio::test]
async fn an_invite_in_the_old_form_is_of_the_old_versions() {
    let scene = Scene::new(false).await;
    let version = RoomVersionId::V1;
    let draft = Draft {
        room_id: Some("!old:b.example".try_into().unwrap()),
        sender: "@bob:b.example".try_into().unwrap(),
        kind: "m.room.member".to_owned(),
        state_key: Some("@alice:x".to_owned()),
        content: to_raw_value(&json!({"membership": "invite"})).unwrap(),
        redacts: None,
        prev_events: Vec::new(),
        auth_events: Vec::new(),
        depth: 1,
        origin_server_ts: 1_700_000_000_000,
    };
    let named = Named { event_id: "$i:b.example".try_into().unwrap(), hashes: BTreeMap::new() };
    let invite = draft.sign_named(&version, &scene.name, &scene.key, named).unwrap();
    let mut body: Value = serde_json::from_str(&invite.to_federation(&version)).unwrap();
    let name = json!({"type": "m.room.name", "state_key": "", "sender": "@bob:b.example", "content": {"name": "Old"}});
    body["unsigned"] = json!({"invite_room_state": [name]});
    let signed = scene.ask("PUT", "v1/invite/%21old:b.example/%24i:b.example", Some(body)).await;
    let signed = signed.json();
    assert_eq!(signed[0], 200, "{signed}");
    assert!(signed[1]["event"]["signatures"]["x"].is_object(), "{signed}");
    let sync = scene.does("GET", "sync", json!({})).await;
    let shown = &sync["rooms"]["invite"]["!old:b.example"]["invite_state"]["events"];
    assert_eq!(shown[0]["content"]["name"], "Old", "{sync}");
}

#[tokio::test]
async fn a_server_that_the_room_keeps_out_is_refused_everything_about_it() {
    let scene = Scene::new(false).await;
    let room = scene.room(json!({"preset": "public_chat"})).await;
    let said = scene.says(&room, "early").await;
    assert_eq!(scene.passes(&room, "join", "v2").await.status, 200);
    let (id, event) = (encode(&room), encode(&said));
    let acl = json!({"allow": ["*"], "deny": ["B.example"]});
    scene.does("PUT", &format!("rooms/{id}/state/m.room.server_acl/"), acl).await;
    for target in [
        format!("v1/event/{event}"),
        format!("v1/state/{id}?event_id={event}"),
        format!("v1/state_ids/{id}?event_id={event}"),
        format!("v1/event_auth/{id}/{event}"),
        format!("v1/backfill/{id}?v={event}&limit=5"),
        format!("v1/make_join/{id}/%40bob:b.example?ver=12"),
        format!("v1/make_knock/{id}/%40bob:b.example?ver=12"),
        format!("v1/make_leave/{id}/%40bob:b.example"),
    ] {
        assert_eq!(scene.no("GET", &target, None).await, forbidden(), "{target}");
    }
    let gap = json!({"earliest_events": [], "latest_events": [said]});
    let target = format!("v1/get_missing_events/{id}");
    assert_eq!(scene.no("POST", &target, Some(gap)).await, forbidden());
    for verb in ["v2/send_join", "v2/send_leave", "v1/send_knock"] {
        let target = format!("{verb}/{id}/{event}");
        assert_eq!(scene.no("PUT", &target, Some(json!({}))).await, forbidden(), "{target}");
    }
}

#[tokio::test]
async fn the_directory_is_shown_only_if_the_operator_wants() {
    for public in [false, true] {
        let scene = Scene::new(public).await;
        let room = scene.room(json!({"preset": "public_chat", "visibility": "public"})).await;
        for (method, body) in [("GET", None), ("POST", Some(json!({})))] {
            let answered = scene.ask(method, "v1/publicRooms", body).await;
            if public {
                assert_eq!(answered.json()["chunk"][0]["room_id"], room.as_str(), "{answered:?}");
            } else {
                assert_eq!(answered.errcode(), forbidden());
            }
        }
    }
}

#[tokio::test]
async fn queries_are_answered_and_unknown_ones_named_unknown() {
    let scene = Scene::new(false).await;
    scene.does("PUT", "profile/%40alice:x/displayname", json!({"displayname": "Al"})).await;
    let profile = scene.get("v1/query/profile?user_id=%40alice:x&field=displayname").await;
    assert_eq!(profile, json!({"displayname": "Al"}));
    let missing = (404, "M_NOT_FOUND".to_owned());
    assert_eq!(scene.no("GET", "v1/query/profile?user_id=%40no:x", None).await, missing);
    let room = scene.room(json!({"preset": "public_chat", "room_alias_name": "a"})).await;
    let found = scene.get("v1/query/directory?room_alias=%23a:x").await;
    assert_eq!(found, json!({"room_id": room, "servers": ["x"]}));
    assert_eq!(scene.no("GET", "v1/query/directory?room_alias=%23no:x", None).await, missing);
    let unknown = (404, "M_UNRECOGNIZED".to_owned());
    assert_eq!(scene.no("GET", "v1/query/other?a=b", None).await, unknown);
    let devices = scene.get("v1/user/devices/%40alice:x").await;
    assert_eq!(devices["devices"][0]["device_id"], "DEVICE");
    assert!(devices["stream_id"].is_u64());
    assert_eq!(scene.no("GET", "v1/user/devices/%40no:x", None).await, missing);
}

#[tokio::test]
async fn a_space_is_shown_with_what_is_open_and_what_is_not() {
    let scene = Scene::new(false).await;
    let space = json!({"preset": "public_chat", "creation_content": {"type": "m.space"}});
    let space = scene.room(space).await;
    let open = scene.room(json!({"preset": "public_chat"})).await;
    let closed = scene.room(json!({})).await;
    for child in [&open, &closed, &"!unknown:elsewhere".to_owned()] {
        let path = format!("rooms/{}/state/m.space.child/{}", encode(&space), encode(child));
        scene.does("PUT", &path, json!({"via": ["x"]})).await;
    }
    let shown = scene.get(&format!("v1/hierarchy/{}", encode(&space))).await;
    assert_eq!(shown["room"]["room_id"], space.as_str());
    assert_eq!(shown["room"]["children_state"].as_array().unwrap().len(), 3);
    let children = shown["children"].as_array().unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(children[0]["room_id"], open.as_str());
    assert!(children[0].get("children_state").is_none());
    assert_eq!(shown["inaccessible_children"], json!([closed]));
    let no = scene.no("GET", &format!("v1/hierarchy/{}", encode(&closed)), None).await;
    assert_eq!(no, (404, "M_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn media_of_this_server_is_given_as_two_parts() {
    let scene = Scene::new(false).await;
    let headers =
        [format!("authorization: Bearer {}", scene.alice), "content-type: text/plain".to_owned()];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let upload = scene
        .server
        .ask("POST", "/_matrix/media/v3/upload?filename=a.txt", &headers, "hello")
        .await;
    let uri = upload.json()["content_uri"].as_str().unwrap().to_owned();
    let id = uri.rsplit('/').next().unwrap();
    let got = scene.ask("GET", &format!("v1/media/download/{id}"), None).await;
    assert_eq!(got.status, 200, "{got:?}");
    let kind = got.header("content-type").unwrap();
    let line = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
    let parts: Vec<&str> = got.body.split(&format!("\r\n--{line}")).collect();
    assert_eq!(parts.len(), 4, "{got:?}");
    assert_eq!(parts[1], "\r\nContent-Type: application/json\r\n\r\n{}");
    assert!(parts[2].ends_with("\r\n\r\nhello"), "{parts:?}");
    assert!(parts[2].contains("Content-Type: text/plain\r\n"), "{parts:?}");
    assert_eq!(parts[3], "--\r\n");
    let none = scene.no("GET", "v1/media/download/none", None).await;
    assert_eq!(none, (404, "M_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_third_party_learns_who_showed_it_a_token() {
    let scene = Scene::new(false).await;
    let path = "user/%40alice:x/openid/request_token";
    let token = scene.does("POST", path, json!({})).await["access_token"].clone();
    let asks = |token: String| {
        let target = format!("/_matrix/federation/v1/openid/userinfo?access_token={token}");
        let server = &scene.server;
        async move { server.ask("GET", &target, &[], "").await }
    };
    let known = asks(token.as_str().unwrap().to_owned()).await;
    assert_eq!(known.json(), json!({"sub": "@alice:x"}));
    assert_eq!(asks("other".to_owned()).await.errcode(), (401, "M_UNKNOWN_TOKEN".to_owned()));
}

#[tokio::test]
async fn nobody_is_answered_who_has_not_signed() {
    let scene = Scene::new(true).await;
    for route in super::reading::routes().and(super::handshake::routes()).0 {
        for path in route.paths {
            let open = path.ends_with("/openid/userinfo") || path.ends_with("/3pid/onbind");
            let target = path.replace(['{', '}'], "");
            let body = if route.method == "GET" { "" } else { "{}" };
            let answered = scene.server.ask(route.method.as_str(), &target, &[], body).await;
            let no = (401, "M_UNAUTHORIZED".to_owned());
            assert_eq!(answered.errcode() == no, !open, "{path}: {answered:?}");
        }
    }
}
