//! Where servers are, with pages and records made up.

use std::collections::HashMap;

use bytes::Bytes;
use http::StatusCode;

use super::*;

type Page = (u16, &'static str, Vec<(&'static str, &'static str)>);

/// The web and the name servers.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    pages: HashMap<String, Page>,
    srv: HashMap<String, Vec<(String, u16)>>,
    asked: usize,
}

impl Made {
    fn page(&self, host: &str, page: Page) {
        self.0.lock().pages.insert(format!("https://{host}/.well-known/matrix/server"), page);
    }
    fn no_page(&self) {
        self.0.lock().pages.clear();
    }
    fn srv(&self, name: &str, target: &str, port: u16) {
        let mut inner = self.0.lock();
        inner.srv.entry(name.to_owned()).or_default().push((target.to_owned(), port));
    }
    fn asked(&self) -> usize {
        self.0.lock().asked
    }
    fn directory(&self) -> Directory {
        Directory::of(Box::new(self.clone()))
    }
}

impl Sources for Made {
    fn page(&self, url: Url) -> BoxFuture<'_, Result<Answer, Failure>> {
        let mut inner = self.0.lock();
        inner.asked += 1;
        let page = inner.pages.get(url.as_str()).cloned();
        Box::pin(async move {
            let Some((status, body, with)) = page else {
                return Err(Failure::Connect("nobody".to_owned()));
            };
            let mut headers = HeaderMap::new();
            for (name, value) in with {
                headers.append(name, value.parse().unwrap());
            }
            let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from(body));
            Ok(Answer { status, headers, body, url })
        })
    }
    fn srv(&self, name: String) -> BoxFuture<'_, Result<Vec<(String, u16)>, Failure>> {
        let found = self.0.lock().srv.get(&name).cloned();
        Box::pin(async move { found.ok_or(Failure::Dns(name)) })
    }
}

fn name(server: &str) -> OwnedServerName {
    server.try_into().unwrap()
}

async fn way(directory: &Directory, server: &str) -> (String, Vec<(String, u16)>) {
    let way = directory.find(&name(server)).await;
    (way.authority, way.at)
}

fn at(authority: &str, host: &str, port: u16) -> (String, Vec<(String, u16)>) {
    (authority.to_owned(), vec![(host.to_owned(), port)])
}

#[tokio::test]
async fn each_step_is_taken_where_those_before_it_lead_nowhere() {
    let made = Made::default();
    made.srv("_matrix._tcp.old.org", "old.host", 1);
    made.srv("_matrix._tcp.both.org", "old.host", 1);
    made.srv("_matrix-fed._tcp.both.org", "new.host", 2);
    let directory = made.directory();
    assert_eq!(way(&directory, "192.0.2.1").await, at("192.0.2.1", "192.0.2.1", 8448));
    assert_eq!(way(&directory, "192.0.2.1:9").await, at("192.0.2.1:9", "192.0.2.1", 9));
    assert_eq!(way(&directory, "[2001:db8::1]").await.1[0].1, 8448);
    assert_eq!(way(&directory, "a.org:9").await, at("a.org:9", "a.org", 9));
    assert_eq!(made.asked(), 0, "who says where it is is not looked for");
    assert_eq!(way(&directory, "plain.org").await, at("plain.org", "plain.org", 8448));
    assert_eq!(way(&directory, "old.org").await, at("old.org", "old.host", 1));
    assert_eq!(way(&directory, "both.org").await, at("both.org", "new.host", 2));
}

