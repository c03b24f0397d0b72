//! Media over a real socket.

use std::time::Duration;

use crate::{
    outside::Stop,
    testing::{Answered, Server, start},
};

const UPLOAD: &str = "/_matrix/media/v3/upload";
const DOWNLOAD: &str = "/_matrix/client/v1/media/download/x";
const THUMBNAIL: &str = "/_matrix/client/v1/media/thumbnail/x";

struct Client {
    server: Server,
    authorization: String,
}

impl Client {
    async fn new() -> Client {
        let server = start(super::routes(), |settings| settings.max_upload = 1_000_000).await;
        let authorization = format!("authorization: Bearer {}", server.token("alice", false).await);
        Client { server, authorization }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answered {
        let headers = [&[self.authorization.as_str()], headers].concat();
        self.server.ask(method, path, &headers, body).await
    }
    async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, &[], "").await
    }

    /// Uploads and gives the media id.
    async fn upload(&self, query: &str, content_type: &str, body: &str) -> String {
        let content_type = format!("content-type: {content_type}");
        let answer = self.ask("POST", &format!("{UPLOAD}{query}"), &[&content_type], body).await;
        id(&answer)
    }
    async fn reserve(&self) -> String {
        id(&self.ask("POST", "/_matrix/media/v1/create", &[], "{}").await)
    }
    async fn put(&self, id: &str, body: &str) -> Answered {
        self.ask("PUT", &format!("{UPLOAD}/x/{id}"), &["content-type: text/plain"], body).await
    }
}

