//! Where a server is (spec: Server-Server API, "Resolving server names", steps 1 to 6).
//!
//! `.well-known` answers are kept in memory for as long as they say, within bounds; SRV records are kept by the resolver,
//! by their own time to live. One look-up at a time runs for each server; those who come meanwhile wait for it.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use egress::{Answer, Egress, Failure, Trust};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, header};
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use tokio::{sync::Mutex as Turn, time::Instant};
use url::Url;

/// The port of servers that name none.
const PORT: u16 = 8448;
/// The largest `.well-known` answer, bytes.
const WELL_KNOWN_BYTES_MAX: usize = 50 << 10;
/// How often a `.well-known` request is sent on elsewhere.
const REDIRECTS_MAX: u8 = 5;
const WELL_KNOWN_TIME_MAX: Duration = Duration::from_secs(10);
/// For both SRV look-ups. Where nobody answers, there is none.
const SRV_TIME_MAX: Duration = Duration::from_secs(8);
/// How long an answer holds that does not say (the spec's recommendation).
const HELD_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// However long it says (the spec's recommendation), and however short.
const HELD_MAX: Duration = Duration::from_secs(48 * 3_600);
const HELD_MIN: Duration = Duration::from_secs(60);
/// After a failure; doubled with each further one, up to an hour (the spec's recommendation).
const FAILED_FIRST: Duration = Duration::from_secs(60);
const FAILED_MAX: Duration = Duration::from_secs(3_600);
/// An answer of this age is doubted when nobody is found where it leads.
const DOUBTED_AFTER: Duration = Duration::from_secs(300);
/// Servers whose delegation is kept.
const KEPT_MAX: usize = 20_000;

/// The way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// What goes into the `Host` header; its host is the name in the certificate.
    pub authority: String,
    /// Where to connect, in this order.
    pub at: Vec<(String, u16)>,
    /// How it was found.
    pub steps: Vec<Step>,
}

/// One step of finding a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name is an address.
    Literal,
    /// The name has a port.
    Port,
    /// `.well-known` delegates to this name.
    Delegated(String),
    /// `.well-known` does not help: why.
    NotDelegated(String),
    /// SRV records of this name lead there.
    Srv(String),
    /// Nothing else is said: port 8448.
    Default,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Literal => f.write_str("the name is an IP address: no look-up"),
            Step::Port => f.write_str("the name has a port: no look-up of .well-known or SRV"),
            Step::Delegated(to) => write!(f, ".well-known/matrix/server delegates to {to}"),
            Step::NotDelegated(why) => {
                write!(f, ".well-known/matrix/server delegates nowhere: {why}")
            }
            Step::Srv(name) => write!(f, "SRV records of {name} lead there"),
            Step::Default => write!(f, "no SRV record: port {PORT}"),
        }
    }
}

/// What is asked to find a server.
pub(super) trait Sources: Send + Sync {
    /// A page of the web.
    fn page(&self, url: Url) -> BoxFuture<'_, Result<Answer, Failure>>;
    /// Targets of SRV records.
    fn srv(&self, name: String) -> BoxFuture<'_, Result<Vec<(String, u16)>, Failure>>;
}

impl Sources for Egress {
    fn page(&self, url: Url) -> BoxFuture<'_, Result<Answer, Failure>> {
        let mut request = egress::Request::new(Method::GET, url, Trust::Public);
        (request.timeout, request.body_max) = (WELL_KNOWN_TIME_MAX, WELL_KNOWN_BYTES_MAX);
        (request.redirects, request.by_proxy) = (REDIRECTS_MAX, true);
        Box::pin(self.send(request))
    }
    fn srv(&self, name: String) -> BoxFuture<'_, Result<Vec<(String, u16)>, Failure>> {
        Box::pin(async move { Egress::srv(self, &name).await })
    }
}

/// Where servers are, as far as it is known.
pub struct Directory {
    sources: Box<dyn Sources>,
    known: Mutex<HashMap<String, Arc<Turn<Known>>>>,
}

/// What is known of a host's `.well-known`.
#[derive(Default)]
struct Known {
    /// What it said.
    said: Option<Result<OwnedServerName, String>>,
    read_at: Option<Instant>,
    /// It is not asked before.
    until: Option<Instant>,
    failures: u32,
}

impl Directory {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(egress: Egress) -> Directory {
        Directory::of(Box::new(egress))
    }

    pub(super) fn of(sources: Box<dyn Sources>) -> Directory {
        Directory { sources, known: Mutex::default() }
    }

    /// The way to a server. There always is one to try.
    pub async fn find(&self, server: &ServerName) -> Way {
        if let Some(way) = explicit(server, Vec::new()) {
            return way;
        }
        let host = server.host();
        match self.delegate(host).await {
            Ok(to) => {
                let steps = vec![Step::Delegated(to.to_string())];
                match explicit(&to, steps.clone()) {
                    Some(way) => way,
                    None => self.by_srv(to.host(), steps).await,
                }
            }
            Err(why) => self.by_srv(host, vec![Step::NotDelegated(why)]).await,
        }
    }

    /// Nobody was found where a `.well-known` led: if it was read a while ago, it is read again at the next request.
    pub(super) async fn doubt(&self, server: &ServerName) {
        let Some(known) = self.known.lock().get(server.host()).cloned() else { return };
        let mut known = known.lock().await;
        if known.failures == 0 && known.read_at.is_some_and(|at| at.elapsed() >= DOUBTED_AFTER) {
            known.until = None;
        }
    }

