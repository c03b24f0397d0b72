//! One request, from its head to its response.

use std::{
    convert::Infallible,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base::{Error, Reply, limits::LONG_POLL_MS_MAX};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use protocol::appservice::Registration;
use serde::Deserialize;
use store::{Tx, View};
use tokio::{runtime::Handle, time::timeout};
use tracing::Instrument as _;

use crate::{
    answer::{self, Response},
    asked::Asked,
    body::{Arriving, BODY_TIME_MAX, Bodies, Body, Upload, busy, read_whole},
    handler::{Answering, Around, Auth, Caller, Origin, Proven, Routes, Run},
    limits::{Group, Limits},
    metrics::{self, OneMore, Running},
    outside::{ClientInfo, DEADLINE, Outside, lane},
    proof,
    router::{Endpoint, Found, Router},
    seen::Seen,
    turns::{Turn, Turns},
};

/// Everything that a request needs; one for all listeners.
pub(crate) struct Rim {
    pub(crate) router: Router,
    pub(crate) outside: Outside,
    pub(crate) limits: Limits,
    pub(crate) seen: Seen,
    pub(crate) turns: Turns,
    pub(crate) running: Running,
    pub(crate) bodies: Bodies,
    pub(crate) tasks: Handle,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// The client-server API, and all of `.well-known`.
    pub client: bool,
    /// The server-server API, and `.well-known/matrix/server`.
    pub federation: bool,
    /// `/health`.
    pub health: bool,
    /// `/metrics`.
    pub metrics: bool,
}

/// The other end of a connection.
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// It may say for whom it asks: it is on this machine.
    pub(crate) local: bool,
    pub(crate) resources: Resources,
    /// It has sent the head of a request.
    pub(crate) spoke: AtomicBool,
}

/// Requests that are being answered: beyond that, more of them would only use memory. Sleeping long-polls count, so
/// it is above the number of clients that one process serves.
const REQUESTS_MAX: usize = 100_000;
/// A flow that answers no sooner has hung: the longest poll, and a minute to compute.
const FLOW_TIME_MAX: Duration = Duration::from_millis(LONG_POLL_MS_MAX + 60_000);
/// An upload of the largest size over a slow line.
const STREAM_TIME_MAX: Duration = Duration::from_secs(3_600);

impl Rim {
    /// # Errors
    /// A fault if two endpoints share a place.
    pub(crate) fn new(routes: Routes, outside: Outside) -> Reply<Rim> {
        Ok(Rim {
            router: Router::build(routes)?,
            limits: Limits::new(outside.settings.rate_limits),
            seen: Seen::default(),
            turns: Turns::default(),
            running: Running::default(),
            bodies: Bodies::default(),
            tasks: Handle::current(),
            outside,
        })
    }