fn id(answer: &Answered) -> String {
    let uri =
        answer.json()["content_uri"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    uri.strip_prefix("mxc://x/").unwrap().to_owned()
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A GIF of two pixels that is ASCII throughout.
const PIXELS: &str = "GIF87a\x02\0\x01\0\0\0\0,\0\0\0\0\x02\0\x01\0\0\x02\x02\x04\x0A\0;";

#[tokio::test]
async fn what_was_uploaded_comes_back_with_type_name_and_safe_headers() {
    let client = Client::new().await;
    let id =
        client.upload("?filename=my%20caf%C3%A9.txt", "text/plain; charset=utf-8", "hello").await;
    let answer = client.get(&format!("{DOWNLOAD}/{id}")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "5"),
        ("content-disposition", "inline; filename*=utf-8''my%20caf%C3%A9.txt"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(
        answer
            .header("content-security-policy")
            .unwrap()
            .starts_with("sandbox; default-src 'none';")
    );
    let named = client.get(&format!("{DOWNLOAD}/{id}/%F0%9F%90%88.txt")).await;
    assert_eq!(named.body, "hello");
    let expected = "inline; filename*=utf-8''%F0%9F%90%88.txt";
    assert_eq!(named.header("content-disposition"), Some(expected));
}

#[tokio::test]
async fn what_could_run_is_saved_and_not_shown() {
    let client = Client::new().await;
    let id = client.upload("?filename=a.html", "text/html", "<script>").await;
    let answer = client.get(&format!("{DOWNLOAD}/{id}")).await;
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=a.html"));
    let answer = client.ask("POST", UPLOAD, &[], "bytes").await;
    let answer = client.get(&format!("{DOWNLOAD}/{}", self::id(&answer))).await;
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("content-disposition"), Some("attachment"));
}

#[tokio::test]
async fn a_name_with_line_breaks_stays_in_its_header() {
    let client = Client::new().await;
    let id = client.upload("?filename=a%0D%0AX-Evil:%20b", "image/png", "x").await;
    let answer = client.get(&format!("{DOWNLOAD}/{id}/b%0D%0AX-Evil:%20b")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-evil"), None);
    assert!(!answer.head.lines().any(|line| line.starts_with("X-Evil")), "{}", answer.head);
}

#[tokio::test]
async fn a_part_is_served_and_what_is_known_is_not_sent_again() {
    let client = Client::new().await;
    let id = client.upload("", "text/plain", "0123456789").await;
    let path = format!("{DOWNLOAD}/{id}");
    let part = client.ask("GET", &path, &["range: bytes=2-4"], "").await;
    assert_eq!((part.status, part.body.as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let beyond = client.ask("GET", &path, &["range: bytes=10-"], "").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let etag = part.header("etag").unwrap().to_owned();
    let known = client.ask("GET", &path, &[&format!("if-none-match: \"x\", {etag}")], "").await;
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    let if_range = |etag: &str| [format!("if-range: {etag}"), "range: bytes=0-0".to_owned()];
    for (etag, expected) in [(etag.as_str(), "0"), ("\"old\"", "0123456789")] {
        let [one, other] = if_range(etag);
        assert_eq!(client.ask("GET", &path, &[&one, &other], "").await.body, expected);
    }
    let head = client.ask("HEAD", &path, &[], "").await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.as_str()),
        (200, Some("10"), "")
    );
}

#[tokio::test]
async fn uploads_over_the_limit_are_refused_announced_or_not() {
    let client = Client::new().await;
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n",
        client.authorization
    );
    // Nothing is sent after the head: the announced length is enough.
    let announced = client.server.say(&format!("{head}content-length: 1000001\r\n\r\n")).await;
    assert_eq!(announced.errcode(), code(413, "M_TOO_LARGE"));
    let chunk = "x".repeat(600_000);
    let chunk = format!("{:x}\r\n{chunk}\r\n", chunk.len());
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(client.server.say(&chunked).await.errcode(), code(413, "M_TOO_LARGE"));
    let exact = "x".repeat(1_000_000);
    let id = client.upload("", "text/plain", &exact).await;
    assert_eq!(client.get(&format!("{DOWNLOAD}/{id}")).await.body, exact);
}

#[tokio::test]
async fn what_is_not_here_is_not_found() {
    let client = Client::new().await;
    let id = client.upload("", "text/plain", "hello").await;
    for path in [
        format!("{DOWNLOAD}/nothing"),
        format!("{DOWNLOAD}/..%2F..%2Fetc%2Fpasswd"),
        format!("{THUMBNAIL}/nothing?width=1&height=1"),
        format!("/_matrix/media/v3/download/x/{id}"),
        format!("/_matrix/media/r0/download/x/{id}/name"),
        format!("/_matrix/media/v3/thumbnail/x/{id}?width=1&height=1"),
    ] {
        assert_eq!(client.get(&path).await.errcode(), code(404, "M_NOT_FOUND"), "{path}");
    }
}

#[tokio::test]
async fn media_is_only_for_those_who_are_logged_in_and_guests_may_look() {
    let client = Client::new().await;
    let id = client.upload("", "text/plain", "hello").await;
    let download = format!("{DOWNLOAD}/{id}");
    for (method, path) in [
        ("GET", download.as_str()),
        ("POST", UPLOAD),
        ("POST", "/_matrix/media/v1/create"),
        ("GET", "/_matrix/client/v1/media/config"),
    ] {
        let no = client.server.ask(method, path, &[], "").await;
        assert_eq!(no.errcode(), code(401, "M_MISSING_TOKEN"), "{path}");
    }
    let guest = format!("authorization: Bearer {}", client.server.token("guest", true).await);
    assert_eq!(client.server.ask("GET", &download, &[&guest], "").await.body, "hello");
    let no = client.server.ask("POST", UPLOAD, &[&guest], "x").await;
    assert_eq!(no.errcode(), code(403, "M_GUEST_ACCESS_FORBIDDEN"));
}

#[tokio::test]
async fn an_upload_in_two_steps() {
    let client = Client::new().await;
    let id = client.reserve().await;
    let early = client.get(&format!("{DOWNLOAD}/{id}?timeout_ms=1")).await;
    assert_eq!(early.errcode(), code(504, "M_NOT_YET_UPLOADED"));
    let bob = format!("authorization: Bearer {}", client.server.token("bob", false).await);
    let no = client.server.ask("PUT", &format!("{UPLOAD}/x/{id}"), &[&bob], "x").await;
    assert_eq!(no.errcode(), code(403, "M_FORBIDDEN"));
    assert_eq!(client.put("nothing", "x").await.errcode(), code(404, "M_NOT_FOUND"));
    let answer = client.put(&id, "hello").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert_eq!(client.get(&format!("{DOWNLOAD}/{id}")).await.body, "hello");
    assert_eq!(client.put(&id, "again").await.errcode(), code(409, "M_CANNOT_OVERWRITE_MEDIA"));
}

#[tokio::test]
async fn a_download_waits_for_what_is_being_uploaded() {
    let client = Client::new().await;
    let id = client.reserve().await;
    let path = format!("{DOWNLOAD}/{id}?timeout_ms=600000");
    let (answer, _) = tokio::join!(client.get(&path), client.put(&id, "late"));
    assert_eq!(answer.body, "late");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_they_want_or_than_the_server_lives() {
    let (tell, stop) = Stop::channel();
    let long = Duration::from_secs(1_000);
    let begun = tokio::time::Instant::now();
    super::give_up(stop.clone(), Duration::from_secs(1)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    let mut waits = Box::pin(super::give_up(stop, long));
    assert!(futures_util::poll!(&mut waits).is_pending());
    tell.send_replace(true);
    waits.await;
    assert!(begun.elapsed() < long);
}

#[tokio::test]
async fn thumbnails_are_made_of_pictures_and_of_sizes_that_make_sense() {
    let client = Client::new().await;
    let id = client.upload("", "text/plain", "hello").await;
    for (query, errcode) in [
        ("width=32&height=32", "M_UNKNOWN"),
        ("width=-1&height=32", "M_UNKNOWN"),
        ("width=0&height=32", "M_UNKNOWN"),
        ("width=1.5&height=32", "M_UNKNOWN"),
        ("width=32&height=32&method=stretch", "M_UNKNOWN"),
        ("width=32", "M_MISSING_PARAM"),
        ("width=32&height=32&timeout_ms=x", "M_INVALID_PARAM"),
    ] {
        let no = client.get(&format!("{THUMBNAIL}/{id}?{query}")).await;
        assert_eq!(no.errcode(), code(400, errcode), "{query}");
    }
    let id = client.upload("", "text/html", PIXELS).await;
    let query = "width=32&height=32&method=crop&animated=true";
    let answer = client.get(&format!("{THUMBNAIL}/{id}?{query}")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, PIXELS));
    assert_eq!(answer.header("content-type"), Some("image/gif"));
    assert_eq!(answer.header("content-disposition"), Some("inline; filename=thumbnail.gif"));
}

#[tokio::test]
async fn both_configs_tell_the_limit() {
    let client = Client::new().await;
    for path in ["/_matrix/client/v1/media/config", "/_matrix/media/v3/config"] {
        assert_eq!(client.get(path).await.json()["m.upload.size"], 1_000_000, "{path}");
    }
}
