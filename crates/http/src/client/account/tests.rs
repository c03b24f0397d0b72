//! Accounts from outside: what a client sees, over a real socket.

use serde_json::{Value, json};

use crate::{
    RegistrationMode, Settings,
    testing::{Answered, Server, start},
};

const V3: &str = "/_matrix/client/v3";

async fn open() -> Server {
    server(|_| {}).await
}

async fn server(change: impl FnOnce(&mut Settings)) -> Server {
    let change = |settings: &mut Settings| {
        settings.registration.mode = RegistrationMode::Open;
        change(settings);
    };
    start(super::routes(), change).await
}

/// A call of the client API. An empty token: none.
async fn call(server: &Server, method: &str, path: &str, token: &str, body: Value) -> Answered {
    let header = format!("authorization: Bearer {token}");
    let headers: &[&str] = if token.is_empty() { &[] } else { &[&header] };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.ask(method, &format!("{V3}{path}"), headers, &body).await
}

async fn post(server: &Server, path: &str, token: &str, body: Value) -> Answered {
    call(server, "POST", path, token, body).await
}

fn ok(answered: Answered) -> Value {
    assert_eq!(answered.status, 200, "{answered:?}");
    answered.json()
}

fn refused(answered: Answered, status: u16, errcode: &str) {
    assert_eq!(answered.errcode(), (status, errcode.to_owned()), "{answered:?}");
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

async fn register(server: &Server, name: &str) -> Value {
    let body =
        json!({ "username": name, "password": "secret", "auth": { "type": "m.login.dummy" } });
    ok(post(server, "/register", "", body).await)
}

fn password(user: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password", "password": password,
        "identifier": { "type": "m.id.user", "user": user },
    })
}

/// `password` with a session of UIA.
fn proof(question: &Value, user: &str, secret: &str) -> Value {
    let mut auth = password(user, secret);
    auth["session"] = question["session"].clone();
    auth
}

