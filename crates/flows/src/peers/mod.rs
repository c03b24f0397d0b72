//! Other servers: how they are found, asked, and known by their keys (spec: Server-Server API, "Resolving server names",
//! "Retrieving server keys", "Request Authentication").

mod ask;
mod border;
mod check;
pub mod discovery;
mod health;
mod keys;
mod proof;
mod unanswered;
mod wire;

use std::sync::{Arc, atomic::Ordering};

use base::{Error, Refusal, Reply, UnixMs};
use bytes::Bytes;
use egress::Egress;
use http::{HeaderMap, Method, Response};
use protocol::{
    Pdu,
    server_keys::{self, Retired},
};
use ruma::{
    OwnedServerName, RoomVersionId, ServerName,
    api::{
        IncomingResponseExt as _, OutgoingBody as _, OutgoingRequest,
        federation::authentication::ServerSignatures, path_builder::SinglePath,
    },
};
use serde_json::value::RawValue;
use store::Store;
use tokio::sync::broadcast;

pub use border::Border;
pub use check::is_passing;
pub use unanswered::{Said, Unanswered};
pub use wire::{Patience, Wire};

use ask::{Asker, Question};
use check::Threads;
use keys::Keyring;
use wire::World;

/// How long what this server publishes of its keys counts, in milliseconds. A key that was stolen counts for so long.
const KEYS_VALID_MS: u64 = 24 * 3_600_000;

/// What the operator decided about other servers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Federation is on.
    pub enabled: bool,
    /// Notaries that are asked for keys; none: only the servers themselves.
    pub trusted_key_servers: Vec<OwnedServerName>,
    /// Keys that this server has used before.
    pub retired_keys: Vec<Retired>,
    /// Whom this server talks to.
    pub border: Border,
}

/// Other servers. Cheap to clone; all clones share what is known of them.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    asker: Arc<Asker>,
    keyring: Keyring,
    threads: Threads,
}

impl Peers {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(store: Store, egress: Egress, options: Options) -> Peers {
        Peers::with_wire(store, options, Arc::new(World::new(egress)))
    }

    /// Reaches other servers in another way than over the network.
    #[must_use]
    pub fn with_wire(store: Store, options: Options, wire: Arc<dyn Wire>) -> Peers {
        let Options { enabled, trusted_key_servers, retired_keys, border } = options;
        let threads = Threads::new(store.scheduler());
        let asker = Arc::new(Asker::new(store, enabled, border, wire));
        let keyring = Keyring::new(asker.clone(), trusted_key_servers, retired_keys);
        Peers(Arc::new(Inner { asker, keyring, threads }))
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
        let question = Question { method: head.method, target, body: body.into(), signed: true };
        let (head, body) = self.0.asker.ask(to, question, patience).await?.into_parts();
        R::IncomingResponse::try_from_http_response(Response::from_parts(head, body.as_ref()))
            .map_err(|e| Unanswered::Useless(format!("what came is no answer: {e}")))
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
        let question = Question {
            method: Method::GET,
            target: path_and_query,
            body: Bytes::new(),
            signed: true,
        };
        let (head, body) = self.0.asker.ask(to, question, patience).await?.into_parts();
        Ok((head.headers, body))
    }

    /// The server that signed a request to this one (spec: Server-Server API, "Request Authentication"). Its keys are
    /// asked for if they are not known. `target`: path and query, as they came.
    ///
    /// # Errors
    /// 401 `M_UNAUTHORIZED` if none has signed it, or for another server; 403 `M_FORBIDDEN` if this server does not
    /// take part in federation, or does not talk to that one.
    pub async fn prove(
        &self,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Reply<OwnedServerName> {
        let (method, target) = (method.to_string(), target.to_owned());
        let question = proof::Question { method, target, body };
        proof::prove(&self.0.asker, &self.0.keyring, headers, question).await
    }

    /// What this server publishes of its keys, as JSON (spec: Server-Server API, "Publishing Keys").
    ///
    /// # Errors
    /// A fault.
    pub fn own_keys(&self) -> Reply<String> {
        let store = &self.0.asker.store;
        let valid_until = store.now().0.saturating_add(KEYS_VALID_MS);
        let (server, key) = (store.server_name(), store.signing_key());
        server_keys::publish(server, key, &self.0.keyring.retired, valid_until)
    }

    /// What a server publishes of its keys, with this server's signature beside it (spec: Server-Server API, "Querying
    /// Keys Through Another Server"); `None` if it cannot be had. `at`: until when it should count, milliseconds.
    ///
    /// # Errors
    /// Faults of the store.
    pub async fn notarized_keys(&self, server: &OwnedServerName, at: u64) -> Reply<Option<String>> {
        let store = &self.0.asker.store;
        if server == store.server_name() {
            return self.own_keys().map(Some);
        }
        let Some(object) = self.0.keyring.published(server, at).await? else { return Ok(None) };
        server_keys::countersign(&object, store.server_name(), store.signing_key()).map(Some)
    }

    /// Whom this server talks to.
    #[must_use]
    pub fn border(&self) -> Arc<Border> {
        self.0.asker.border.read().clone()
    }

    /// Replaces whom this server talks to.
    pub fn set_border(&self, border: Border) {
        *self.0.asker.border.write() = Arc::new(border);
        self.0.asker.border_changes.fetch_add(1, Ordering::Release);
    }

    /// How often whom this server talks to was replaced.
    #[must_use]
    pub fn border_changes(&self) -> u64 {
        self.0.asker.border_changes.load(Ordering::Acquire)
    }

    /// A server speaks to us: it is there, and need not rest.
    pub fn heard_from(&self, server: &ServerName) {
        self.0.asker.heard_from(server);
    }

    /// Until when a server rests, if it does: it is not asked before, unless somebody insists.
    #[must_use]
    pub fn rests_until(&self, server: &ServerName) -> Option<UnixMs> {
        self.0.asker.rests_until(server)
    }

    /// Servers that had rested and were heard from again, as it happens.
    #[must_use]
    pub fn returned(&self) -> broadcast::Receiver<OwnedServerName> {
        self.0.asker.returned.subscribe()
    }

    /// Figures for metrics: name and value.
    #[must_use]
    pub fn gauges(&self) -> Vec<(&'static str, f64)> {
        vec![("althing_peers_resting", self.0.asker.resting() as f64)]
    }

    /// The first three checks on receipt of events, in their order (spec: Server-Server API, "Checks performed on
    /// receipt of a PDU"): format, signatures of those who must have signed (keys are fetched), hashes. An event
    /// whose content does not have its hash comes back redacted.
    ///
    /// # Errors
    /// Faults: they say nothing of the events.
    pub async fn check(
        &self,
        version: &RoomVersionId,
        events: Vec<Box<RawValue>>,
    ) -> Reply<Vec<Result<Pdu, Refusal>>> {
        check::check(&self.0.threads, &self.0.keyring, version, events, None).await
    }

    /// The same of one event that a further server must have signed.
    ///
    /// # Errors
    /// The refusal; faults.
    pub async fn check_signed_by(
        &self,
        server: &ServerName,
        version: &RoomVersionId,
        event: Box<RawValue>,
    ) -> Reply<Pdu> {
        let (also, events) = (Some(server.to_owned()), vec![event]);
        let mut checked =
            check::check(&self.0.threads, &self.0.keyring, version, events, also).await?;
        let checked = checked.pop().ok_or_else(|| Error::fault("a check without outcome"))?;
        checked.map_err(Error::from)
    }
}