    /// What a host's `.well-known` says, or why it says nothing.
    async fn delegate(&self, host: &str) -> Result<OwnedServerName, String> {
        let known = self.entry(host);
        let mut known = known.lock().await;
        if let Some(said) = &known.said
            && known.until.is_some_and(|until| Instant::now() < until)
        {
            return said.clone();
        }
        let read = self.read(host).await;
        let now = Instant::now();
        match read {
            Ok((to, held)) => {
                *known = Known {
                    said: Some(Ok(to)),
                    read_at: Some(now),
                    until: Some(now + held),
                    failures: 0,
                };
            }
            Err(why) => {
                let wait = FAILED_FIRST.saturating_mul(1 << known.failures.min(10)).min(FAILED_MAX);
                known.failures = known.failures.saturating_add(1);
                known.until = Some(now + wait);
                // What it said before counts on for a while: its web server may be away, and it is not.
                let fresh = known.read_at.is_some_and(|at| now < at + HELD_MAX);
                if !(fresh && matches!(known.said, Some(Ok(_)))) {
                    known.said = Some(Err(why));
                }
            }
        }
        known.said.clone().unwrap_or_else(|| Err(String::new()))
    }

    fn entry(&self, host: &str) -> Arc<Turn<Known>> {
        let mut known = self.known.lock();
        if known.len() >= KEPT_MAX && !known.contains_key(host) {
            // Those that nobody waits for can be asked again.
            known.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        known.entry(host.to_owned()).or_default().clone()
    }

    /// Asks a host's `.well-known`: to whom it delegates, and for how long that holds.
    async fn read(&self, host: &str) -> Result<(OwnedServerName, Duration), String> {
        #[derive(Deserialize)]
        struct WellKnown {
            #[serde(rename = "m.server")]
            server: String,
        }
        let url = Url::parse(&format!("https://{host}/.well-known/matrix/server"));
        let url = url.map_err(|e| e.to_string())?;
        let answer = self.sources.page(url).await.map_err(|e| e.to_string())?;
        if answer.status != 200 {
            return Err(format!("the answer has status {}", answer.status.as_u16()));
        }
        let page: WellKnown = serde_json::from_slice(&answer.body)
            .map_err(|e| format!("the answer is not as it should be: {e}"))?;
        let to = OwnedServerName::try_from(page.server.as_str());
        let to = to.map_err(|_| format!("`m.server` is no server name: {:?}", page.server))?;
        Ok((to, held(&answer.headers, SystemTime::now())))
    }

    /// Steps 3.3 to 3.5, 4 to 6: by SRV, or the default port.
    async fn by_srv(&self, host: &str, mut steps: Vec<Step>) -> Way {
        let names = [format!("_matrix-fed._tcp.{host}"), format!("_matrix._tcp.{host}")];
        // Both are asked at once: mostly neither is there.
        let both = async {
            let [new, old] = names.clone().map(|name| self.sources.srv(name));
            let (new, old) = tokio::join!(new, old);
            [new.unwrap_or_default(), old.unwrap_or_default()]
        };
        let found = tokio::time::timeout(SRV_TIME_MAX, both).await.unwrap_or_default();
        for (name, targets) in names.into_iter().zip(found) {
            if !targets.is_empty() {
                steps.push(Step::Srv(name));
                return Way { authority: host.to_owned(), at: targets, steps };
            }
        }
        steps.push(Step::Default);
        Way { authority: host.to_owned(), at: vec![(host.to_owned(), PORT)], steps }
    }
}

/// The way to a name that says itself where it is: an address, or with a port.
fn explicit(server: &ServerName, mut steps: Vec<Step>) -> Option<Way> {
    let port = server.port();
    steps.push(match (server.is_ip_literal(), port) {
        (true, _) => Step::Literal,
        (false, Some(_)) => Step::Port,
        (false, None) => return None,
    });
    let at = vec![(server.host().to_owned(), port.unwrap_or(PORT))];
    Some(Way { authority: server.as_str().to_owned(), at, steps })
}

/// For how long an answer holds, by its headers (RFC 9111), within our bounds.
fn held(headers: &HeaderMap, now: SystemTime) -> Duration {
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_ascii_lowercase);
    let control: Vec<String> =
        headers.get_all(header::CACHE_CONTROL).iter().filter_map(text).collect();
    let directives = || control.iter().flat_map(|line| line.split(',')).map(str::trim);
    let told = if directives().any(|word| matches!(word, "no-store" | "no-cache")) {
        Some(Duration::ZERO)
    } else if let Some(seconds) = directives().find_map(|word| word.strip_prefix("max-age=")) {
        seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
    } else {
        let expires = headers.get(header::EXPIRES).and_then(|value| value.to_str().ok());
        // A date that cannot be read is in the past (RFC 9111, 5.3).
        expires.map(|date| {
            let at = httpdate::parse_http_date(date).unwrap_or(now);
            at.duration_since(now).unwrap_or_default()
        })
    };
    told.unwrap_or(HELD_DEFAULT).clamp(HELD_MIN, HELD_MAX)
}

#[cfg(test)]
mod tests;