#[tokio::test]
async fn registering_asks_first_and_then_logs_in() {
    let server = open().await;
    let mut body = json!({ "username": "Alice", "password": "secret", "device_id": "D" });
    let question = post(&server, "/register", "", body.clone()).await;
    assert_eq!(question.status, 401);
    let question = question.json();
    assert_eq!(question["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    assert!(question.get("errcode").is_none() && question["params"].is_object());
    body["auth"] = json!({ "type": "m.login.dummy", "session": question["session"] });
    let made = ok(post(&server, "/register", "", body.clone()).await);
    assert_eq!((text(&made, "user_id"), text(&made, "device_id")), ("@alice:x", "D"));
    let who = ok(server.get(&format!("{V3}/account/whoami"), text(&made, "access_token")).await);
    assert_eq!(who, json!({ "user_id": "@alice:x", "device_id": "D", "is_guest": false }));
    refused(post(&server, "/register", "", body).await, 400, "M_USER_IN_USE");
}

#[tokio::test]
async fn registering_has_its_refusals() {
    let server = open().await;
    let bad = json!({ "username": "ä" });
    refused(post(&server, "/register", "", bad).await, 400, "M_INVALID_USERNAME");
    let no_password = json!({ "username": "a", "auth": { "type": "m.login.dummy" } });
    refused(post(&server, "/register", "", no_password).await, 400, "M_MISSING_PARAM");
    let wrong = json!({ "auth": { "type": "m.login.password", "user": "a", "password": "b" } });
    refused(post(&server, "/register", "", wrong).await, 401, "M_FORBIDDEN");
    refused(post(&server, "/register", "", json!({ "auth": 3 })).await, 400, "M_BAD_JSON");
    refused(post(&server, "/register?kind=god", "", json!({})).await, 400, "M_INVALID_PARAM");
    refused(post(&server, "/register?kind=guest", "", json!({})).await, 403, "M_FORBIDDEN");
    let bridge = json!({ "type": "m.login.application_service" });
    refused(post(&server, "/register", "", bridge.clone()).await, 401, "M_MISSING_TOKEN");
    refused(post(&server, "/register", "as", bridge).await, 401, "M_UNKNOWN_TOKEN");
    let path = "/register/available?username=";
    assert_eq!(ok(server.get(&format!("{V3}{path}free"), "").await), json!({ "available": true }));
    register(&server, "taken").await;
    refused(server.get(&format!("{V3}{path}taken"), "").await, 400, "M_USER_IN_USE");
}

#[tokio::test]
async fn registering_without_login_gives_no_token_and_refresh_tokens_are_given_if_wanted() {
    let server = open().await;
    let mut body = json!({
        "password": "secret", "inhibit_login": true, "auth": { "type": "m.login.dummy" },
    });
    let made = ok(post(&server, "/register", "", body.clone()).await);
    assert!(made.get("access_token").is_none() && made.get("device_id").is_none());
    body["inhibit_login"] = json!(false);
    body["refresh_token"] = json!(true);
    let made = ok(post(&server, "/register", "", body).await);
    assert!(made["expires_in_ms"].is_u64());
    let pair = json!({ "refresh_token": text(&made, "refresh_token") });
    let next = ok(post(&server, "/refresh", "", pair.clone()).await);
    let whoami = format!("{V3}/account/whoami");
    ok(server.get(&whoami, text(&next, "access_token")).await);
    refused(server.get(&whoami, text(&made, "access_token")).await, 401, "M_UNKNOWN_TOKEN");
    // The second use of what was used up ends everything.
    let reused = post(&server, "/refresh", "", pair).await;
    assert_eq!(reused.json()["soft_logout"], json!(true));
    refused(reused, 401, "M_UNKNOWN_TOKEN");
    refused(server.get(&whoami, text(&next, "access_token")).await, 401, "M_UNKNOWN_TOKEN");
    let nonsense = json!({ "refresh_token": "x" });
    refused(post(&server, "/refresh", "", nonsense).await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_registration_token_is_asked_for_where_one_is_needed() {
    let server = server(|settings| {
        settings.registration.mode = RegistrationMode::Token;
        settings.registration.token = Some("letmein".into());
    })
    .await;
    let mut body = json!({ "username": "alice", "password": "secret" });
    let question = post(&server, "/register", "", body.clone()).await.json();
    let stage = "m.login.registration_token";
    assert_eq!(question["flows"], json!([{ "stages": [stage, "m.login.dummy"] }]));
    body["auth"] = json!({ "type": "m.login.dummy", "session": question["session"] });
    refused(post(&server, "/register", "", body.clone()).await, 401, "M_FORBIDDEN");
    body["auth"] = json!({ "type": stage, "token": "wrong", "session": question["session"] });
    refused(post(&server, "/register", "", body.clone()).await, 401, "M_FORBIDDEN");
    body["auth"]["token"] = json!("letmein");
    let half = post(&server, "/register", "", body.clone()).await;
    assert_eq!((half.status, &half.json()["completed"]), (401, &json!([stage])));
    body["auth"] = json!({ "type": "m.login.dummy", "session": question["session"] });
    ok(post(&server, "/register", "", body).await);
    let path = "/_matrix/client/v1/register/m.login.registration_token/validity?token=";
    for (token, valid) in [("letmein", true), ("wrong", false)] {
        let answer = ok(server.get(&format!("{path}{token}"), "").await);
        assert_eq!(answer, json!({ "valid": valid }));
    }
}

#[tokio::test]
async fn nobody_registers_where_registration_is_closed() {
    let server = server(|settings| {
        settings.registration.mode = RegistrationMode::Closed;
        settings.registration.guests = true;
    })
    .await;
    refused(post(&server, "/register", "", json!({})).await, 403, "M_FORBIDDEN");
    refused(post(&server, "/register?kind=guest", "", json!({})).await, 403, "M_FORBIDDEN");
    let path = "/_matrix/client/v1/register/m.login.registration_token/validity?token=x";
    refused(server.get(path, "").await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn guests_get_an_account_of_the_servers_choice() {
    let server = server(|settings| settings.registration.guests = true).await;
    let body = json!({ "username": "alice", "device_id": "MINE" });
    let made = ok(post(&server, "/register?kind=guest", "", body).await);
    assert!(text(&made, "user_id").starts_with("@guest-"));
    assert_ne!(text(&made, "device_id"), "MINE");
    let who = server.get(&format!("{V3}/account/whoami"), text(&made, "access_token")).await;
    assert_eq!(ok(who)["is_guest"], json!(true));
}

#[tokio::test]
async fn logging_in_takes_names_in_every_form_and_refuses_all_else_alike() {
    let server = open().await;
    register(&server, "alice").await;
    let flows = ok(server.get(&format!("{V3}/login"), "").await);
    let by_token = json!({ "type": "m.login.token", "get_login_token": true });
    assert_eq!(flows, json!({ "flows": [{ "type": "m.login.password" }, by_token] }));
    for user in ["alice", "Alice", "@alice:x"] {
        let found = ok(post(&server, "/login", "", password(user, "secret")).await);
        assert_eq!(text(&found, "user_id"), "@alice:x");
        assert!(found["access_token"].is_string() && found["device_id"].is_string());
    }
    let old = json!({ "type": "m.login.password", "user": "alice", "password": "secret" });
    ok(post(&server, "/login", "", old).await);
    let mut bodies = Vec::new();
    for (user, secret) in [("alice", "wrong"), ("nobody", "secret"), ("@alice:y", "secret")] {
        let answer = post(&server, "/login", "", password(user, secret)).await;
        bodies.push(answer.body.clone());
        refused(answer, 403, "M_FORBIDDEN");
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    let phone = json!({ "type": "m.id.phone", "country": "GB", "phone": "1" });
    let cases = [
        (json!({}), 400, "M_MISSING_PARAM"),
        (json!({ "type": 1 }), 400, "M_BAD_JSON"),
        (json!({ "type": "m.login.magic" }), 400, "M_UNKNOWN"),
        (json!({ "type": "m.login.password", "password": "x" }), 400, "M_MISSING_PARAM"),
        (json!({ "type": "m.login.password", "user": "alice" }), 400, "M_MISSING_PARAM"),
        (
            json!({ "type": "m.login.password", "identifier": phone, "password": "x" }),
            403,
            "M_FORBIDDEN",
        ),
    ];
    for (body, status, errcode) in cases {
        refused(post(&server, "/login", "", body).await, status, errcode);
    }
}

#[tokio::test]
async fn logging_out_ends_one_device_or_all() {
    let server = open().await;
    let first = register(&server, "alice").await;
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(ok(post(&server, "/login", "", password("alice", "secret")).await));
    }
    let whoami = format!("{V3}/account/whoami");
    ok(post(&server, "/logout", text(&first, "access_token"), json!({})).await);
    refused(server.get(&whoami, text(&first, "access_token")).await, 401, "M_UNKNOWN_TOKEN");
    let devices = server.get(&format!("{V3}/devices"), text(&others[0], "access_token")).await;
    assert_eq!(ok(devices)["devices"].as_array().unwrap().len(), 2);
    ok(post(&server, "/logout/all", text(&others[0], "access_token"), Value::Null).await);
    for other in others {
        refused(server.get(&whoami, text(&other, "access_token")).await, 401, "M_UNKNOWN_TOKEN");
    }
}

#[tokio::test]
async fn devices_are_deleted_by_whoever_knows_the_password() {
    let server = open().await;
    let me = register(&server, "alice").await;
    let token = text(&me, "access_token");
    register(&server, "bob").await;
    let mut login = password("alice", "secret");
    login["device_id"] = json!("OLD");
    login["initial_device_display_name"] = json!("Phone");
    let old = ok(post(&server, "/login", "", login).await);
    let shown = ok(server.get(&format!("{V3}/devices/OLD"), token).await);
    assert_eq!((text(&shown, "device_id"), text(&shown, "display_name")), ("OLD", "Phone"));
    let name = json!({ "display_name": "Fax" });
    ok(call(&server, "PUT", "/devices/OLD", token, name.clone()).await);
    refused(call(&server, "PUT", "/devices/NONE", token, name).await, 404, "M_NOT_FOUND");
    let delete =
        |auth: Value| call(&server, "DELETE", "/devices/OLD", token, json!({ "auth": auth }));
    let question = call(&server, "DELETE", "/devices/OLD", token, Value::Null).await;
    assert_eq!(question.status, 401);
    let question = question.json();
    assert_eq!(question["flows"], json!([{ "stages": ["m.login.password"] }]));
    refused(delete(proof(&question, "alice", "wrong")).await, 401, "M_FORBIDDEN");
    refused(delete(proof(&question, "bob", "secret")).await, 401, "M_FORBIDDEN");
    // What was begun for one device does not delete another.
    let elsewhere = json!({ "auth": proof(&question, "alice", "secret") });
    let other = call(&server, "DELETE", "/devices/OTHER", token, elsewhere).await;
    refused(other, 401, "M_FORBIDDEN");
    ok(server.get(&format!("{V3}/account/whoami"), text(&old, "access_token")).await);
    ok(delete(proof(&question, "alice", "secret")).await);
    let gone = server.get(&format!("{V3}/account/whoami"), text(&old, "access_token")).await;
    refused(gone, 401, "M_UNKNOWN_TOKEN");
    let many = json!({ "devices": [text(&me, "device_id")], "auth": password("alice", "secret") });
    ok(post(&server, "/delete_devices", token, many).await);
    refused(post(&server, "/delete_devices", token, json!({})).await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_the_old_one() {
    let server = open().await;
    let me = register(&server, "alice").await;
    let token = text(&me, "access_token");
    let other = ok(post(&server, "/login", "", password("alice", "secret")).await);
    let mut body = json!({ "new_password": "better" });
    refused(post(&server, "/account/password", "", body.clone()).await, 401, "M_MISSING_TOKEN");
    let question = post(&server, "/account/password", token, body.clone()).await;
    assert_eq!(question.status, 401);
    body["auth"] = proof(&question.json(), "@alice:x", "secret");
    ok(post(&server, "/account/password", token, body).await);
    refused(post(&server, "/login", "", password("alice", "secret")).await, 403, "M_FORBIDDEN");
    ok(post(&server, "/login", "", password("alice", "better")).await);
    let whoami = format!("{V3}/account/whoami");
    ok(server.get(&whoami, token).await);
    refused(server.get(&whoami, text(&other, "access_token")).await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn an_account_is_deactivated_for_good() {
    let server = open().await;
    let me = register(&server, "alice").await;
    let token = text(&me, "access_token");
    let question = post(&server, "/account/deactivate", token, json!({ "erase": true })).await;
    assert_eq!(question.status, 401);
    let auth = proof(&question.json(), "alice", "secret");
    let gone = post(&server, "/account/deactivate", token, json!({ "erase": true, "auth": auth }));
    assert_eq!(ok(gone.await), json!({ "id_server_unbind_result": "success" }));
    refused(server.get(&format!("{V3}/devices"), token).await, 401, "M_UNKNOWN_TOKEN");
    refused(post(&server, "/login", "", password("alice", "secret")).await, 403, "M_FORBIDDEN");
    let taken = server.get(&format!("{V3}/register/available?username=alice"), "").await;
    refused(taken, 400, "M_USER_IN_USE");
}

#[tokio::test]
async fn profiles_are_read_by_all_and_written_by_their_owner() {
    let server = open().await;
    let me = register(&server, "alice").await;
    let token = text(&me, "access_token");
    let put = |path: &'static str, body: Value| call(&server, "PUT", path, token, body);
    ok(put("/profile/@alice:x/displayname", json!({ "displayname": "Alice" })).await);
    ok(put("/profile/%40alice%3Ax/org.example.k", json!({ "org.example.k": [1] })).await);
    let unstable = "/_matrix/client/unstable/uk.tcpip.msc4133/profile/@alice:x/org.example.k";
    assert_eq!(ok(server.get(unstable, "").await), json!({ "org.example.k": [1] }));
    let whole = ok(server.get(&format!("{V3}/profile/@alice:x"), "").await);
    assert_eq!(whole, json!({ "displayname": "Alice", "org.example.k": [1] }));
    ok(call(&server, "DELETE", "/profile/@alice:x/org.example.k", token, Value::Null).await);
    let gone = server.get(&format!("{V3}/profile/@alice:x/org.example.k"), "").await;
    refused(gone, 404, "M_NOT_FOUND");
    let cases = [
        ("/profile/@alice:x/displayname", json!({}), 400, "M_MISSING_PARAM"),
        ("/profile/@alice:x/displayname", json!([]), 400, "M_BAD_JSON"),
        ("/profile/@alice:x/avatar_url", json!({ "avatar_url": "x" }), 400, "M_INVALID_PARAM"),
        ("/profile/@bob:x/displayname", json!({ "displayname": "x" }), 403, "M_FORBIDDEN"),
        ("/profile/alice/displayname", json!({ "displayname": "x" }), 400, "M_INVALID_PARAM"),
    ];
    for (path, body, status, errcode) in cases {
        refused(put(path, body).await, status, errcode);
    }
    refused(server.get(&format!("{V3}/profile/@bob:x"), "").await, 404, "M_NOT_FOUND");
    let long = format!("/profile/@alice:x/a{}", "b".repeat(255));
    let field = json!({ (long["/profile/@alice:x/".len()..]): 1 });
    refused(call(&server, "PUT", &long, token, field).await, 400, "M_KEY_TOO_LARGE");
}

#[tokio::test]
async fn account_data_filters_and_openid_are_ones_own() {
    let server = open().await;
    let me = register(&server, "alice").await;
    let token = text(&me, "access_token");
    let get = |path: &str| {
        let path = format!("{V3}{path}");
        async { server.get(&{ path }, token).await }
    };
    let data = "/user/@alice:x/account_data";
    ok(call(&server, "PUT", &format!("{data}/m.direct"), token, json!({ "a": 1 })).await);
    assert_eq!(ok(get(&format!("{data}/m.direct")).await), json!({ "a": 1 }));
    refused(get(&format!("{data}/none")).await, 404, "M_NOT_FOUND");
    for kind in ["m.push_rules", "m.fully_read"] {
        let put = call(&server, "PUT", &format!("{data}/{kind}"), token, json!({})).await;
        refused(put, 405, "M_BAD_JSON");
    }
    refused(call(&server, "PUT", &format!("{data}/x"), token, json!([])).await, 400, "M_BAD_JSON");
    let others = call(&server, "PUT", "/user/@bob:x/account_data/x", token, json!({}));
    refused(others.await, 403, "M_FORBIDDEN");
    assert!(ok(get(&format!("{data}/m.push_rules")).await)["global"]["override"].is_array());
    refused(get("/user/@alice:x/rooms/nonsense/account_data/x").await, 400, "M_INVALID_PARAM");
    refused(get("/user/@alice:x/rooms/!no:x/tags").await, 404, "M_NOT_FOUND");

    let filter = json!({ "room": { "timeline": { "limit": 3 } } });
    let id = ok(post(&server, "/user/@alice:x/filter", token, filter.clone()).await);
    let path = format!("/user/@alice:x/filter/{}", text(&id, "filter_id"));
    assert_eq!(ok(get(&path).await), filter);
    refused(get("/user/@alice:x/filter/0").await, 404, "M_NOT_FOUND");
    refused(post(&server, "/user/@bob:x/filter", token, json!({})).await, 403, "M_FORBIDDEN");

    let openid = ok(post(&server, "/user/@alice:x/openid/request_token", token, json!({})).await);
    assert_eq!(openid["expires_in"], json!(3_600));
    assert_eq!((text(&openid, "token_type"), text(&openid, "matrix_server_name")), ("Bearer", "x"));
    assert_eq!(ok(get("/account/3pid").await), json!({ "threepids": [] }));
    let who = ok(get("/admin/whois/@alice:x").await);
    assert_eq!(text(&who, "user_id"), "@alice:x");
    refused(get("/admin/whois/@bob:x").await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn push_rules_are_written_and_read_over_every_endpoint() {
    let server = open().await;
    let me = register(&server, "alice").await;
    let token = text(&me, "access_token");
    let rule = "/pushrules/global/content/cake";
    let put =
        |path: String, body: Value| async { call(&server, "PUT", &{ path }, token, body).await };
    let get = |path: String| async { server.get(&format!("{V3}{}", { path }), token).await };
    let body = json!({ "pattern": "cake", "actions": ["notify"] });
    ok(put(rule.into(), body.clone()).await);
    let one = ok(get(rule.into()).await);
    let expected = json!({
        "rule_id": "cake", "pattern": "cake", "actions": ["notify"],
        "default": false, "enabled": true,
    });
    assert_eq!(one, expected);
    ok(put(format!("{rule}/enabled"), json!({ "enabled": false })).await);
    assert_eq!(ok(get(format!("{rule}/enabled")).await), json!({ "enabled": false }));
    ok(put(format!("{rule}/actions"), json!({ "actions": [] })).await);
    assert_eq!(ok(get(format!("{rule}/actions")).await), json!({ "actions": [] }));
    ok(put("/pushrules/global/content/pie?after=cake".into(), body.clone()).await);
    let all = ok(get("/pushrules/".into()).await);
    assert_eq!(all["global"]["content"][1]["rule_id"], json!("pie"));
    assert_eq!(ok(get("/pushrules/global/".into()).await), all["global"]);
    refused(
        put("/pushrules/global/content/x?before=no".into(), body.clone()).await,
        400,
        "M_UNKNOWN",
    );
    refused(put("/pushrules/global/content/.x".into(), body.clone()).await, 400, "M_INVALID_PARAM");
    refused(put("/pushrules/global/strange/x".into(), body).await, 400, "M_INVALID_PARAM");
    refused(get("/pushrules/global/content/none".into()).await, 404, "M_NOT_FOUND");
    ok(call(&server, "DELETE", rule, token, Value::Null).await);
    refused(call(&server, "DELETE", rule, token, Value::Null).await, 404, "M_NOT_FOUND");
    let master =
        call(&server, "DELETE", "/pushrules/global/override/.m.rule.master", token, Value::Null);
    refused(master.await, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let server = server(|settings| settings.base_url = Some("https://m.x".into())).await;
    let me = register(&server, "alice").await;
    let versions = ok(server.get("/_matrix/client/versions", "").await);
    let listed = versions["versions"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0], &listed[18]), (19, &json!("v1.1"), &json!("v1.19")));
    let path = format!("{V3}/capabilities");
    let capabilities = ok(server.get(&path, text(&me, "access_token")).await);
    let rooms = json!({
        "default": "12", "available": {
            "1": "stable", "2": "stable", "3": "stable", "4": "stable", "5": "stable", "6": "stable",
            "7": "stable", "8": "stable", "9": "stable", "10": "stable", "11": "stable", "12": "stable",
        },
    });
    assert_eq!(capabilities["capabilities"]["m.room_versions"], rooms);
    refused(server.get(&path, "").await, 401, "M_MISSING_TOKEN");
    let found = ok(server.get("/.well-known/matrix/client", "").await);
    assert_eq!(found, json!({ "m.homeserver": { "base_url": "https://m.x" } }));
    let nowhere = open().await;
    refused(nowhere.get("/.well-known/matrix/client", "").await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn the_shared_secret_makes_accounts_and_without_one_the_endpoint_is_not_there() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    const PATH: &str = "/_synapse/admin/v1/register";
    let server = server(|settings| {
        settings.registration.mode = RegistrationMode::Closed;
        settings.registration.shared_secret = Some("s3cret".into());
    })
    .await;
    let nonce = ok(server.get(PATH, "").await);
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"s3cret").unwrap();
    mac.update(format!("{}\0root\0pw\0admin", text(&nonce, "nonce")).as_bytes());
    let mac: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let mut body = json!({
        "nonce": nonce["nonce"], "username": "root", "password": "pw", "admin": true,
        "displayname": "Root", "mac": mac,
    });
    let mut wrong = body.clone();
    wrong["admin"] = json!(false);
    refused(server.ask("POST", PATH, &[], &wrong.to_string()).await, 403, "M_FORBIDDEN");
    let made = ok(server.ask("POST", PATH, &[], &body.to_string()).await);
    assert_eq!(text(&made, "user_id"), "@root:x");
    // An administrator may look at others; this one looks at itself.
    ok(server.get(&format!("{V3}/admin/whois/@root:x"), text(&made, "access_token")).await);
    refused(server.ask("POST", PATH, &[], &body.to_string()).await, 400, "M_UNKNOWN");
    body["nonce"] = Value::Null;
    refused(server.ask("POST", PATH, &[], &body.to_string()).await, 400, "M_BAD_JSON");
    let without = open().await;
    refused(without.get(PATH, "").await, 404, "M_UNRECOGNIZED");
    refused(without.ask("POST", PATH, &[], "{}").await, 404, "M_UNRECOGNIZED");
}
