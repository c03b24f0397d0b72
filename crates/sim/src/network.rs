//! A network between the servers: it delays, loses, doubles and reorders what it carries, and falls into parts. What arrives
//! goes through the other server's HTTP door.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use flows::peers::{Patience, Wire};
use http::{Request, Response};
use parking_lot::Mutex;
use ruma::OwnedServerName;
use tokio::time::{sleep, timeout};

use crate::{dice::Dice, server::Server, trace::Trace};

/// What a network does to what it carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Requests of a thousand that are lost on the way.
    pub lost_per_mille: u32,
    /// Answers of a thousand that are lost on the way back.
    pub unanswered_per_mille: u32,
    /// Requests of a thousand that arrive twice.
    pub doubled_per_mille: u32,
    /// Times that the way between two servers is cut.
    pub cuts: usize,
    /// The longest of these, in milliseconds.
    pub cut_ms_max: u64,
}

/// The usual time to another server, and what a slow one takes, in milliseconds.
const USUAL_MS: u64 = 40;
const SLOW_MS: u64 = 4_000;

/// The network of a run.
pub(crate) struct Network {
    weather: Weather,
    /// Nothing fails any more.
    calm: AtomicBool,
    servers: Mutex<BTreeMap<OwnedServerName, Weak<Server>>>,
    /// From and to.
    cut: Mutex<BTreeSet<(OwnedServerName, OwnedServerName)>>,
    trace: Trace,
}

impl Network {
    /// A network without servers.
    #[must_use]
    pub(crate) fn new(weather: Weather, trace: Trace) -> Arc<Network> {
        let (calm, servers, cut) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Arc::new(Network { weather, calm, servers, cut, trace })
    }

    /// A server can be reached from now on.
    pub(crate) fn add(&self, server: &Arc<Server>) {
        self.servers.lock().insert(server.name.clone(), Arc::downgrade(server));
    }

    /// All ways are open, and nothing is lost.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.cut.lock().clear();
    }

    /// The way of one process of a server to all others.
    pub(crate) fn line(
        self: &Arc<Self>,
        from: OwnedServerName,
        alive: Arc<AtomicBool>,
        dice: Dice,
    ) -> Line {
        Line { network: self.clone(), from, alive, dice: Mutex::new(dice) }
    }

    /// Cuts the way between two servers now and then, in one direction or in both.
    pub(crate) async fn fall_apart(self: Arc<Self>, mut dice: Dice) {
        let names: Vec<OwnedServerName> = self.servers.lock().keys().cloned().collect();
        for _ in 0..self.weather.cuts {
            sleep(dice.ms(0, 15_000)).await;
            let (Some(a), Some(b)) = (dice.pick(&names).cloned(), dice.pick(&names).cloned())
            else {
                return;
            };
            if a == b {
                continue;
            }
            self.trace.note(format_args!("the way from {a} to {b} is cut"));
            let mut ways = vec![(a.clone(), b.clone())];
            if dice.chance(700) {
                ways.push((b, a));
            }
            self.cut.lock().extend(ways.iter().cloned());
            sleep(dice.ms(100, self.weather.cut_ms_max)).await;
            self.trace.note(format_args!("the ways {ways:?} are open"));
            self.cut.lock().retain(|way| !ways.contains(way));
        }
    }

    fn is_cut(&self, from: &OwnedServerName, to: &OwnedServerName) -> bool {
        self.cut.lock().contains(&(from.clone(), to.clone()))
    }
}

/// The way of one process to other servers.
pub(crate) struct Line {
    network: Arc<Network>,
    from: OwnedServerName,
    alive: Arc<AtomicBool>,
    dice: Mutex<Dice>,
}

/// What happens to one request.
struct Fate {
    there: Duration,
    back: Duration,
    lost: bool,
    unanswered: bool,
    doubled: Option<Duration>,
}

impl Line {
    fn fate(&self) -> Fate {
        let mut dice = self.dice.lock();
        let weather = self.network.weather;
        let calm = self.network.calm.load(Ordering::Relaxed);
        let slow = dice.chance(30) && !calm;
        let most = if slow { SLOW_MS } else { USUAL_MS };
        let (there, back) = (dice.ms(1, most), dice.ms(1, most));
        let lost = dice.chance(weather.lost_per_mille) && !calm;
        let unanswered = dice.chance(weather.unanswered_per_mille) && !calm;
        let again = dice.ms(0, SLOW_MS);
        let doubled = (dice.chance(weather.doubled_per_mille) && !calm).then_some(again);
        Fate { there, back, lost, unanswered, doubled }
    }

    async fn carry(
        &self,
        to: &OwnedServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, String> {
        let Fate { there, back, lost, unanswered, doubled } = self.fate();
        sleep(there).await;
        if lost || self.network.is_cut(&self.from, to) {
            // As a real one: nothing comes, until whoever asked gives up.
            sleep(LOST).await;
            return Err("nothing came".to_owned());
        }
        let server = self.network.servers.lock().get(to).and_then(Weak::upgrade);
        let Some(server) = server else { return Err("there is no such server".to_owned()) };
        if let Some(later) = doubled {
            let (server, request) = (server.clone(), request.clone());
            tokio::spawn(async move {
                sleep(later).await;
                server.call(request).await
            });
        }
        // What has arrived is dealt with, whatever becomes of who asked.
        let dealt = tokio::spawn(async move { server.call(request).await }).await;
        let response = dealt.map_err(|e| e.to_string())?.ok_or("the connection broke")?;
        sleep(back).await;
        if unanswered || self.network.is_cut(to, &self.from) {
            sleep(LOST).await;
            return Err("no answer came".to_owned());
        }
        Ok(response)
    }
}

/// Longer than anybody waits.
const LOST: Duration = Duration::from_secs(3_600);

impl Wire for Line {
    fn exchange(
        &self,
        to: OwnedServerName,
        request: Request<Bytes>,
        patience: Patience,
    ) -> futures_util::future::BoxFuture<'_, Result<Response<Bytes>, String>> {
        Box::pin(async move {
            if !self.alive.load(Ordering::Relaxed) {
                return Err("the process is gone".to_owned());
            }
            let what = format!("{} {}", request.method(), request.uri().path());
            let answer = timeout(patience.timeout, self.carry(&to, request)).await;
            let answer = answer.unwrap_or_else(|_| Err("the time was over".to_owned()));
            let alive = self.alive.load(Ordering::Relaxed);
            let trace = &self.network.trace;
            match &answer {
                _ if !alive => {}
                Ok(response) => {
                    let status = response.status().as_u16();
                    trace.note(format_args!("{} asks {to} {what}: {status}", self.from));
                }
                Err(why) => trace.note(format_args!("{} asks {to} {what}: {why}", self.from)),
            }
            match answer {
                Ok(response) if response.body().len() > patience.body_max => {
                    Err("the answer is too large".to_owned())
                }
                answer => answer,
            }
        })
    }
}
