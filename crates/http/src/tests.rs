//! What the rim promises, over a real socket.

use std::time::Duration;

use base::{Error, Reply};
use http::Method;
use ruma::api::client::{
    account::whoami::v3 as whoami, device::get_devices::v3 as get_devices,
    discovery::get_supported_versions as versions, message::send_message_event::v3 as send,
    room::create_room::v3 as create_room, session::login::v3 as login,
};
use store::{Tx, View};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    Anyone, Around, Asked, Auth, Body, Caller, Json, Outside, Raw, Routes, Upload,
    testing::{Server, read_all, start},
};

fn who(_: &View, caller: Caller, _: whoami::Request) -> Reply<whoami::Response> {
    Ok(whoami::Response::new(caller.id, caller.guest))
}
fn supported(_: &View, _: Option<Caller>, _: versions::Request) -> Reply<versions::Response> {
    Ok(versions::Response::new(vec!["v1.1".into()]))
}
fn put(_: &mut Tx, _: Caller, request: send::Request) -> Reply<send::Response> {
    match request.txn_id.as_str() {
        "refused" => Err(Error::forbidden("not in the room")),
        "fault" => Err(Error::fault("the disk holds a secret")),
        "panic" => panic!("a bug"),
        _ => Ok(send::Response::new(ruma::event_id!("$e").to_owned())),
    }
}
async fn create(
    _: Outside,
    _: Caller,
    request: create_room::Request,
) -> Reply<create_room::Response> {
    assert_ne!(request.name.as_deref(), Some("panic"), "a bug");
    Ok(create_room::Response::new(ruma::room_id!("!r:x").to_owned()))
}
async fn enter(_: Outside, _: Anyone, _: login::Request) -> Reply<login::Response> {
    Err(Error::forbidden("wrong password"))
}
async fn wait(mut outside: Outside, _: Option<Caller>, _: Asked) -> Reply<Json> {
    outside.stop.stopped().await;
    Ok(Json(r#"{"woken":true}"#.into()))
}
fn echo(_: &View, around: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let text =
        format!("{}|{}|{}", asked.arg(0), asked.query("q").unwrap_or_default(), around.client.ip);
    Ok(Raw(http::Response::new(Body::from(bytes::Bytes::from(text)))))
}
async fn take(_: Outside, _: Option<Caller>, _: Asked, mut upload: Upload) -> Reply<Json> {
    let mut taken = 0;
    while let Some(chunk) = upload.next().await? {
        taken += chunk.len();
    }
    Ok(Json(format!(r#"{{"taken":{taken}}}"#).into()))
}
fn devices(_: &View, _: Caller, _: get_devices::Request) -> Reply<Json> {
    Ok(Json(r#"{"devices":[]}"#.into()))
}

fn routes() -> Routes {
    Routes::default()
        .read(who)
        .read(supported)
        .read(devices)
        .write(put)
        .flow(create)
        .flow(enter)
        .raw_flow(Method::GET, &["/wait"], Auth::None, wait)
        .raw_read(Method::GET, &["/echo/{x}"], Auth::None, echo)
        .raw_stream(Method::POST, &["/take"], Auth::None, take)
}

async fn server() -> Server {
    start(routes(), |_| {}).await
}

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";
const CREATE: &str = "/_matrix/client/v3/createRoom";

fn send_path(txn: &str) -> String {
    format!("/_matrix/client/v3/rooms/!r:x/send/m.room.message/{txn}")
}

async fn write(
    server: &Server,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> crate::testing::Answered {
    server.ask(method, path, &[&format!("authorization: Bearer {token}")], body).await
}

fn unrecognized(status: u16) -> (u16, String) {
    (status, "M_UNRECOGNIZED".to_owned())
}

#[tokio::test]
async fn unknown_paths_and_methods_are_unrecognized() {
    let server = server().await;
    let nothing = server.ask("GET", "/_matrix/client/v3/nothing", &[], "").await;
    assert_eq!(nothing.errcode(), unrecognized(404));
    let other = server.ask("DELETE", WHOAMI, &[], "").await;
    assert_eq!(other.errcode(), unrecognized(405));
    assert_eq!(other.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn every_answer_lets_web_pages_of_any_origin_in() {
    let server = server().await;
    for (method, path) in
        [("GET", WHOAMI), ("GET", "/nothing"), ("OPTIONS", CREATE), ("PUT", CREATE)]
    {
        let answer = server.ask(method, path, &[], "").await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{method} {path}");
        assert!(answer.header("access-control-allow-methods").unwrap().contains("DELETE"));
        assert!(answer.header("access-control-allow-headers").unwrap().contains("Authorization"));
    }
}

#[tokio::test]
async fn a_preflight_runs_no_endpoint() {
    let server = server().await;
    let answer = server.ask("OPTIONS", &send_path("panic"), &[], "").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
}

#[tokio::test]
async fn tokens_are_proven() {
    let server = server().await;
    let token = server.token("alice", false).await;
    let mine = server.get(WHOAMI, &token).await;
    assert_eq!((mine.status, mine.json()["user_id"].as_str()), (200, Some("@alice:x")));
    let in_query = server.ask("GET", &format!("{WHOAMI}?access_token={token}"), &[], "").await;
    assert_eq!(in_query.status, 200);
    let missing = server.ask("GET", WHOAMI, &[], "").await;
    assert_eq!(missing.errcode(), (401, "M_MISSING_TOKEN".to_owned()));
    let unknown = server.get(WHOAMI, "nonsense").await;
    assert_eq!(unknown.errcode(), (401, "M_UNKNOWN_TOKEN".to_owned()));
}

#[tokio::test]
async fn an_optional_token_may_be_left_out_but_not_be_wrong() {
    let server = server().await;
    let path = "/_matrix/client/versions";
    assert_eq!(server.ask("GET", path, &[], "").await.status, 200);
    assert_eq!(server.get(path, "nonsense").await.status, 401);
}

#[tokio::test]
async fn a_token_in_the_query_can_be_switched_off() {
    let server = start(routes(), |settings| settings.token_in_query = false).await;
    let token = server.token("alice", false).await;
    let answer = server.ask("GET", &format!("{WHOAMI}?access_token={token}"), &[], "").await;
    assert_eq!(answer.errcode(), (401, "M_MISSING_TOKEN".to_owned()));
}

#[tokio::test]
async fn guests_reach_only_what_is_open_to_them() {
    let server = server().await;
    let token = server.token("guest", true).await;
    assert_eq!(server.get(WHOAMI, &token).await.status, 200);
    let no = write(&server, "POST", CREATE, &token, "{}").await;
    assert_eq!(no.errcode(), (403, "M_GUEST_ACCESS_FORBIDDEN".to_owned()));
}

#[tokio::test]
async fn the_first_use_of_a_renewed_token_spends_the_one_before() {
    let server = server().await;
    let old = server.log_in("alice", false, true).await.refresh.unwrap();
    let refresh =
        |token: String| server.store.write(None, move |tx| accounts::session::refresh(tx, &token));
    let accounts::session::Refreshed::Pair(pair) = refresh(old.clone()).await.unwrap().value else {
        panic!("not renewed")
    };
    assert_eq!(server.get(WHOAMI, &pair.access).await.status, 200);
    let again = refresh(old).await.unwrap().value;
    assert!(matches!(again, accounts::session::Refreshed::Reused), "{again:?}");
}

#[tokio::test]
async fn bodies_are_judged() {
    let server = server().await;
    let token = server.token("alice", false).await;
    for (body, status, code) in [
        ("{}", 200, ""),
        ("", 200, ""),
        ("{", 400, "M_NOT_JSON"),
        (r#"{"name":5}"#, 400, "M_BAD_JSON"),
        ("[]", 400, "M_BAD_JSON"),
    ] {
        let answer = write(&server, "POST", CREATE, &token, body).await;
        assert_eq!(answer.errcode(), (status, code.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let server = server().await;
    let token = server.token("alice", false).await;
    let size = base::limits::BODY_BYTES_MAX + 1;
    let head = format!(
        "POST {CREATE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n"
    );
    let announced = server.say(&format!("{head}content-length: {size}\r\n\r\n")).await;
    assert_eq!(announced.errcode(), (413, "M_TOO_LARGE".to_owned()));
    let chunk = " ".repeat(size);
    let text = format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{chunk}\r\n0\r\n\r\n");
    assert_eq!(server.say(&text).await.errcode(), (413, "M_TOO_LARGE".to_owned()));
}

#[tokio::test]
async fn refusals_faults_and_panics_leave_the_server_standing() {
    let server = server().await;
    let token = server.token("alice", false).await;
    let put = async |txn: &str| write(&server, "PUT", &send_path(txn), &token, "{}").await;
    assert_eq!(put("ok").await.json()["event_id"], "$e");
    assert_eq!(put("refused").await.errcode(), (403, "M_FORBIDDEN".to_owned()));
    for txn in ["fault", "panic"] {
        let answer = put(txn).await;
        assert_eq!(answer.errcode(), (500, "M_UNKNOWN".to_owned()));
        let text = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(text.starts_with("internal error, incident "), "{text}");
        assert!(!text.contains("secret"));
    }
    let in_flow = write(&server, "POST", CREATE, &token, r#"{"name":"panic"}"#).await;
    assert_eq!(in_flow.errcode(), (500, "M_UNKNOWN".to_owned()));
    assert_eq!(put("ok").await.status, 200);
}

#[tokio::test]
async fn ready_json_is_passed_on() {
    let server = server().await;
    let token = server.token("alice", false).await;
    let answer = server.get("/_matrix/client/v3/devices", &token).await;
    assert_eq!(answer.body, r#"{"devices":[]}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn paths_and_queries_are_decoded() {
    let server = server().await;
    let answer = server.ask("GET", "/echo/%23a%2Fb?q=1%20%2B+1", &[], "").await;
    assert_eq!(answer.body, "#a/b|1 + 1|127.0.0.1");
    let bad = server.ask("GET", "/echo/%ff", &[], "").await;
    assert_eq!(bad.errcode(), (400, "M_INVALID_PARAM".to_owned()));
}

#[tokio::test]
async fn a_proxy_on_this_machine_says_for_whom_it_asks() {
    let server = server().await;
    let forwarded = "x-forwarded-for: 203.0.113.9, 192.0.2.7";
    let answer = server.ask("GET", "/echo/a", &[forwarded], "").await;
    assert_eq!(answer.body, "a||192.0.2.7", "what the proxy saw, not what the client claims");
}

#[tokio::test]
async fn uploads_are_streamed_up_to_their_limit() {
    let server = start(routes(), |settings| settings.max_upload = 100_000).await;
    let fits = server.ask("POST", "/take", &[], &"x".repeat(100_000)).await;
    assert_eq!(fits.json()["taken"], 100_000);
    let too_large = server.ask("POST", "/take", &[], &"x".repeat(100_001)).await;
    assert_eq!(too_large.errcode(), (413, "M_TOO_LARGE".to_owned()));
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let server = start(routes(), |settings| settings.rate_limits = true).await;
    let token = server.token("alice", false).await;
    for _ in 0..10 {
        assert_eq!(write(&server, "PUT", &send_path("ok"), &token, "{}").await.status, 200);
    }
    let no = write(&server, "PUT", &send_path("ok"), &token, "{}").await;
    assert_eq!(no.errcode(), (429, "M_LIMIT_EXCEEDED".to_owned()));
    assert!(no.json()["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(no.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    let other = server.token("bob", false).await;
    assert_eq!(write(&server, "PUT", &send_path("ok"), &other, "{}").await.status, 200);
}

#[tokio::test]
async fn failed_logins_are_counted_for_the_account() {
    let server = start(routes(), |settings| settings.rate_limits = true).await;
    let path = "/_matrix/client/v3/login";
    let attempt = async |name: &str, from: u8| {
        let forwarded = format!("x-forwarded-for: 192.0.2.{from}");
        let body = format!(
            r#"{{"type":"m.login.password","identifier":{{"type":"m.id.user","user":"{name}"}},"password":"x"}}"#
        );
        server.ask("POST", path, &[&forwarded], &body).await.status
    };
    for from in 0..5 {
        assert_eq!(attempt("alice", from).await, 403);
    }
    assert_eq!(attempt("@Alice:x", 99).await, 429);
    assert_eq!(attempt("bob", 99).await, 403);
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let server = server().await;
    let health = server.ask("GET", "/health", &[], "").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok"));
    server.ask("GET", WHOAMI, &[], "").await;
    let page = server.ask("GET", "/metrics", &[], "").await.body;
    assert!(page.contains("althing_store_head"), "{page}");
    let counted = page.lines().any(|line| {
        line.starts_with("althing_http_requests_total")
            && line.contains(r#"route="/_matrix/client/v3/account/whoami""#)
            && line.contains(r#"status="401""#)
    });
    assert!(counted, "{page}");
    assert!(page.contains("althing_http_request_seconds_bucket"));
}

/// Reads until the bytes so far hold `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let mut part = [0; 1024];
        let n = stream.read(&mut part).await.unwrap();
        assert_ne!(n, 0, "ended early: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&part[..n]);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn stopping_wakes_long_polls_finishes_them_and_ends() {
    let server = server().await;
    // A request that was answered shows that the connection, kept open, is being served.
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut kept, "ok").await;
    kept.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let in_flight = async || {
        server
            .ask("GET", "/metrics", &[], "")
            .await
            .body
            .contains("althing_http_requests_in_flight 1")
    };
    while !in_flight().await {
        tokio::task::yield_now().await;
    }
    server.stop.send_replace(true);
    let woken = read_all(&mut kept).await;
    assert_eq!(woken.body, r#"{"woken":true}"#);
    server.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "it accepts nothing more");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let server = server().await;
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        kept.write_all(b"GET /echo/again HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        read_until(&mut kept, "again||").await;
    }
}

#[tokio::test]
async fn heads_without_end_are_cut_off() {
    let server = server().await;
    let many = "x: y\r\n".repeat(200);
    let answer = server.say(&format!("GET /health HTTP/1.1\r\nhost: x\r\n{many}\r\n")).await;
    assert_eq!(answer.status, 431);
    let long = "y".repeat(100_000);
    let answer = server.say(&format!("GET /health HTTP/1.1\r\nx: {long}\r\n\r\n")).await;
    assert!([0, 431].contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn who_says_nothing_or_too_slowly_is_let_go() {
    let server = server().await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /health HT").await.unwrap();
    // The clock runs by itself whenever everything waits.
    tokio::time::pause();
    assert_eq!(read_all(&mut silent).await.head, "");
    let answer = tokio::time::timeout(Duration::from_secs(100), read_all(&mut slow)).await.unwrap();
    assert!([0, 408].contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = server().await;
    let token = server.token("alice", false).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {CREATE} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 10\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    tokio::time::pause();
    let answer = read_all(&mut slow).await;
    assert_eq!(answer.errcode(), (408, "M_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn the_use_of_a_device_is_written_down() {
    let server = server().await;
    let token = server.token("alice", false).await;
    let headers = [&format!("authorization: Bearer {token}"), "user-agent: Test/1"];
    assert_eq!(server.ask("GET", WHOAMI, &headers, "").await.status, 200);
    let seen = || {
        server.store.read(|view| {
            let id = ruma::user_id!("@alice:x");
            let user = store::user::find(view, id)?.ok_or_else(|| Error::fault("no alice"))?;
            view.get(&store::schema::SEEN, (user, "DEVICE".to_owned()))
        })
    };
    let seen = loop {
        if let Some(seen) = seen().await.unwrap() {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((seen.ip.as_str(), seen.agent.as_str()), ("127.0.0.1", "Test/1"));
}
