//! Between the configuration and the one door in: what `http` is told, where it listens, how it stops.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use accounts::Hasher;
use althing_http::{
    self as http, Bound, ClientInfo, Finder, Outside, Registration, RegistrationMode, Reload,
    Resources, Settings, Stop, Support, Tls, Turn,
};
use base::Reply;
use egress::{Egress, mail::Mail};
use flows::preview::Previews;
use flows::{appservice::Bridges, inbound::Inbound, journey::Journeys, peers::Peers};
use media::Library;
use store::Store;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    config::{self, Config, Listener, Resource},
    failure::Failure,
};

/// Listeners that are bound: their ports are known, and nothing is served yet.
pub(crate) struct Rim {
    bound: Bound,
}

/// What requests are answered with, opened by then.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) hasher: Hasher,
    pub(crate) media: Library,
    pub(crate) egress: Egress,
    pub(crate) peers: Peers,
    pub(crate) journeys: Journeys,
    pub(crate) inbound: Inbound,
    pub(crate) mail: Option<Mail>,
    pub(crate) finder: Finder,
    pub(crate) bridges: Bridges,
}

/// What serves.
pub(crate) struct Serving {
    tell: watch::Sender<bool>,
    task: JoinHandle<Reply<()>>,
}

impl Rim {
    pub(crate) async fn bind(config: &Config) -> Result<Rim, Failure> {
        let listeners = config.listeners.iter().map(listener).collect();
        Ok(Rim { bound: http::bind(listeners).await? })
    }

    /// Where it listens, in the order of the configuration, as a person would write it.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.bound.addresses().iter().map(ToString::to_string).collect()
    }

    pub(crate) fn reload(&self) -> Reload {
        self.bound.reload()
    }

    /// Begins to serve. `token`: what lets people register, if that is the way.
    pub(crate) fn serve(self, config: &Config, opened: Opened, token: Option<String>) -> Serving {
        let Opened {
            store,
            hasher,
            media,
            egress,
            peers,
            journeys,
            inbound,
            mail,
            finder,
            bridges,
        } = opened;
        let previews = config
            .media
            .url_previews
            .then(|| Previews::new(egress.clone(), media.clone(), config.top.server_name.as_str()));
        let (tell, stop) = Stop::channel();
        let mut settings = settings(config, token, &self.addresses());
        settings.appservices = bridges.services().clone();
        let outside = Outside {
            store,
            settings: Arc::new(settings),
            accounts: hasher,
            media,
            egress,
            peers,
            journeys,
            inbound,
            finder,
            previews,
            mail,
            sliding: Default::default(),
            rendezvous: Default::default(),
            bridges,
            // Each request brings its own.
            client: ClientInfo { ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED), agent: String::new() },
            stop,
        };
        let task = tokio::spawn(
            self.bound.serve(http::client::routes().and(http::federation::routes()), outside),
        );
        Serving { tell, task }
    }
}

impl Serving {
    /// Ends when the server cannot go on, which is a fault.
    pub(crate) async fn failed(&mut self) -> Failure {
        ended(&mut self.task).await.err().unwrap_or_else(|| {
            Failure::Runtime("the listeners ended although nobody stopped them".to_owned())
        })
    }

    /// Accepts nothing more, wakes whoever waits, lets what runs finish.
    pub(crate) async fn drain(mut self) -> Result<(), Failure> {
        self.tell.send_replace(true);
        ended(&mut self.task).await
    }
}

async fn ended(task: &mut JoinHandle<Reply<()>>) -> Result<(), Failure> {
    match task.await {
        Ok(reply) => Ok(reply?),
        Err(e) => Err(Failure::Runtime(format!("the listeners ended: {e}"))),
    }
}

fn listener(listener: &Listener) -> http::Listener {
    let serves = |resource| listener.resources.contains(&resource);
    http::Listener {
        bind: match &listener.bind {
            config::Bind::Tcp(address) => http::Bind::Tcp(*address),
            config::Bind::Unix(path) => http::Bind::Unix(path.clone()),
        },
        resources: Resources {
            client: serves(Resource::Client),
            federation: serves(Resource::Federation),
            health: serves(Resource::Health),
            metrics: serves(Resource::Metrics),
        },
        tls: listener.tls().map(|(certificate, private_key)| Tls {
            certificate: certificate.to_owned(),
            private_key: private_key.to_owned(),
        }),
    }
}

/// What endpoints need to know of the configuration.
fn settings(config: &Config, token: Option<String>, bound: &[String]) -> Settings {
    let mut settings = Settings::new(config.top.server_name.clone());
    settings.base_url = Some(config.base_url(bound));
    settings.registration = Registration {
        mode: match config.registration.mode {
            config::RegistrationMode::Open => RegistrationMode::Open,
            config::RegistrationMode::Token => RegistrationMode::Token,
            config::RegistrationMode::Closed => RegistrationMode::Closed,
        },
        token,
        guests: config.registration.guests,
        require_email: config.registration.require_email,
        shared_secret: config.registration.shared_secret.as_ref().map(|secret| secret.0.clone()),
    };
    settings.default_room_version = config.rooms.default_version.clone();
    settings.rate_limits = config.limits.rate_limits;
    settings.max_upload = config.media.max_upload.0;
    settings.presence = config.presence.enabled;
    settings.turn = turn(&config.turn);
    settings.livekit = config.rtc.livekit.iter().map(|url| url.0.clone()).collect();
    settings.support = Support {
        page: config.support.page.as_ref().map(|url| url.0.clone()),
        email: config.support.email.as_ref().map(|address| address.0.clone()),
        user: config.support.user.as_ref().map(|user| user.0.clone()),
        security_email: config.support.security_email.as_ref().map(|address| address.0.clone()),
    };
    settings.federation_enabled = config.federation.enabled;
    settings.delegate = config.federation.well_known.as_ref().map(ToString::to_string);
    settings.public_rooms = config.federation.public_rooms;
    settings.allow_private_ips = config.federation.allow_private_ips;
    settings.mail = config.email.smtp.is_some() && config.email.from.is_some();
    settings.trusted_proxies = config.limits.trusted_proxies.clone();
    settings
}

/// The relay for calls, if one is configured.
fn turn(config: &config::Turn) -> Option<Turn> {
    let shared_secret = config.shared_secret.as_ref().filter(|_| !config.uris.is_empty())?;
    Some(Turn {
        uris: config.uris.iter().map(|uri| uri.0.clone()).collect(),
        shared_secret: shared_secret.0.clone(),
        ttl_s: config.ttl.0,
    })
}
