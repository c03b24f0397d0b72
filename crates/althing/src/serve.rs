//! `althing serve`: opens everything, says that it listens, waits for a signal, and finishes what has begun.

use std::{path::PathBuf, sync::Arc, time::Duration};

use accounts::{Cost, Hasher};
use blob::Blobs;
use egress::{Egress, mail::Mail};
use flows::{
    appservice::Bridges,
    inbound::Inbound,
    journey::{self, Journeys},
    peers::Peers,
    policy_server::PolicyServers,
};
use followers::{
    federation::{self, Federation, Network},
    push::{Letters, Outlet, Push},
};
use media::Library;
use protocol::appservice::Appservices;
use store::Store;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    chores,
    config::{Config, Engine, RegistrationMode, Sources},
    control,
    data_dir::DataDir,
    failure::Failure,
    logging, open, outward, registrations,
    rim::{Opened, Rim},
    signals,
};

/// Runs the server until a signal stops it.
pub(crate) fn run(sources: Sources) -> Result<(), Failure> {
    let config = &Config::load(sources.clone()).map_err(Failure::mistakes)?;
    logging::start(&config.log);
    let data = DataDir::open(&config.top.data_dir.0)?;
    let services = registrations::load(config)?;
    let store = open::store(config, &data, &services)?;
    let door = registration(config, &data)?;
    registrations::make_senders(&store, &services)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Failure::Runtime(format!("the runtime cannot start: {e}")))?;
    let result = runtime.block_on(serve(config, sources, &data, &store, services, door));
    // Within the runtime, so that a second signal still ends at once.
    store.close();
    result
}

async fn serve(
    config: &Config,
    sources: Sources,
    data: &DataDir,
    store: &Store,
    services: Appservices,
    door: Registration,
) -> Result<(), Failure> {
    let hasher = Hasher::start(Cost::OWASP)?;
    let media = Library::new(store.clone(), Blobs::open(&data.media())?);
    let egress = Egress::new(outward::egress(config))?;
    let peers =
        Peers::new(store.clone(), egress.clone(), outward::peers(config, data.retired_keys()?));
    store.set_witness(Arc::new(PolicyServers::new(peers.clone())));
    let journeys = Journeys::new(store.clone(), peers.clone(), media.clone(), egress.clone());
    let inbound = Inbound::new(store.clone(), peers.clone(), journeys.clone());
    let index = Arc::new(search::Messages::open(&data.search(), store.head())?);
    let mail = mail(config)?;
    let bridges = Bridges::new(services, egress.clone());
    let rim = Rim::bind(config).await?;
    let addresses = rim.addresses();
    let mut stop = Again { sources, peers: peers.clone(), reload: rim.reload() }.listen()?;
    let control = control_socket(config, data, store, &hasher)?;
    let clock = tokio::spawn(tick(store.clone()));
    let followers = Followers::start(config, store, &index, &bridges, &peers);
    let completion = Completion::start(&journeys);
    let push = Push::start(Outlet {
        store: store.clone(),
        egress: egress.clone(),
        mail: mail.clone(),
        letters: letters(config, &addresses),
    });
    inbound.resume().await?;
    let finder = althing_http::Finder::new(index);
    let opened = Opened {
        store: store.clone(),
        hasher,
        media,
        egress,
        peers,
        journeys,
        inbound: inbound.clone(),
        mail,
        finder,
        bridges,
    };
    let mut serving = rim.serve(config, opened, door.token.clone());
    tracing::info!(target: logging::ALWAYS, addresses = %addresses.join(" "), "listening");
    door.tell(config, &addresses);
    tokio::select! {
        // An error means that nobody can stop us any more: the runtime ends.
        _ended = stop.wait_for(|stop| *stop) => {}
        failure = serving.failed() => return Err(failure),
    }
    // Commands are still answered while requests finish.
    serving.drain().await?;
    inbound.stop().await;
    followers.stop().await;
    completion.stop().await;
    push.stop().await;
    clock.abort();
    if let Some(control) = control {
        control.abort();
        let _not_there = std::fs::remove_file(data.control_socket());
    }
    tracing::info!("stopped");
    Ok(())
}

/// What letters say, and when they are sent.
fn letters(config: &Config, addresses: &[String]) -> Letters {
    let delay = Duration::from_secs(config.email.delay.0);
    Letters { base_url: config.base_url(addresses), delay }
}

/// The way to the mail server, if both options are there.
fn mail(config: &Config) -> Result<Option<Mail>, Failure> {
    let (Some(url), Some(from)) = (&config.email.smtp, &config.email.from) else { return Ok(None) };
    let trusted_ca: Vec<PathBuf> =
        config.federation.trusted_ca.iter().map(|file| file.0.clone()).collect();
    Ok(Some(Mail::new(&url.0, &from.0, &trusted_ca)?))
}

/// What completes rooms that were joined without their members.
struct Completion {
    tell: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Completion {
    fn start(journeys: &Journeys) -> Completion {
        let (tell, stop) = watch::channel(false);
        let task = tokio::spawn(journey::completion::run(journeys.clone(), stop));
        Completion { tell, task }
    }

    async fn stop(self) {
        self.tell.send_replace(true);
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "the completion of rooms had ended");
        }
    }
}

