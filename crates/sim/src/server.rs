//! One server: the real one, on a simulated disk and clock, that can crash and come back.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use accounts::{Cost, Hasher, account::New, device::Login};
use althing_http::{ClientInfo, Finder, Local, Outside, Settings, Stop};
use base::{Error, UnixMs};
use bytes::Bytes;
use egress::Egress;
use flows::{
    appservice::Bridges,
    inbound::Inbound,
    journey::{self, Journeys},
    peers::{self, Peers},
};
use followers::federation::{self, Federation};
use parking_lot::Mutex;
use ruma::{OwnedServerName, OwnedUserId};
use store::{Scheduler, Store};
use tempfile::TempDir;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{
    dice::Dice,
    disk::{Disk, Mounted},
    network::Network,
    trace::Trace,
};

/// When the world begins: the last second of 2025.
const EPOCH_MS: u64 = 1_767_225_599_000;

/// After a failing disk kept a process from going on with what waited.
const RESUME_PAUSE: Duration = Duration::from_secs(1);

/// A server, running or not.
pub(crate) struct Server {
    /// Its name.
    pub(crate) name: OwnedServerName,
    seed: u64,
    /// How far its clock is ahead of the true time, in milliseconds.
    skew_ms: u64,
    began: Instant,
    key: Arc<protocol::SigningKey>,
    disk: Arc<Disk>,
    network: Arc<Network>,
    trace: Trace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    boots: u64,
    running: Option<Running>,
}

/// A process of the server.
struct Running {
    store: Store,
    local: Local,
    mounted: Arc<Mounted>,
    alive: Arc<AtomicBool>,
    /// Told when it crashes. It wakes those who wait in the order in which they came.
    gone: Arc<Notify>,
    tasks: Vec<AbortHandle>,
    inbound: Inbound,
    telling: Federation,
    /// Held so that nobody is told to stop.
    _stop: (watch::Sender<bool>, watch::Sender<bool>),
}

/// An account that was made, and logged in.
pub(crate) struct Account {
    /// The user.
    pub(crate) id: OwnedUserId,
    /// The access token.
    pub(crate) token: String,
}

impl Server {
    /// A server that does not run yet.
    #[must_use]
    pub(crate) fn new(
        seed: u64,
        index: usize,
        disk: Arc<Disk>,
        network: Arc<Network>,
        skew_ms: u64,
        trace: Trace,
    ) -> Server {
        let name = format!("s{index}.test");
        let mut dice = Dice::new(seed, &format!("{name} key"));
        let bytes: [u8; 32] = std::array::from_fn(|_| dice.below(256) as u8);
        Server {
            key: Arc::new(protocol::SigningKey::generate(bytes, "1").unwrap()),
            name: OwnedServerName::try_from(name).unwrap(),
            seed,
            skew_ms,
            began: Instant::now(),
            disk,
            network,
            trace,
            state: Mutex::default(),
        }
    }

    /// Starts it, if it does not run.
    pub(crate) fn start(&self) {
        let mut state = self.state.lock();
        if state.running.is_some() {
            return;
        }
        state.boots += 1;
        self.trace.note(format_args!("{} starts", self.name));
        let alive = Arc::new(AtomicBool::new(true));
        let mounted = self.disk.mount();
        let dice = Dice::new(self.seed, &format!("{} work {}", self.name, state.boots));
        let mut options = store::Options::new(self.name.clone(), self.key.clone());
        options.scheduler = Some(scheduler(dice, alive.clone()));
        options.seed = Some(self.seed ^ (state.boots << 32));
        options.now = clock(self.began, self.skew_ms);
        options.cache_bytes = 4 << 20;
        let store = Store::open(mounted.clone(), options).unwrap();
        let (stop_rim, stop) = Stop::channel();
        let (stop_followers, stopped) = watch::channel(false);
        let dice = Dice::new(self.seed, &format!("{} line {}", self.name, state.boots));
        let line = self.network.line(self.name.clone(), alive.clone(), dice);
        let peers = peers::Options { enabled: true, ..peers::Options::default() };
        let peers = Peers::with_wire(store.clone(), peers, Arc::new(line));
        let egress = Egress::new(egress::Options::default()).unwrap();
        let media = media::Library::new(store.clone(), idle().blobs.clone());
        let journeys = Journeys::new(store.clone(), peers.clone(), media, egress);
        let inbound = Inbound::new(store.clone(), peers.clone(), journeys.clone());
        let wire = Arc::new(federation::Network::new(peers.clone(), store.clone()));
        let telling = federation::Outlet { store: store.clone(), wire, alone: true };
        let telling = Federation::start(telling);
        let outside = outside(&store, peers, journeys.clone(), inbound.clone(), stop);
        let routes = althing_http::client::routes().and(althing_http::federation::routes());
        let local = Local::new(routes, outside).unwrap();
        let mut tasks = Vec::new();
        for follower in followers::all() {
            let run = store::follow::run(store.clone(), follower, stopped.clone());
            tasks.push(tokio::spawn(run).abort_handle());
        }
        let completion = journey::completion::run(journeys, stopped.clone());
        tasks.push(tokio::spawn(completion).abort_handle());
        let resumed = inbound.clone();
        let resume = async move {
            while resumed.resume().await.is_err() {
                sleep(RESUME_PAUSE).await;
            }
        };
        tasks.push(tokio::spawn(resume).abort_handle());
        let gone = Arc::new(Notify::new());
        let stop = (stop_rim, stop_followers);
        state.running = Some(Running {
            store,
            local,
            mounted,
            alive,
            gone,
            tasks,
            inbound,
            telling,
            _stop: stop,
        });
    }