    /// The response to a request. Never fails, never panics.
    pub(crate) async fn answer(
        self: Arc<Rim>,
        peer: Arc<Peer>,
        request: Request<Arriving>,
    ) -> Result<Response, Infallible> {
        peer.spoke.store(true, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let mut response = match self.receive(&peer, head) {
            Received::Answered(response) => response,
            Received::Call(call, asked) => call.answer(asked, body).await,
        };
        answer::allow_origins(&mut response);
        Ok(response)
    }

    /// What a request is, by its head.
    fn receive(self: Arc<Rim>, peer: &Peer, head: Parts) -> Received {
        if head.method == Method::OPTIONS {
            return Received::Answered(preflight());
        }
        if let Some(response) = self.own(peer.resources, &head.method, head.uri.path()) {
            return Received::Answered(response);
        }
        let (endpoint, args) = match self.router.find(&head.method, head.uri.path()) {
            Found::Endpoint(endpoint, args) if peer.resources.serves(endpoint) => (endpoint, args),
            Found::OtherMethod(allow) => return Received::Answered(other_method(allow)),
            Found::BadArgument => {
                let no = Error::invalid_param("a part of the path is not UTF-8");
                return Received::Answered(settle(Err(no), head.uri.path()));
            }
            Found::Nothing | Found::Endpoint(..) => {
                let no = Error::refused(404, "M_UNRECOGNIZED", "unknown endpoint");
                return Received::Answered(settle(Err(no), head.uri.path()));
            }
        };
        let settings = &self.outside.settings;
        let token = match endpoint.auth {
            Auth::None | Auth::Server => None,
            _ => proof::token(&head.headers, &head.uri, settings.token_in_query),
        };
        let call = Call {
            endpoint: endpoint.clone(),
            client: client_info(peer, &head.headers, &settings.trusted_proxies),
            token,
            service: match endpoint.group {
                Group::Login | Group::Registration => {
                    proof::service(settings, &head.headers, &head.uri)
                }
                _ => None,
            },
            account: OnceLock::new(),
            origin: OnceLock::new(),
            turn: OnceLock::new(),
            first: OnceLock::new(),
            rim: self,
        };
        let Parts { method, uri, headers, .. } = head;
        let asked = Asked { method, uri, headers, args, body: Bytes::new() };
        Received::Call(Arc::new(call), Box::new(asked))
    }

    /// What is not Matrix: health and metrics.
    fn own(&self, resources: Resources, method: &Method, path: &str) -> Option<Response> {
        let (status, text) = match (method, path) {
            (&Method::GET | &Method::HEAD, "/health") if resources.health => {
                if self.outside.stop.is_stopping() {
                    (StatusCode::SERVICE_UNAVAILABLE, "stopping".to_owned())
                } else {
                    (StatusCode::OK, "ok".to_owned())
                }
            }
            (&Method::GET | &Method::HEAD, "/metrics") if resources.metrics => {
                (StatusCode::OK, metrics::page(&self.outside, &self.running))
            }
            _ => return None,
        };
        let mut response = http::Response::new(Body::from(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, PLAIN_TEXT);
        Some(response)
    }
}

/// What a request is.
enum Received {
    /// Nothing that an endpoint is run for.
    Answered(Response),
    /// The call of an endpoint.
    Call(Arc<Call>, Box<Asked>),
}

/// The call of an endpoint, whose caller is to be proven.
struct Call {
    rim: Arc<Rim>,
    endpoint: Arc<Endpoint>,
    client: ClientInfo,
    token: Option<String>,
    /// Who makes accounts and logs in without limits: an application service.
    service: Option<Arc<Registration>>,
    /// Whom a login names.
    account: OnceLock<String>,
    /// The server that calls.
    origin: OnceLock<Origin>,
    /// Its place among the requests of that server.
    turn: OnceLock<Turn>,
    /// Set when the caller was proven and admitted, once, however often a transaction runs: the hash of a token
    /// whose first use this is.
    first: OnceLock<Option<[u8; 32]>>,
}

/// How far a call has come without waiting for the world.
enum Begun {
    Answered(Response),
    /// A flow, and how long it may take.
    Flows(Answering, Duration),
}

impl Call {
    async fn answer(self: Arc<Call>, asked: Box<Asked>, body: Arriving) -> Response {
        let began = Instant::now();
        let meter = &self.endpoint.meter;
        // The query may hold a token, so the span has the template only.
        let span = tracing::debug_span!("request", method = %meter.method, route = meter.template);
        let (_one_more, running) = OneMore::of(&self.rim.running.requests);
        let reply = if running > REQUESTS_MAX {
            Err(busy())
        } else {
            // Boxed, and let go before a flow waits: a long-poll sleeps for half a minute with what is left.
            let begin = Box::pin(self.clone().begin(asked, body).instrument(span.clone()));
            match unpanicked(begin).await {
                Ok(Begun::Answered(response)) => Ok(response),
                Ok(Begun::Flows(flow, time)) => {
                    unpanicked(within(time, flow.instrument(span.clone()))).await
                }
                Err(error) => Err(error),
            }
        };
        self.learn(&reply);
        let _entered = span.enter();
        let response = settle(reply, meter.template);
        let (status, took) = (response.status().as_u16(), began.elapsed());
        meter.count(status, took);
        tracing::debug!(status, us = took.as_micros(), "answered");
        response
    }

    async fn begin(self: Arc<Call>, mut asked: Box<Asked>, body: Arriving) -> Reply<Begun> {
        let endpoint = self.endpoint.clone();
        if endpoint.auth == Auth::Required && self.token.is_none() {
            return Err(proof::missing());
        }
        if let Run::Stream(run) = &endpoint.run {
            let upload = Upload::new(body, self.rim.outside.settings.max_upload)?;
            self.admit_address()?;
            let (outside, caller) = self.step_out(&asked).await?;
            return Ok(Begun::Flows(run(outside, caller, *asked, upload), STREAM_TIME_MAX));
        }
        let rim = self.rim.clone();
        let mut claim = rim.bodies.claim();
        let bytes_max = endpoint.body_bytes_max;
        asked.body = read_whole(body, bytes_max, BODY_TIME_MAX, &mut claim).await?;
        if endpoint.group == Group::Login
            && let Some(name) = login_name(&asked.body)
        {
            let _ = self.account.set(name);
        }
        match endpoint.auth {
            Auth::Server => self.prove_server(&asked).await?,
            _ => self.admit_address()?,
        }
        match &endpoint.run {
            Run::Read(_) => self.read(asked).await.map(Begun::Answered),
            Run::Write(_) => self.write(asked).await.map(Begun::Answered),
            Run::Flow(run) => {
                let (outside, caller) = self.clone().step_out(&asked).await?;
                Ok(Begun::Flows(run(outside, self.proven(caller), *asked), FLOW_TIME_MAX))
            }
            Run::Stream(_) => Err(Error::fault("a stream is not run here")),
        }
    }

    /// Proves the server that calls, and counts it.
    async fn prove_server(&self, asked: &Asked) -> Reply<()> {
        self.rim.limits.admit_peer(self.client.ip)?;
        let proven = proof::server(&self.rim.outside, asked).await;
        if status_of_proof(&proven) == 401 {
            self.rim.limits.learn_peer(self.client.ip);
        }
        let origin = proven?;
        let turn = self.rim.turns.take(&origin.server)?;
        // Set once: the request is proven once.
        let _ = (self.origin.set(origin), self.turn.set(turn));
        Ok(())
    }

    fn admit_address(&self) -> Reply<()> {
        if self.service.is_some() {
            return Ok(());
        }
        let account = self.account.get().map(String::as_str);
        let proven = self.token.is_some();
        self.rim.limits.admit_address(self.endpoint.group, self.client.ip, proven, account)
    }

    fn learn(&self, reply: &Reply<Response>) {
        if self.service.is_some() {
            return;
        }
        let account = self.account.get().map(String::as_str);
        self.rim.limits.learn(self.endpoint.group, status_of(reply), self.client.ip, account);
    }

    async fn read(self: Arc<Call>, mut asked: Box<Asked>) -> Reply<Response> {
        let call = self.clone();
        let work = self.rim.outside.store.read(move |view| {
            let caller = call.prove(view, &asked)?;
            let Run::Read(run) = &call.endpoint.run else { return Err(Error::fault("no reader")) };
            run(view, call.around(), call.proven(caller), &mut asked)
        });
        let reply = within(DEADLINE, work).await;
        self.confirm().await?;
        reply
    }

    async fn write(self: Arc<Call>, asked: Box<Asked>) -> Reply<Response> {
        let call = self.clone();
        let lane = self.endpoint.room.map(|place| lane(asked.arg(place)));
        let work = self.rim.outside.store.write(lane, move |tx| {
            let caller = call.prove(tx, &asked)?;
            let Run::Write(run) = &call.endpoint.run else { return Err(Error::fault("no writer")) };
            run(tx, call.around(), call.proven(caller), &asked)
        });
        let reply = within(DEADLINE, work).await;
        self.confirm().await?;
        reply.map(|written| written.value)
    }

    /// Who calls: a server, or whom the token proved.
    fn proven(&self, caller: Option<Caller>) -> Proven {
        match self.origin.get() {
            Some(origin) => Proven::Server(origin.clone()),
            None => caller.into(),
        }
    }

    /// What a flow gets.
    async fn step_out(self: Arc<Call>, asked: &Asked) -> Reply<(Outside, Option<Caller>)> {
        let mut caller = None;
        if self.token.is_some() {
            let (call, args, uri) = (self.clone(), asked.args.clone(), asked.uri.clone());
            let work = self
                .rim
                .outside
                .store
                .read(move |view| call.prove(view, &Asked { args, uri, ..Asked::default() }));
            caller = within(DEADLINE, work).await?;
            self.confirm().await?;
        }
        let outside = Outside { client: self.client.clone(), ..self.rim.outside.clone() };
        Ok((outside, caller))
    }

    fn around(&self) -> Around<'_> {
        Around { settings: &self.rim.outside.settings, client: &self.client }
    }

    /// Proves the caller and admits the call. In a transaction this is done in each run, but counted once.
    fn prove(&self, view: &View, asked: &Asked) -> Reply<Option<Caller>> {
        let Some(token) = &self.token else { return Ok(None) };
        let services = &self.rim.outside.settings.appservices;
        let openness = self.endpoint.openness;
        let (caller, is_first) = proof::prove(view, services, token, &asked.uri, openness)?;
        if self.first.set(is_first.then_some(caller.token)).is_err() {
            return Ok(Some(caller));
        }
        let endpoint = &self.endpoint;
        if caller.guest && !endpoint.guests && endpoint.auth == Auth::Required {
            return Err(proof::no_guests());
        }
        // The spec: an application service's own user has no limits, those that it acts as may have.
        let free = |s: &Arc<Registration>| !s.rate_limited || s.sender == caller.id;
        if !caller.service.as_ref().is_some_and(free) {
            let room = endpoint.room.map(|place| asked.arg(place));
            self.rim.limits.admit_user(endpoint.group, caller.user, &caller.device, room)?;
        }
        if endpoint.group == Group::Message && self.rim.outside.settings.presence {
            self.rim.outside.store.note_activity(caller.user, &caller.device);
        }
        self.rim.seen.note(&self.rim.outside.store, &self.rim.tasks, &caller, &self.client);
        Ok(Some(caller))
    }

    /// The first use of a renewed token spends the one before, before the client hears of it.
    async fn confirm(&self) -> Reply<()> {
        let Some(Some(token)) = self.first.get().copied() else { return Ok(()) };
        let confirm = move |tx: &mut Tx| accounts::session::confirm(tx, token);
        within(DEADLINE, self.rim.outside.store.write(None, confirm)).await.map(drop)
    }
}

/// Gives work up after a time. A transaction that was given up may still be committed.
async fn within<T>(time: Duration, work: impl Future<Output = Reply<T>>) -> Reply<T> {
    let late = |_| Err(Error::refused(503, "M_UNKNOWN", "the server took too long"));
    timeout(time, work).await.unwrap_or_else(late)
}

/// A panic is a fault of the one request that it happened in. What it was is on standard error.
async fn unpanicked<T>(work: impl Future<Output = Reply<T>>) -> Reply<T> {
    let work = AssertUnwindSafe(work).catch_unwind();
    work.await.unwrap_or_else(|_| Err(Error::fault("a panic")))
}

/// A response, whatever happened. A fault is logged here and nowhere else.
fn settle(reply: Reply<Response>, route: &str) -> Response {
    match reply {
        Ok(response) => response,
        Err(Error::Refused(refusal)) => answer::refusal(*refusal),
        Err(Error::Fault(fault)) => {
            let incident = format!("{:012x}", rand::random::<u64>() >> 16);
            tracing::error!(incident, route, %fault, "a request failed");
            answer::fault(&incident)
        }
    }
}

fn status_of(reply: &Reply<Response>) -> u16 {
    match reply {
        Ok(response) => response.status().as_u16(),
        Err(Error::Refused(refusal)) => refusal.status,
        Err(Error::Fault(_)) => 500,
    }
}

fn status_of_proof(proven: &Reply<Origin>) -> u16 {
    match proven {
        Err(Error::Refused(refusal)) => refusal.status,
        _ => 200,
    }
}

fn other_method(allow: &str) -> Response {
    let no = Error::refusal(405, "M_UNRECOGNIZED", "this endpoint has no such method");
    let mut response = answer::refusal(no);
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The answer to a browser that asks whether it may ask. No endpoint is run (spec: "Web Browser Clients").
fn preflight() -> Response {
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    // A day: what we allow does not change, and each asking costs a round trip. Browsers cap it themselves.
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Whom a login names: the localpart, as far as one can tell before the login is parsed.
fn login_name(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Login {
        identifier: Option<Identifier>,
        user: Option<String>,
    }
    #[derive(Deserialize)]
    struct Identifier {
        user: Option<String>,
    }
    if !protocol::json::check_depth(body, base::limits::JSON_DEPTH_MAX) {
        return None;
    }
    let login: Login = serde_json::from_slice(body).ok()?;
    let user = login.identifier.and_then(|i| i.user).or(login.user)?.to_lowercase();
    let localpart = user.strip_prefix('@').unwrap_or(&user).split(':').next()?;
    Some(localpart.to_owned())
}

/// From where a request comes: the peer, or what a proxy that we believe says of it.
fn client_info(peer: &Peer, headers: &HeaderMap, proxies: &[IpAddr]) -> ClientInfo {
    let is_proxy = |ip: &IpAddr| ip.is_loopback() || proxies.contains(ip);
    let mut ip = peer.ip;
    if peer.local || is_proxy(&ip) {
        let hops = headers.get_all("x-forwarded-for").iter().rev();
        let hops = hops.filter_map(|value| value.to_str().ok());
        // From the nearest hop to the farthest; each was written by the one before.
        for hop in hops.flat_map(|value| value.rsplit(',')) {
            let Ok(hop) = hop.trim().parse::<IpAddr>() else { break };
            ip = hop;
            if !is_proxy(&hop) {
                break;
            }
        }
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent = agent.map(|a| a.get(..ClientInfo::AGENT_BYTES_MAX).unwrap_or(a).to_owned());
    ClientInfo { ip, agent: agent.unwrap_or_default() }
}

impl Resources {
    /// All of them.
    #[must_use]
    pub fn all() -> Resources {
        Resources { client: true, federation: true, health: true, metrics: true }
    }

    fn serves(self, endpoint: &Endpoint) -> bool {
        (endpoint.federation && self.federation) || (endpoint.client && self.client)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::testing;

    fn peer(ip: [u8; 4], local: bool) -> Peer {
        let (resources, spoke) = (Resources::all(), AtomicBool::new(false));
        Peer { ip: ip.into(), local, resources, spoke }
    }

    fn ip_of(peer: &Peer, forwarded: &'static str, proxies: &[IpAddr]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
        client_info(peer, &headers, proxies).ip.to_string()
    }

    #[tokio::test]
    async fn health_says_that_the_server_stops() {
        let (store, media) = (testing::store(), TempDir::new().unwrap());
        let (stop, outside) = testing::outside(&store, &media, |_| {});
        let rim = Rim::new(Routes::default(), outside).unwrap();
        let health = || rim.own(Resources::all(), &Method::GET, "/health").unwrap().status();
        assert_eq!(health(), 200);
        stop.send_replace(true);
        assert_eq!(health(), 503);
    }

    #[tokio::test]
    async fn a_listener_serves_what_it_is_told_to() {
        let (store, media) = (testing::store(), TempDir::new().unwrap());
        let (_stop, outside) = testing::outside(&store, &media, |_| {});
        let rim = Rim::new(Routes::default(), outside).unwrap();
        let only_client = Resources { client: true, ..Resources::default() };
        assert!(rim.own(only_client, &Method::GET, "/health").is_none());
        assert!(rim.own(only_client, &Method::GET, "/metrics").is_none());
    }

    #[test]
    fn only_proxies_are_believed() {
        let direct = peer([198, 51, 100, 1], false);
        assert_eq!(ip_of(&direct, "192.0.2.1", &[]), "198.51.100.1");
        let trusted = [IpAddr::from([198, 51, 100, 1])];
        assert_eq!(ip_of(&direct, "192.0.2.1", &trusted), "192.0.2.1");
        assert_eq!(ip_of(&direct, "192.0.2.1, 198.51.100.1", &trusted), "192.0.2.1");
        assert_eq!(ip_of(&peer([127, 0, 0, 1], false), "x, 192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(ip_of(&peer([127, 0, 0, 1], true), "nonsense", &[]), "127.0.0.1");
    }

    #[test]
    fn a_login_names_an_account_in_many_ways() {
        let of = |body: &str| login_name(body.as_bytes());
        assert_eq!(of(r#"{"identifier":{"type":"m.id.user","user":"@Al:x"}}"#).unwrap(), "al");
        assert_eq!(of(r#"{"user":"al"}"#).unwrap(), "al");
        assert_eq!(of(r#"{"type":"m.login.token"}"#), None);
        assert_eq!(of(&"[".repeat(100_000)), None);
    }
}