/// What reacts to the log, and to the clock.
struct Followers {
    tell: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Tells other servers, if this one has anything to do with others.
    federation: Option<Federation>,
}

impl Followers {
    fn start(
        config: &Config,
        store: &Store,
        index: &Arc<search::Messages>,
        bridges: &Bridges,
        peers: &Peers,
    ) -> Followers {
        // No other process has the store open.
        let alone = config.store.engine == Engine::Embedded;
        let (tell, stop) = watch::channel(false);
        let run =
            |follower| tokio::spawn(store::follow::run(store.clone(), follower, stop.clone()));
        let mut tasks: Vec<_> = followers::all().into_iter().map(run).collect();
        let messages = followers::index_messages(store.clone(), index.clone(), stop.clone());
        tasks.push(tokio::spawn(messages));
        tasks.push(tokio::spawn(followers::delayed::run(store.clone(), stop.clone())));
        tasks.push(tokio::spawn(followers::inboxes::run(store.clone(), stop.clone())));
        for service in bridges.services().all().filter(|service| service.url.is_some()) {
            let (store, bridges) = (store.clone(), bridges.clone());
            let tell =
                followers::appservice::tell(store, bridges, service.clone(), alone, stop.clone());
            tasks.push(tokio::spawn(tell));
        }
        let federation = config.federation.enabled.then(|| {
            let wire = Arc::new(Network::new(peers.clone(), store.clone()));
            Federation::start(federation::Outlet { store: store.clone(), wire, alone })
        });
        Followers { tell, tasks, federation }
    }

    /// Lets each finish its step. What they have not come to, they come to after the next start.
    async fn stop(self) {
        self.tell.send_replace(true);
        if let Some(federation) = self.federation {
            federation.stop().await;
        }
        for task in self.tasks {
            if let Err(e) = task.await {
                tracing::error!(error = %e, "a follower had ended");
            }
        }
    }
}

/// How often what ends by itself is looked at: typing notices are given in seconds.
const TICK: Duration = Duration::from_secs(1);

/// Ends what has an end, until it is aborted.
async fn tick(store: Store) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        store.expire_typing();
        store.expire_presence();
        store.tend();
    }
}

/// What is read again on SIGHUP: certificates, and the lists of servers. All else stays as it is until the next start.
struct Again {
    sources: Sources,
    peers: Peers,
    reload: althing_http::Reload,
}

impl Again {
    /// Begins to listen for signals.
    fn listen(self) -> Result<watch::Receiver<bool>, Failure> {
        signals::listen(move || self.read())
            .map_err(|e| Failure::Runtime(format!("signals cannot be listened for: {e}")))
    }

    fn read(&self) {
        match self.reload.reload() {
            Ok(()) => tracing::info!("certificates read again"),
            Err(e) => tracing::error!(error = %e, "certificates stay as they were"),
        }
        match Config::load(self.sources.clone()) {
            Ok(config) => {
                self.peers.set_border(outward::border(&config));
                tracing::info!("lists of servers read again");
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "lists of servers stay as they were");
                }
            }
        }
    }
}

/// Commands reach an embedded store through the process that has it open; a database needs no such way.
fn control_socket(
    config: &Config,
    data: &DataDir,
    store: &Store,
    hasher: &Hasher,
) -> Result<Option<JoinHandle<()>>, Failure> {
    if config.store.engine == Engine::Postgres {
        return Ok(None);
    }
    let socket = data.control_socket();
    let listener = control::bind(&socket).map_err(|e| Failure::at(&socket, e))?;
    let (store, data, hasher) = (store.clone(), data.clone(), hasher.clone());
    let perform = move |chore| chores::perform(&store, &data, &hasher, chore);
    Ok(Some(tokio::spawn(control::serve(listener, Arc::new(perform)))))
}

/// How people come in.
struct Registration {
    /// The token that lets them register, if that is the way.
    token: Option<String>,
    /// Where it is kept, if we made it, and whether that was just now.
    kept: Option<(PathBuf, bool)>,
}

fn registration(config: &Config, data: &DataDir) -> Result<Registration, Failure> {
    if config.registration.mode != RegistrationMode::Token {
        return Ok(Registration { token: None, kept: None });
    }
    if let Some(token) = &config.registration.token {
        return Ok(Registration { token: Some(token.0.clone()), kept: None });
    }
    let (token, new) = data.registration_token()?;
    Ok(Registration { token: Some(token), kept: Some((data.token_file(), new)) })
}

impl Registration {
    /// Tells how to register; the token itself only at the first start.
    fn tell(&self, config: &Config, addresses: &[String]) {
        let (Some(token), Some((file, new))) = (&self.token, &self.kept) else { return };
        let file = file.display();
        if !new {
            tracing::info!(%file, "registration by the token in this file");
            return;
        }
        let url = config.base_url(addresses);
        println!(
            "\n  Welcome to {name}, {url}\n  \
             Register with a Matrix client and this registration token: {token}\n  \
             It is shown once, and kept in {file}\n  \
             Or make an account here: althing user create NAME\n",
            name = config.top.server_name
        );
    }
}
