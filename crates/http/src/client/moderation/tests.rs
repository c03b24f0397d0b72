use serde_json::{Value, json};

use crate::testing::{Answered, Server, start};

struct Person<'a> {
    server: &'a Server,
    token: String,
}

impl Person<'_> {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Answered {
        let token = format!("authorization: Bearer {}", self.token);
        let body = if method == "GET" { String::new() } else { body.to_string() };
        self.server.ask(method, &format!("/_matrix/client/{path}"), &[&token], &body).await
    }

    async fn code(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        self.ask(method, path, body).await.errcode()
    }
}

async fn person<'a>(server: &'a Server, name: &str) -> Person<'a> {
    Person { server, token: server.token(name, false).await }
}

/// The first administrator of a server.
async fn root(server: &Server) -> Person<'_> {
    let made = server.store.write(None, |tx| {
        let name = Some("root".to_owned());
        let new = accounts::account::New {
            name,
            admin: true,
            guest: false,
            password: None,
            display_name: None,
        };
        let (user, _) = accounts::account::register(tx, &new)?;
        Ok(accounts::device::log_in(tx, user, &accounts::device::Login::default())?.tokens.access)
    });
    Person { server, token: made.await.unwrap().value }
}

const OK: (u16, &str) = (200, "");

fn refused((status, code): (u16, &str)) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_locked_account_can_only_log_out() {
    let server = start(crate::client::routes(), |_| {}).await;
    let (root, bob) = (root(&server).await, person(&server, "bob").await);
    let lock = |on: bool| root.ask("PUT", "v1/admin/lock/@bob:x", json!({ "locked": on }));
    assert_eq!(lock(true).await.json(), json!({"locked": true}));
    let status = root.ask("GET", "v1/admin/lock/@bob:x", json!({})).await;
    assert_eq!(status.json(), json!({"locked": true}));
    for path in ["v3/sync", "v3/account/whoami", "versions"] {
        let answer = bob.ask("GET", path, json!({})).await;
        assert_eq!(answer.errcode(), refused((401, "M_USER_LOCKED")), "{path}");
        assert_eq!(answer.json()["soft_logout"], true);
    }
    lock(false).await;
    assert_eq!(bob.ask("GET", "v3/account/whoami", json!({})).await.status, 200);
    lock(true).await;
    assert_eq!(bob.code("POST", "v3/logout", json!({})).await, refused(OK));
    lock(false).await;
    let gone = bob.code("GET", "v3/account/whoami", json!({})).await;
    assert_eq!(gone, refused((401, "M_UNKNOWN_TOKEN")));
}

#[tokio::test]
async fn a_suspended_account_reads_but_does_not_write() {
    let server = start(crate::client::routes(), |_| {}).await;
    let (root, bob) = (root(&server).await, person(&server, "bob").await);
    let room = bob.ask("POST", "v3/createRoom", json!({})).await.json();
    let room = room["room_id"].as_str().unwrap().replace('!', "%21");
    let suspend = json!({"suspended": true});
    root.ask("PUT", "v1/admin/suspend/@bob:x", suspend).await;
    let send = format!("v3/rooms/{room}/send/m.room.message/1");
    for (method, path, body) in [
        ("PUT", send.as_str(), json!({"body": "x"})),
        ("PUT", "v3/profile/@bob:x/displayname", json!({"displayname": "x"})),
        ("POST", "v3/createRoom", json!({})),
    ] {
        let answer = bob.code(method, path, body).await;
        assert_eq!(answer, refused((403, "M_USER_SUSPENDED")), "{path}");
    }
    assert_eq!(bob.ask("GET", "v3/sync", json!({})).await.status, 200);
    let leave = format!("v3/rooms/{room}/leave");
    assert_eq!(bob.code("POST", &leave, json!({})).await, refused(OK));
}

#[tokio::test]
async fn only_administrators_moderate_and_are_told_so() {
    let server = start(crate::client::routes(), |_| {}).await;
    let (root, bob) = (root(&server).await, person(&server, "bob").await);
    for user in ["@root:x", "@nobody:x", "@nobody:y"] {
        for (what, body) in
            [("suspend", json!({"suspended": true})), ("lock", json!({"locked": true}))]
        {
            let path = format!("v1/admin/{what}/{user}");
            let forbidden = refused((403, "M_FORBIDDEN"));
            assert_eq!(bob.code("PUT", &path, body).await, forbidden, "{path}");
            assert_eq!(bob.code("GET", &path, json!({})).await, forbidden, "{path}");
        }
    }
    let capability =
        |answer: Answered| answer.json()["capabilities"].get("m.account_moderation").cloned();
    let path = "v3/capabilities";
    assert_eq!(capability(bob.ask("GET", path, json!({})).await), None);
    let own = capability(root.ask("GET", path, json!({})).await);
    assert_eq!(own, Some(json!({"suspend": true, "lock": true})));
}

#[tokio::test]
async fn reports_are_taken_and_reveal_nothing() {
    let server = start(crate::client::routes(), |_| {}).await;
    let (alice, bob) = (person(&server, "alice").await, person(&server, "bob").await);
    let id = alice.ask("POST", "v3/createRoom", json!({})).await.json()["room_id"].clone();
    let room = id.as_str().unwrap().replace('!', "%21");
    let sent = format!("v3/rooms/{room}/send/m.room.message/1");
    let sent = alice.ask("PUT", &sent, json!({"body": "x"})).await.json()["event_id"].clone();
    let event = sent.as_str().unwrap().replace('$', "%24");
    let reason = || json!({"reason": "bad"});
    for path in [
        format!("v3/rooms/{room}/report"),
        "v3/rooms/%21nowhere/report".to_owned(),
        "v3/users/@alice:x/report".to_owned(),
        "v3/users/@nobody:x/report".to_owned(),
    ] {
        assert_eq!(bob.code("POST", &path, reason()).await, refused(OK), "{path}");
    }
    let of_event = format!("v3/rooms/{room}/report/{event}");
    let unknown = refused((404, "M_NOT_FOUND"));
    assert_eq!(bob.code("POST", &of_event, reason()).await, unknown);
    let none = format!("v3/rooms/{room}/report/%24none");
    assert_eq!(alice.code("POST", &none, reason()).await, unknown);
    assert_eq!(alice.code("POST", &of_event, json!({})).await, refused(OK));
    let kept = server.store.read_here(|view| policy::report::list(view, None, 10)).unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[0].event.as_deref(), sent.as_str());
    assert_eq!(kept[0].user.as_ref().unwrap(), "@alice:x");
}
