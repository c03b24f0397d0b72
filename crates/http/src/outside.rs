//! What a flow may reach, and the settings that the binary makes of the configuration.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use protocol::appservice::Appservices;
use ruma::{OwnedServerName, RoomVersionId};
use store::{Lane, Store};
use tokio::sync::watch;

use crate::{finder::Finder, rendezvous::Rendezvous};

/// What a flow may reach. Cheap to clone.
#[derive(Clone)]
pub struct Outside {
    /// The store.
    pub store: Store,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Hashes passwords, a few at a time.
    pub accounts: accounts::Hasher,
    /// Media files.
    pub media: media::Library,
    /// The one door out.
    pub egress: egress::Egress,
    /// Other servers.
    pub peers: flows::peers::Peers,
    /// What users do there.
    pub journeys: flows::journey::Journeys,
    /// What other servers send.
    pub inbound: flows::inbound::Inbound,
    /// Looks at what is behind links; none: switched off.
    pub previews: Option<flows::preview::Previews>,
    /// Finds messages.
    pub finder: Finder,
    /// To people; `None`: this server sends no mail.
    pub mail: Option<egress::mail::Mail>,
    /// What clients of sliding sync were told.
    pub sliding: ::sync::sliding::Connections,
    /// Where devices meet that sign in by a QR code.
    pub rendezvous: Rendezvous,
    /// The application services, and how they are asked.
    pub bridges: flows::appservice::Bridges,
    /// From where the request came.
    pub client: ClientInfo,
    /// Tells that the server stops: whoever waits then answers with what it has.
    pub stop: Stop,
}

/// From where a request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The address; behind a proxy on this machine or a trusted one, what that says.
    pub ip: IpAddr,
    /// `User-Agent`, shortened.
    pub agent: String,
}

/// Who may register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// See [`RegistrationMode`].
    pub mode: RegistrationMode,
    /// The fixed token, if there is one.
    pub token: Option<String>,
    /// Guest accounts may be made.
    pub guests: bool,
    /// Whoever registers has to prove a mail address.
    pub require_email: bool,
    /// Enables registration by shared secret under `/_synapse/admin/v1/register`.
    pub shared_secret: Option<String>,
}

/// What it takes to register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Anyone may.
    Open,
    /// Whoever has a token.
    #[default]
    Token,
    /// Nobody.
    Closed,
}

/// A TURN server that shares a secret with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its addresses.
    pub uris: Vec<String>,
    /// The secret.
    pub shared_secret: String,
    /// How long credentials last, in seconds.
    pub ttl_s: u64,
}

/// Whom to ask for help (spec: `/.well-known/matrix/support`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// A page.
    pub page: Option<String>,
    /// The administrator's mail address.
    pub email: Option<String>,
    /// The administrator's user id, here or elsewhere.
    pub user: Option<String>,
    /// The mail address for matters of security.
    pub security_email: Option<String>,
}

/// Plain data, made by the binary from the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The name in user ids and room aliases.
    pub server_name: OwnedServerName,
    /// Where clients reach the server, without a slash at the end; for `.well-known` and links.
    pub base_url: Option<String>,
    /// Who may register.
    pub registration: Registration,
    /// The version of new rooms.
    pub default_room_version: RoomVersionId,
    /// Rate limits are on.
    pub rate_limits: bool,
    /// Largest media file, bytes.
    pub max_upload: u64,
    /// Presence is on.
    pub presence: bool,
    /// The relay for calls, if there is one.
    pub turn: Option<Turn>,
    /// LiveKit services for calls of many (MSC4143, MSC4195): their addresses.
    pub livekit: Vec<String>,
    /// Whom to ask for help.
    pub support: Support,
    /// Federation is on.
    pub federation_enabled: bool,
    /// Where other servers find this one: told in `/.well-known/matrix/server`.
    pub delegate: Option<String>,
    /// Other servers may list the directory.
    pub public_rooms: bool,
    /// `?access_token=` is accepted (spec: "Using access tokens"; deprecated since v1.11).
    pub token_in_query: bool,
    /// Proxies whose `X-Forwarded-For` is believed, besides those on this machine.
    pub trusted_proxies: Vec<IpAddr>,
    /// What users name may lie on loopback and private addresses, and needs no TLS. For tests and closed networks.
    pub allow_private_ips: bool,
    /// Mail can be sent.
    pub mail: bool,
    /// The application services.
    pub appservices: Appservices,
}

impl Settings {
    /// The defaults for a server name.
    #[must_use]
    pub fn new(server_name: OwnedServerName) -> Settings {
        Settings {
            server_name,
            base_url: None,
            registration: Registration::default(),
            default_room_version: RoomVersionId::V12,
            rate_limits: true,
            max_upload: 50 << 20,
            presence: true,
            turn: None,
            livekit: Vec::new(),
            support: Support::default(),
            federation_enabled: true,
            delegate: None,
            public_rooms: false,
            token_in_query: true,
            trusted_proxies: Vec::new(),
            allow_private_ips: false,
            mail: false,
            appservices: Appservices::default(),
        }
    }
}

/// Tells that the server stops.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The one who tells, and those who are told.
    #[must_use]
    pub fn channel() -> (watch::Sender<bool>, Stop) {
        let (tell, told) = watch::channel(false);
        (tell, Stop(told))
    }

    /// Does it stop?
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it stops.
    pub async fn stopped(&mut self) {
        // A teller that is gone without telling is one that stopped.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// Nobody, for what is not done for a request.
impl Default for ClientInfo {
    fn default() -> ClientInfo {
        ClientInfo { ip: Ipv4Addr::UNSPECIFIED.into(), agent: String::new() }
    }
}

impl ClientInfo {
    /// Bytes of a user agent that are kept.
    pub(crate) const AGENT_BYTES_MAX: usize = 256;
}

/// The lane in which the writers of a room queue; flows that write to a room use it too.
#[must_use]
pub fn lane(room_id: &str) -> Lane {
    Lane::of_room(room_id)
}

/// Reads and transactions are given up after this; a client has given up before.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
