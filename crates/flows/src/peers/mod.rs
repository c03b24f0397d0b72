//! Other servers: how they are found, asked, and known by their keys (spec: Server-Server API, "Resolving server names",
//! "Retrieving server keys", "Request Authentication").

pub mod discovery;
mod health;
mod unanswered;
mod wire;

use std::sync::Arc;

use base::{Error, Refusal, UnixMs};
use bytes::Bytes;
use egress::Egress;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use metrics::counter;
use protocol::Pdu;
use ruma::{
    OwnedServerName, RoomVersionId, ServerName,
    api::{
        IncomingResponseExt as _, OutgoingBody as _, OutgoingRequest,
        federation::authentication::ServerSignatures, path_builder::SinglePath,
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::Store;
use tokio::{sync::broadcast, time::timeout};
use url::Url;

pub use unanswered::{Said, Unanswered};
pub use wire::{Patience, Wire};

use health::Health;
use wire::World;

/// What the operator decided about other servers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Federation is on.
    pub enabled: bool,
    /// Notaries that are asked for keys; none: only the servers themselves.
    pub trusted_key_servers: Vec<OwnedServerName>,
}

/// Other servers. Cheap to clone; all clones share what is known of them.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    store: Store,
    wire: Arc<dyn Wire>,
    options: Options,
    health: Health,
    returned: broadcast::Sender<OwnedServerName>,
}

/// Servers that came back and whom somebody was not told about yet. Who misses some asks when their time has come.
const RETURNED_MAX: usize = 256;
/// The text of another server's error that is kept, bytes.
const MESSAGE_BYTES_MAX: usize = 1_000;

impl Peers {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(store: Store, egress: Egress, options: Options) -> Peers {
        Peers::with_wire(store, options, Arc::new(World::new(egress)))
    }

    /// Reaches other servers in another way than over the network.
    #[must_use]
    pub fn with_wire(store: Store, options: Options, wire: Arc<dyn Wire>) -> Peers {
        let (health, returned) = (Health::default(), broadcast::Sender::new(RETURNED_MAX));
        Peers(Arc::new(Inner { store, wire, options, health, returned }))
    }

