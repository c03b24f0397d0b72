//! The one door out: every HTTP request that this server makes begins here.
//!
//! - An address is checked after its name was resolved and before anything is sent to it ([`Trust`]): nobody reaches
//!   the operator's own network by naming a host in a room, a link or a pusher.
//! - Everything is bounded: time, the size of an answer, redirects, requests at once to one host and altogether,
//!   connections kept. Proxies of the environment are not heeded.
//! - Certificates are checked against the system's roots and those that the operator added.
//!
//! A request that got an answer of whatever status is an [`Answer`]; all else is a [`Failure`].
#![forbid(unsafe_code)]

mod address;
mod connect;
mod dns;
mod exchange;
mod line;
pub mod mail;
mod pool;
mod proxy;
mod roots;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use base::Reply;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::Semaphore;
use url::Url;

pub use address::is_public;
pub use exchange::Opened;

/// What the operator decided about going out.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Certificate authorities, PEM, besides the system's.
    pub trusted_ca: Vec<PathBuf>,
    /// Destinations of [`Trust::Public`] may have loopback and private addresses. For tests and closed networks.
    pub allow_private_ips: bool,
    /// Host and port of an HTTP proxy that connects on behalf of requests with [`Request::by_proxy`] (RFC 9110, `CONNECT`).
    pub proxy: Option<(String, u16)>,
}

/// Who named a destination, and so which addresses it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The operator, in the configuration: any address.
    Operator,
    /// Anyone else: public addresses only, unless [`Options::allow_private_ips`].
    Public,
}

/// A request to somewhere else.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` …
    pub method: Method,
    /// `http` or `https`. Its host is the name in the certificate and, with its port, the `Host` header.
    pub url: Url,
    /// Besides `host`, `content-length` and `user-agent`, which are added.
    pub headers: HeaderMap,
    /// What is sent; empty: nothing.
    pub body: Bytes,
    /// For all of it: waiting for a place, connecting, sending, the whole answer, redirects.
    pub timeout: Duration,
    /// The largest body of an answer, bytes.
    pub body_max: usize,
    /// Redirects that are followed (`GET` and `HEAD` only); 0: they are answers like others.
    pub redirects: u8,
    /// Who named the destination. A redirect to another origin is [`Trust::Public`].
    pub trust: Trust,
    /// Where to connect instead of the host and port of the URL, in this order (for delegation and SRV records).
    /// A redirect forgets it.
    pub at: Vec<(String, u16)>,
    /// Goes by way of [`Options::proxy`], if there is one. It resolves names, and so decides which addresses are reached;
    /// only addresses that are written out are checked here.
    pub by_proxy: bool,
}

impl Request {
    /// A request without headers and body: 30 s, an answer of at most 1 MiB, no redirects.
    #[must_use]
    pub fn new(method: Method, url: Url, trust: Trust) -> Request {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(30),
            body_max: 1 << 20,
            redirects: 0,
            trust,
            at: Vec::new(),
            by_proxy: false,
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whatever it is.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Where it came from, after redirects.
    pub url: Url,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The URL is not of `http` or `https`, or has no host.
    Url(String),
    /// The destination has only addresses that it may not have; this is one.
    RefusedAddress(IpAddr),
    /// The name does not resolve.
    Dns(String),
    /// Nobody accepts a connection, or the proxy makes none.
    Connect(String),
    /// No TLS, or a certificate that is not trusted.
    Tls(String),
    /// Not in time.
    Timeout,
    /// The answer is larger than was allowed.
    TooLarge,
    /// The connection broke, what came is no HTTP, or there are too many redirects.
    Protocol(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Url(why) => write!(f, "no usable URL: {why}"),
            Failure::RefusedAddress(ip) => write!(f, "the address {ip} is not allowed"),
            Failure::Dns(why) => write!(f, "the name does not resolve: {why}"),
            Failure::Connect(why) => write!(f, "cannot connect: {why}"),
            Failure::Tls(why) => write!(f, "no TLS: {why}"),
            Failure::Timeout => f.write_str("no answer in time"),
            Failure::TooLarge => f.write_str("the answer is too large"),
            Failure::Protocol(why) => write!(f, "the connection failed: {why}"),
        }
    }
}
impl std::error::Error for Failure {}

/// Requests at once, to all destinations together.
const REQUESTS_MAX: usize = 1_000;

/// The door. Cheap to clone; all clones share connections and bounds.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    allow_private_ips: bool,
    proxy: Option<(String, u16)>,
    roots: roots::Roots,
    dns: dns::Dns,
    pool: Arc<pool::Pool>,
    places: Arc<Semaphore>,
}

impl Egress {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// A fault that names a file of [`Options::trusted_ca`] and what is wrong with it.
    pub fn new(options: Options) -> Reply<Egress> {
        Ok(Egress(Arc::new(Inner {
            allow_private_ips: options.allow_private_ips,
            proxy: options.proxy,
            roots: roots::Roots::new(&options.trusted_ca)?,
            dns: dns::Dns::default(),
            pool: Arc::default(),
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
        })))
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn send(&self, request: Request) -> Result<Answer, Failure> {
        self.open(request).await?.read_all().await
    }

    /// Sends a request; the body of the answer is read piece by piece, within the time and size of the request.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn open(&self, request: Request) -> Result<Opened, Failure> {
        exchange::open(&self.0, request).await
    }

    /// The hosts and ports that the SRV records of a name (`_service._tcp.host`) name, in the order in which they are to
    /// be tried; none: there are no such records.
    ///
    /// # Errors
    /// [`Failure::Dns`] if no name server says anything.
    pub async fn srv(&self, name: &str) -> Result<Vec<(String, u16)>, Failure> {
        self.0.dns.srv(name).await
    }

    /// Figures for metrics: name and value.
    #[must_use]
    pub fn gauges(&self) -> Vec<(&'static str, f64)> {
        let running = REQUESTS_MAX - self.0.places.available_permits();
        vec![
            ("althing_egress_requests", running as f64),
            ("althing_egress_idle_connections", self.0.pool.idle() as f64),
        ]
    }
}
