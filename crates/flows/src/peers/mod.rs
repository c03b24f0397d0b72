//! Other servers: how they are found, asked, and known by their keys (spec: Server-Server API, "Resolving server names",
//! "Retrieving server keys", "Request Authentication").

use std::{fmt, sync::Arc, time::Duration};

use base::{Error, Refusal};
use egress::Egress;
use protocol::Pdu;
use ruma::{
    OwnedServerName, RoomVersionId, ServerName,
    api::{OutgoingRequest, federation::authentication::ServerSignatures},
};
use serde_json::value::RawValue;
use store::Store;

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
    #[expect(dead_code)]
    store: Store,
    #[expect(dead_code)]
    egress: Egress,
    #[expect(dead_code)]
    options: Options,
}

/// A refusal of another server.
#[derive(Clone, Debug)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// The error code; empty if there is none.
    pub errcode: String,
    /// Text for a person.
    pub message: String,
}

/// Why a server gave no answer that can be used.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// It answered that it does not.
    Refused(Said),
    /// It cannot be reached, or what came is no answer.
    Silent(String),
    /// It could not be reached lately, and is not asked before its time has come.
    Resting,
    /// This server does not talk to that one, by decision of the operator.
    Barred,
}

impl Unanswered {
    /// Might asking later help?
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Unanswered::Refused(said) => said.status >= 500 || said.status == 429,
            Unanswered::Silent(_) | Unanswered::Resting => true,
            Unanswered::Barred => false,
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::Refused(said) => write!(f, "it refused: {} {}", said.errcode, said.message),
            Unanswered::Silent(why) => write!(f, "it gave no answer: {why}"),
            Unanswered::Resting => f.write_str("it could not be reached lately"),
            Unanswered::Barred => f.write_str("this server does not talk to it"),
        }
    }
}

/// What a client is told when the server that was needed did not help.
impl From<Unanswered> for Error {
    fn from(why: Unanswered) -> Error {
        match why {
            Unanswered::Refused(said) if said.status < 500 => {
                Error::refused(said.status, known(&said.errcode), said.message)
            }
            Unanswered::Barred => Error::forbidden("this server does not talk to that one"),
            other => Error::refused(502, "M_UNKNOWN", format!("the other server: {other}")),
        }
    }
}

/// An error code of the spec, as far as clients may be told it.
fn known(errcode: &str) -> &'static str {
    const KNOWN: [&str; 11] = [
        "M_FORBIDDEN",
        "M_NOT_FOUND",
        "M_INVITE_BLOCKED",
        "M_INCOMPATIBLE_ROOM_VERSION",
        "M_UNABLE_TO_AUTHORISE_JOIN",
        "M_UNABLE_TO_GRANT_JOIN",
        "M_UNSUPPORTED_ROOM_VERSION",
        "M_LIMIT_EXCEEDED",
        "M_INVALID_PARAM",
        "M_BAD_STATE",
        "M_UNRECOGNIZED",
    ];
    KNOWN.iter().find(|known| **known == errcode).copied().unwrap_or("M_UNKNOWN")
}

/// How long an answer may take, and whether a server that could not be reached lately is asked all the same.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the whole exchange.
    pub timeout: Duration,
    /// Asks a resting server too: somebody waits for it, or it has just been heard of.
    pub insist: bool,
    /// The largest answer, bytes.
    pub body_max: usize,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { timeout: Duration::from_secs(30), insist: false, body_max: 16 << 20 }
    }
}

impl Peers {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(store: Store, egress: Egress, options: Options) -> Peers {
        Peers(Arc::new(Inner { store, egress, options }))
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
        R: OutgoingRequest<Authentication = ServerSignatures> + Send,
    {
        let _ = (to, request, patience);
        Err(Unanswered::Barred)
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