    /// Asks a server, with a signed request.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn request<R>(
        &self,
        to: &ServerName,
        request: R,
        patience: Patience,
    ) -> Result<R::IncomingResponse, Unanswered>
    where
        R: OutgoingRequest<Authentication = ServerSignatures, PathBuilder = SinglePath> + Send,
    {
        let odd = |e: &dyn std::fmt::Display| Unanswered::Silent(format!("no such request: {e}"));
        let made = request.try_into_http_request_inner("https://server", ());
        let (head, body) = made.map_err(|e| odd(&e))?.into_parts();
        let body: Vec<u8> = body.try_into_buf().map_err(|e| odd(&e.into()))?;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let response = self.ask(to, head.method, target, body.into(), patience).await?;
        let (head, body) = response.into_parts();
        R::IncomingResponse::try_from_http_response(Response::from_parts(head, body.as_ref()))
            .map_err(|e| Unanswered::Silent(format!("what came is no answer: {e}")))
    }

    /// Gets what is not JSON from a server, with a signed request: headers and the whole body, within
    /// [`Patience::body_max`].
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn fetch(
        &self,
        to: &ServerName,
        path_and_query: &str,
        patience: Patience,
    ) -> Result<(HeaderMap, Bytes), Unanswered> {
        let response = self.ask(to, Method::GET, path_and_query, Bytes::new(), patience).await?;
        let (head, body) = response.into_parts();
        Ok((head.headers, body))
    }

    /// A server speaks to us: it is there, and need not rest.
    pub fn heard_from(&self, server: &ServerName) {
        if self.0.health.is_there(server) {
            // Nobody listening is no error.
            let _ = self.0.returned.send(server.to_owned());
        }
    }

    /// Until when a server rests, if it does: it is not asked before, unless somebody insists.
    #[must_use]
    pub fn rests_until(&self, server: &ServerName) -> Option<UnixMs> {
        self.0.health.rests(server, self.0.store.now())
    }

    /// Servers that had rested and were heard from again, as it happens.
    #[must_use]
    pub fn returned(&self) -> broadcast::Receiver<OwnedServerName> {
        self.0.returned.subscribe()
    }

    /// Figures for metrics: name and value.
    #[must_use]
    pub fn gauges(&self) -> Vec<(&'static str, f64)> {
        let resting = self.0.health.resting(self.0.store.now());
        vec![("althing_peers_resting", resting as f64)]
    }

    /// Sends a signed request and gives back what came with a status of success.
    async fn ask(
        &self,
        to: &ServerName,
        method: Method,
        target: &str,
        body: Bytes,
        patience: Patience,
    ) -> Result<Response<Bytes>, Unanswered> {
        let reply = self.try_ask(to, method, target, body, patience).await;
        let outcome = match &reply {
            Ok(_) => "answered",
            Err(Unanswered::Refused(_)) => "refused",
            Err(Unanswered::Silent(_)) => "silent",
            Err(Unanswered::Resting) => "resting",
            Err(Unanswered::Barred) => "barred",
        };
        counter!("althing_peers_requests_total", "outcome" => outcome).increment(1);
        if let Err(Unanswered::Silent(why)) = &reply {
            tracing::debug!(server = %to, why, "a server gave no answer");
        }
        reply
    }

    async fn try_ask(
        &self,
        to: &ServerName,
        method: Method,
        target: &str,
        body: Bytes,
        patience: Patience,
    ) -> Result<Response<Bytes>, Unanswered> {
        let Inner { store, wire, options, health, .. } = &*self.0;
        if !options.enabled || to == store.server_name() {
            return Err(Unanswered::Barred);
        }
        let began = store.now();
        if !patience.insist && health.rests(to, began).is_some() {
            return Err(Unanswered::Resting);
        }
        let request = self.signed(to, method, target, body)?;
        let exchange = wire.exchange(to.to_owned(), request, patience);
        let came = timeout(patience.timeout, exchange).await;
        let came = came.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match came.and_then(judged) {
            Ok(judged) => {
                self.heard_from(to);
                judged.map_err(Unanswered::Refused)
            }
            Err(why) => {
                health.failed(to, began, store.now());
                Err(Unanswered::Silent(why))
            }
        }
    }

    /// The request as it goes out.
    fn signed(
        &self,
        to: &ServerName,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Request<Bytes>, Unanswered> {
        let store = &self.0.store;
        let odd = |e: &dyn std::fmt::Display| Unanswered::Silent(format!("no such request: {e}"));
        // Written as it goes out over the network: the signature is of that.
        let url = Url::parse(&format!("https://server{target}")).map_err(|e| odd(&e))?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", url.path());
        let (key, from) = (store.signing_key(), store.server_name());
        let authorization =
            protocol::request::authorization(key, method.as_str(), &target, from, to, &body)
                .map_err(|e| odd(&e))?;
        let value = HeaderValue::from_str(&authorization).map_err(|e| odd(&e))?;
        let mut request =
            Request::builder().method(method).uri(target).header(header::AUTHORIZATION, value);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(body).map_err(|e| odd(&e))
    }

    /// The first three checks on receipt of events, in their order (spec: Server-Server API, "Checks performed on
    /// receipt of a PDU"): format, signatures of those who must have signed (keys are fetched), hashes. An event
    /// whose content does not have its hash comes back redacted.
    pub async fn check(
        &self,
        version: &RoomVersionId,
        events: Vec<Box<RawValue>>,
    ) -> Vec<Result<Pdu, Refusal>> {
        let _ = version;
        let no = || Err(Error::refusal(401, "M_UNAUTHORIZED", "no server has signed this"));
        events.iter().map(|_| no()).collect()
    }
}

/// An answer, or a refusal. What comes of a proxy in front of a server that is away is neither.
fn judged(response: Response<Bytes>) -> Result<Result<Response<Bytes>, Said>, String> {
    #[derive(Default, Deserialize)]
    struct Refusing {
        #[serde(default)]
        errcode: String,
        #[serde(default)]
        error: String,
    }
    let status = response.status();
    if status.is_success() {
        return Ok(Ok(response));
    }
    let Refusing { errcode, error: mut message } =
        serde_json::from_slice(response.body()).unwrap_or_default();
    if errcode.is_empty() && matches!(status.as_u16(), 502..=504) {
        return Err(format!("what is in front of it says {status}"));
    }
    if message.len() > MESSAGE_BYTES_MAX {
        message = message.chars().take(MESSAGE_BYTES_MAX / 4).collect();
    }
    Ok(Err(Said { status: status.as_u16(), errcode, message }))
}