#[tokio::test]
async fn a_delegated_name_is_found_like_a_name_but_without_a_page_of_its_own() {
    let made = Made::default();
    let delegates = |host: &str, to: &'static str| made.page(host, (200, to, Vec::new()));
    delegates("port.org", r#"{"m.server":"there.org:443"}"#);
    delegates("bare.org", r#"{"m.server":"there.org"}"#);
    delegates("literal.org", r#"{"m.server":"192.0.2.1"}"#);
    delegates("srv.org", r#"{"m.server":"has-srv.org"}"#);
    // Nobody follows it on.
    delegates("there.org", r#"{"m.server":"elsewhere.org:1"}"#);
    made.srv("_matrix._tcp.has-srv.org", "target.host", 3);
    // The record of the name itself does not count where there is a page.
    made.srv("_matrix._tcp.bare.org", "wrong.host", 4);
    let directory = made.directory();
    assert_eq!(way(&directory, "port.org").await, at("there.org:443", "there.org", 443));
    assert_eq!(way(&directory, "bare.org").await, at("there.org", "there.org", 8448));
    assert_eq!(way(&directory, "literal.org").await, at("192.0.2.1", "192.0.2.1", 8448));
    assert_eq!(way(&directory, "srv.org").await, at("has-srv.org", "target.host", 3));
}

#[tokio::test]
async fn targets_are_tried_in_the_order_of_the_records_and_the_host_stays_the_name() {
    let made = Made::default();
    for (target, port) in [("first", 1), ("second", 2)] {
        made.srv("_matrix-fed._tcp.a.org", target, port);
    }
    let (authority, at) = way(&made.directory(), "a.org").await;
    assert_eq!(authority, "a.org");
    assert_eq!(at, [("first".to_owned(), 1), ("second".to_owned(), 2)]);
}

#[tokio::test]
async fn a_page_that_is_no_good_is_as_none() {
    for (status, body) in [
        (404, r#"{"m.server":"there.org:443"}"#),
        (200, "<html>"),
        (200, r#"{"m.server":1}"#),
        (200, r#"{"m.server":"not a name"}"#),
        (200, "{}"),
    ] {
        let made = Made::default();
        made.page("a.org", (status, body, Vec::new()));
        assert_eq!(way(&made.directory(), "a.org").await, at("a.org", "a.org", 8448), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_page_says_holds_as_long_as_it_says_and_a_failure_not_for_long() {
    let made = Made::default();
    let to = r#"{"m.server":"there.org:443"}"#;
    made.page("a.org", (200, to, vec![("cache-control", "public, max-age=600")]));
    let directory = made.directory();
    let there = at("there.org:443", "there.org", 443);
    assert_eq!(way(&directory, "a.org").await, there);
    tokio::time::advance(Duration::from_secs(599)).await;
    way(&directory, "a.org").await;
    assert_eq!(made.asked(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    made.no_page();
    assert_eq!(way(&directory, "a.org").await, there, "its web server may be away, and it is not");
    assert_eq!(made.asked(), 2);
    // Asked again, at growing distances.
    for (wait, asked) in [(59, 2), (2, 3), (60, 3), (61, 4)] {
        tokio::time::advance(Duration::from_secs(wait)).await;
        way(&directory, "a.org").await;
        assert_eq!(made.asked(), asked, "after {wait}");
    }
    tokio::time::advance(HELD_MAX).await;
    assert_eq!(way(&directory, "a.org").await, at("a.org", "a.org", 8448), "not for ever");
}

#[test]
fn how_long_an_answer_holds_is_bounded_on_both_sides() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let of = |with: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in with {
            headers.append(*name, value.parse().unwrap());
        }
        held(&headers, now)
    };
    let date = |seconds| httpdate::fmt_http_date(now + Duration::from_secs(seconds));
    assert_eq!(of(&[]), HELD_DEFAULT);
    assert_eq!(of(&[("cache-control", "max-age=3600")]).as_secs(), 3_600);
    assert_eq!(of(&[("cache-control", "max-age=1")]), HELD_MIN);
    assert_eq!(of(&[("cache-control", "max-age=99999999")]), HELD_MAX);
    assert_eq!(of(&[("cache-control", "No-Store, max-age=3600")]), HELD_MIN);
    assert_eq!(of(&[("expires", &date(7_200))]).as_secs(), 7_200);
    assert_eq!(of(&[("expires", "0")]), HELD_MIN, "a date that cannot be read is past");
    let later = date(7_200);
    let both = [("cache-control", "max-age=600"), ("expires", later.as_str())];
    assert_eq!(of(&both).as_secs(), 600, "max-age is stronger");
}
