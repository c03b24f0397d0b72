//! No read path shows what the gate forbids: every route that answers GET is asked by those who may not know.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::testing::{Server, start};

/// Stands in everything that only members of today may see.
const SECRET: &str = "SECRET";

struct Scene {
    server: Server,
    tokens: BTreeMap<&'static str, String>,
    /// By what stands in path templates; several values are tried one by one.
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Scene {
    async fn ask(&self, who: Option<&str>, method: &str, path: &str, body: Value) -> String {
        let token = who.map(|who| format!("authorization: Bearer {}", self.tokens[who]));
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let headers: Vec<&str> = token.iter().map(String::as_str).collect();
        self.server.ask(method, path, &headers, &body).await.body
    }

    /// Does something that must succeed; the first of the values that the answer has.
    async fn does(&self, who: &str, method: &str, path: &str, body: Value) -> String {
        let path = format!("/_matrix/client/v3/{path}");
        let answer: Value =
            serde_json::from_str(&self.ask(Some(who), method, &path, body).await).unwrap();
        assert!(answer.get("errcode").is_none(), "{method} {path}: {answer}");
        let id = answer.get("event_id").or(answer.get("room_id")).and_then(Value::as_str);
        encode(id.unwrap_or_default())
    }

    /// Every path that a template stands for.
    fn paths(&self, template: &str) -> Vec<String> {
        let Some((before, rest)) = template.split_once('{') else { return vec![template.into()] };
        let (name, after) = rest.split_once('}').unwrap();
        // ruma writes `room_id` where the spec writes `roomId`.
        let name = name.replace('_', "").to_lowercase();
        let values = self.values.get(name.as_str());
        let values = values.unwrap_or_else(|| panic!("{template}: what is a {name}?"));
        values.iter().flat_map(|v| self.paths(&format!("{before}{v}{after}"))).collect()
    }
}

fn encode(text: &str) -> String {
    text.replace('!', "%21").replace('$', "%24").replace('@', "%40").replace('#', "%23")
}

/// A room that bob has left and from which carol, to whom it was never open, is still kept; dave is invited; eve has
/// never heard of it. Then alice says what is secret, in every way there is.
async fn scene() -> Scene {
    let server = start(super::routes(), |_| {}).await;
    let mut tokens = BTreeMap::new();
    for name in ["alice", "bob", "carol", "dave", "eve"] {
        tokens.insert(name, server.token(name, false).await);
    }
    let mut scene = Scene { server, tokens, values: BTreeMap::new() };
    let history =
        json!({"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}});
    let room = json!({"preset": "private_chat", "initial_state": [history]});
    let room = scene.does("alice", "POST", "createRoom", room).await;
    let at = |rest: &str| format!("rooms/{room}/{rest}");
    for name in ["bob", "carol"] {
        let whom = json!({"user_id": format!("@{name}:x")});
        scene.does("alice", "POST", &at("invite"), whom.clone()).await;
        scene.does(name, "POST", &at("join"), json!({})).await;
    }
    let said = |text: &str| json!({"msgtype": "m.text", "body": text});
    let root = scene.does("alice", "PUT", &at("send/m.room.message/1"), said("early")).await;
    let gone = scene.does("alice", "PUT", &at("send/m.room.message/2"), said("mistaken")).await;
    scene.does("bob", "POST", &at("leave"), json!({})).await;
    scene.does("alice", "POST", &at("ban"), json!({"user_id": "@carol:x"})).await;

    let relate = |how: &str| {
        let to = json!({"rel_type": how, "event_id": root.replace("%24", "$")});
        let mut content = said(SECRET);
        content["m.relates_to"] = to;
        content["m.new_content"] = said(SECRET);
        content
    };
    let mut events = vec![root.clone(), gone.clone()];
    for (n, how) in ["m.thread", "m.replace", "m.reference", "x.other"].into_iter().enumerate() {
        let path = at(&format!("send/m.room.message/1{n}"));
        events.push(scene.does("alice", "PUT", &path, relate(how)).await);
    }
    events.push(scene.does("alice", "PUT", &at("send/m.room.message/3"), said(SECRET)).await);
    let redaction = at(&format!("redact/{gone}/4"));
    events.push(scene.does("alice", "PUT", &redaction, json!({"reason": SECRET})).await);
    let own = json!({"membership": "join", "displayname": SECRET});
    for (kind, content) in [
        ("m.room.topic/", json!({"topic": SECRET})),
        ("x.secret/a", json!({"body": SECRET})),
        ("m.room.member/%40alice:x", own),
    ] {
        events.push(scene.does("alice", "PUT", &at(&format!("state/{kind}")), content).await);
    }
    // The topic is told to who is invited; what replaces it is not secret.
    let topic = json!({"topic": "plain"});
    scene.does("alice", "PUT", &at("state/m.room.topic/"), topic).await;
    let plain = json!({"membership": "join"});
    scene.does("alice", "PUT", &at("state/m.room.member/%40alice:x"), plain).await;
    scene.does("alice", "POST", &at("invite"), json!({"user_id": "@dave:x"})).await;

    let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let users = list(&["%40alice:x", "%40bob:x"]);
    scene.values = BTreeMap::from([
        ("roomid", vec![room.clone()]),
        ("roomidoralias", vec![room]),
        ("eventid", events),
        ("reltype", list(&["m.thread", "m.replace", "m.reference", "x.other"])),
        ("eventtype", list(&["m.room.message", "m.room.topic", "x.secret", "m.room.member"])),
        ("statekey", list(&["", "a", "%40alice:x"])),
        ("userid", users),
        ("type", list(&["m.tag"])),
        ("roomalias", list(&["%23none:x"])),
        ("alias", list(&["%23none:x"])),
        ("deviceid", list(&["DEVICE"])),
        ("filterid", list(&["1"])),
        ("keyname", list(&["displayname"])),
        ("field", list(&["displayname"])),
        ("scope", list(&["global"])),
        ("kind", list(&["override"])),
        ("ruleid", list(&[".m.rule.master"])),
        ("servername", list(&["x"])),
        ("mediaid", list(&["none"])),
        ("filename", list(&["none"])),
        ("authtype", list(&["m.login.dummy"])),
        ("idpid", list(&["none"])),
        ("protocol", list(&["none"])),
        ("medium", list(&["email"])),
        ("delayid", list(&["none"])),
        ("room", list(&["%21none:x"])),
        ("rendezvous", list(&["none"])),
        ("sessionid", list(&["none"])),
        ("version", list(&["1"])),
    ]);
    scene
}

/// Enough for every endpoint to do what it does; what one does not know, it ignores.
fn queries(room: &str) -> [String; 3] {
    let all = "limit=100&recurse=true&timeout=0&full_state=true&filter=%7B%7D&archived=true";
    let later = "ts=99999999999999&user_id=%40alice:x&format=event";
    [
        format!("dir=b&{all}&{later}"),
        format!("dir=f&timeout=0&ts=0&from=s0&{all}"),
        format!("dir=b&timeout=0&from=s0&room_id={room}"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_shows_what_the_gate_forbids() {
    let scene = scene().await;
    let routes: Vec<_> =
        super::routes().0.into_iter().filter(|r| r.method == Method::GET).collect();
    let queries = queries(&scene.values["roomid"][0]);
    let mut told = Vec::new();
    for template in routes.iter().flat_map(|route| &route.paths) {
        for path in scene.paths(template) {
            for query in &queries {
                let target = format!("{path}?{query}");
                for who in [Some("bob"), Some("carol"), Some("dave"), Some("eve"), None] {
                    let body = scene.ask(who, "GET", &target, json!({})).await;
                    assert!(!body.contains(SECRET), "{who:?} reads {target}: {body}");
                }
            }
        }
        // She who may is told: otherwise nothing was tried.
        'told: for path in scene.paths(template) {
            for query in &queries {
                let target = format!("{path}?{query}");
                if scene.ask(Some("alice"), "GET", &target, json!({})).await.contains(SECRET) {
                    told.push(template);
                    break 'told;
                }
            }
        }
    }
    assert!(told.len() >= 16, "only these tell a member anything: {told:?}");
}
