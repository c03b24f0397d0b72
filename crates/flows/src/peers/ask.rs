//! One request to another server: whether it is asked at all, the signature, how its answer is judged, what that says of
//! its health.

use std::sync::{Arc, atomic::AtomicU64};

use base::UnixMs;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use metrics::counter;
use parking_lot::RwLock;
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use store::Store;
use tokio::{sync::broadcast, time::timeout};
use url::Url;

use super::{
    border::Border,
    health::Health,
    unanswered::{Said, Unanswered},
    wire::{Patience, Wire},
};

/// Servers that came back and whom somebody was not told about yet. Who misses some asks when their time has come.
const RETURNED_MAX: usize = 256;
/// What is asked of policy servers.
const POLICY_PATH: &str = "/_matrix/policy/";
/// The text of another server's error that is kept, characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: &'a str,
    /// Empty: none.
    pub(super) body: Bytes,
    /// With this server's signature.
    pub(super) signed: bool,
}

/// Asks other servers.
pub(super) struct Asker {
    pub(super) store: Store,
    pub(super) enabled: bool,
    pub(super) border: RwLock<Arc<Border>>,
    /// How often it was replaced.
    pub(super) border_changes: AtomicU64,
    pub(super) returned: broadcast::Sender<OwnedServerName>,
    wire: Arc<dyn Wire>,
    health: Health,
}

impl Asker {
    pub(super) fn new(store: Store, enabled: bool, border: Border, wire: Arc<dyn Wire>) -> Asker {
        Asker {
            store,
            enabled,
            border: RwLock::new(Arc::new(border)),
            border_changes: AtomicU64::new(0),
            returned: broadcast::Sender::new(RETURNED_MAX),
            wire,
            health: Health::default(),
        }
    }

    pub(super) fn heard_from(&self, server: &ServerName) {
        if self.health.is_there(server) {
            // Nobody listening is no error.
            let _ = self.returned.send(server.to_owned());
        }
    }

    pub(super) fn rests_until(&self, server: &ServerName) -> Option<UnixMs> {
        self.health.rests(server, self.store.now())
    }

    pub(super) fn resting(&self) -> usize {
        self.health.resting(self.store.now())
    }

    /// What came with a status of success.
    pub(super) async fn ask(
        &self,
        to: &ServerName,
        question: Question<'_>,
        patience: Patience,
    ) -> Result<Response<Bytes>, Unanswered> {
        let reply = self.try_ask(to, question, patience).await;
        let outcome = match &reply {
            Ok(_) => "answered",
            Err(Unanswered::Refused(_)) => "refused",
            Err(Unanswered::Silent(_) | Unanswered::Useless(_)) => "silent",
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
        question: Question<'_>,
        patience: Patience,
    ) -> Result<Response<Bytes>, Unanswered> {
        let admitted = self.border.read().admits(to);
        // Software beside this server may be a policy server in its name (spec: "Policy Servers").
        let own = to == self.store.server_name() && !question.target.starts_with(POLICY_PATH);
        if !self.enabled || !admitted || own {
            return Err(Unanswered::Barred);
        }
        let began = self.store.now();
        if !patience.insist && self.health.rests(to, began).is_some() {
            return Err(Unanswered::Resting);
        }
        let request = self
            .message(to, question)
            .map_err(|why| Unanswered::Silent(format!("there is no such request: {why}")))?;
        let exchange = self.wire.exchange(to.to_owned(), request, patience);
        let came = timeout(patience.timeout, exchange).await;
        let came = came.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match came.and_then(judge) {
            Ok(judged) => {
                self.heard_from(to);
                judged.map_err(Unanswered::Refused)
            }
            Err(why) => {
                let roll = u64::from_be_bytes(self.store.random());
                self.health.failed(to, began, self.store.now(), roll);
                Err(Unanswered::Silent(why))
            }
        }
    }

    /// The request as it goes out.
    fn message(&self, to: &ServerName, question: Question<'_>) -> Result<Request<Bytes>, String> {
        let Question { method, target, body, signed } = question;
        // Written as it goes out over the network: the signature is of that.
        let url = Url::parse(&format!("https://server{target}")).map_err(|e| e.to_string())?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", url.path());
        let mut request = Request::builder().method(&method);
        if signed {
            let (key, from) = (self.store.signing_key(), self.store.server_name());
            let (method, target) = (method.as_str(), target.as_str());
            let value = protocol::request::authorization(key, method, target, from, to, &body);
            let value = HeaderValue::from_str(&value.map_err(|e| e.to_string())?);
            request = request.header(header::AUTHORIZATION, value.map_err(|e| e.to_string())?);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.uri(target).body(body).map_err(|e| e.to_string())
    }
}

/// An answer, or a refusal. What comes of a proxy in front of a server that is away is neither.
fn judge(response: Response<Bytes>) -> Result<Result<Response<Bytes>, Said>, String> {
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
    let said: Refusing = serde_json::from_slice(response.body()).unwrap_or_default();
    if said.errcode.is_empty() && matches!(status.as_u16(), 502..=504) {
        return Err(format!("what is in front of it says {status}"));
    }
    let message = said.error.chars().take(MESSAGE_CHARS_MAX).collect();
    Ok(Err(Said { status: status.as_u16(), errcode: said.errcode, message }))
}