    /// The process ends at once, wherever it is.
    pub(crate) fn crash(&self) {
        let Some(running) = self.state.lock().running.take() else { return };
        self.trace.note(format_args!("{} crashes", self.name));
        running.mounted.unmount();
        running.alive.store(false, Ordering::Relaxed);
        running.tasks.iter().for_each(AbortHandle::abort);
        running.gone.notify_waiters();
        // They reach nothing any more, neither disk nor network: this is only so that they end.
        let Running { inbound, telling, .. } = running;
        tokio::spawn(async move {
            inbound.stop().await;
            telling.stop().await;
        });
    }

    /// Everything written so far is on its disk, whatever the disk's habits.
    pub(crate) fn sync_disk(&self) {
        if let Some(running) = &self.state.lock().running {
            running.mounted.sync();
        }
    }

    /// The response to a request; `None` if the server does not run, or crashes meanwhile.
    pub(crate) async fn call(
        &self,
        request: http::Request<Bytes>,
    ) -> Option<http::Response<Bytes>> {
        let (local, gone) = {
            let state = self.state.lock();
            let running = state.running.as_ref()?;
            (running.local.clone(), running.gone.clone().notified_owned())
        };
        tokio::select! {
            biased;
            () = gone => None,
            response = local.call(request) => Some(response),
        }
    }

    /// The store of the process, if it runs.
    #[must_use]
    pub(crate) fn store(&self) -> Option<Store> {
        self.state.lock().running.as_ref().map(|running| running.store.clone())
    }

    /// Makes an account with one device. Before anything crashes.
    pub(crate) async fn make_account(&self, name: &str) -> Account {
        let name = Some(name.to_owned());
        let new = New { name, guest: false, password: None, admin: false, display_name: None };
        let store = self.store().unwrap();
        let (id, token) = loop {
            let new = new.clone();
            let made = store.write(None, move |tx| {
                let (user, id) = match accounts::account::register(tx, &new) {
                    // A commit that failed may have been written.
                    Err(Error::Refused(_)) => {
                        let id = accounts::account::id_of(tx, new.name.as_deref().unwrap_or(""))?;
                        let user = store::user::intern(tx, &id)?;
                        (user, id)
                    }
                    made => made?,
                };
                let login = Login { device: Some("D".into()), ..Login::default() };
                let tokens = accounts::device::log_in(tx, user, &login)?.tokens;
                Ok((id, tokens.access))
            });
            if let Ok(written) = made.await {
                break written.value;
            }
        };
        Account { id, token }
    }
}

/// Each piece of work takes some time; what comes between is by chance.
fn scheduler(dice: Dice, alive: Arc<AtomicBool>) -> Scheduler {
    let dice = Mutex::new(dice);
    Arc::new(move |task| {
        let pause = {
            let mut dice = dice.lock();
            let slow = dice.chance(300);
            slow.then(|| if dice.chance(20) { dice.ms(50, 2_000) } else { dice.ms(1, 20) })
        };
        let alive = alive.clone();
        tokio::spawn(async move {
            if let Some(pause) = pause {
                sleep(pause).await;
            }
            if alive.load(Ordering::Relaxed) {
                task();
            }
        });
    })
}

/// The clock of a server: `ahead_ms` after the epoch when the world began.
fn clock(began: Instant, ahead_ms: u64) -> store::Now {
    Arc::new(move || {
        let since = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        UnixMs(EPOCH_MS + ahead_ms + since)
    })
}

/// What no run uses, and what is slow to make: threads for passwords, folders, an index.
struct Idle {
    hasher: Hasher,
    blobs: blob::Blobs,
    index: Arc<search::Messages>,
    _folder: TempDir,
}

fn idle() -> &'static Idle {
    static IDLE: OnceLock<Idle> = OnceLock::new();
    IDLE.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let begin = base::Seq(1);
        let index = search::Messages::open(&folder.path().join("search"), begin).unwrap();
        Idle {
            hasher: Hasher::start(Cost::CHEAP).unwrap(),
            blobs: blob::Blobs::open(&folder.path().join("media")).unwrap(),
            index: Arc::new(index),
            _folder: folder,
        }
    })
}

fn outside(
    store: &Store,
    peers: Peers,
    journeys: Journeys,
    inbound: Inbound,
    stop: Stop,
) -> Outside {
    let mut settings = Settings::new(store.server_name().to_owned());
    settings.rate_limits = false;
    settings.presence = false;
    let egress = Egress::new(egress::Options::default()).unwrap();
    let idle = idle();
    Outside {
        store: store.clone(),
        accounts: idle.hasher.clone(),
        media: media::Library::new(store.clone(), idle.blobs.clone()),
        peers,
        journeys,
        inbound,
        previews: None,
        finder: Finder::new(idle.index.clone()),
        mail: None,
        sliding: sync::sliding::Connections::default(),
        rendezvous: althing_http::Rendezvous::default(),
        bridges: Bridges::new(settings.appservices.clone(), egress.clone()),
        egress,
        client: ClientInfo::default(),
        settings: Arc::new(settings),
        stop,
    }
}
