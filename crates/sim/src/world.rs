//! A run: servers are started, people live, things fail, everything calms down, and the promises are checked.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base::Reply;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    agreement,
    dice::Dice,
    disk::{Disk, Habits},
    ledger,
    network::{Network, Weather},
    person::{self, Person, Scene},
    promises,
    server::Server,
    trace::Trace,
    watcher::Watcher,
};

/// What may happen in a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Servers.
    pub servers: usize,
    /// People of each server.
    pub people: usize,
    /// What each of them does.
    pub deeds: usize,
    /// Times that each server crashes.
    pub crashes: usize,
    /// How disks behave.
    pub disk: Habits,
    /// What the network does.
    pub weather: Weather,
    /// Largest difference of a server's clock to the true time, in milliseconds.
    pub skew_ms: u64,
    /// Keep the lines of the trace.
    pub tell: bool,
}

impl Plan {
    /// One server whose disk fails and which crashes.
    #[must_use]
    pub fn alone() -> Plan {
        Plan {
            servers: 1,
            people: 3,
            deeds: 25,
            crashes: 3,
            disk: Habits { failing_per_mille: 5, sync_every: 1 },
            weather: Weather::default(),
            skew_ms: 0,
            tell: false,
        }
    }

    /// Some servers, and everything that can fail does.
    #[must_use]
    pub fn together(servers: usize) -> Plan {
        let weather = Weather {
            lost_per_mille: 30,
            unanswered_per_mille: 30,
            doubled_per_mille: 30,
            cuts: 3,
            cut_ms_max: 30_000,
        };
        Plan { servers, people: 2, deeds: 20, crashes: 1, weather, skew_ms: 5_000, ..Plan::alone() }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The promises that were broken.
    pub broken: Vec<String>,
    /// Equal for equal runs.
    pub hash: u64,
    /// Events that were acknowledged.
    pub acknowledged: usize,
    /// Events that people were told of.
    pub told: usize,
    /// What happened, if that was to be kept.
    pub lines: Vec<String>,
}

/// Runs a plan with a seed, on this thread.
#[must_use]
pub fn run(seed: u64, plan: &Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let plan = *plan;
    runtime.block_on(async move { World::new(seed, plan).run().await })
}

/// How long a server stays down.
const DOWN_MS_MAX: u64 = 20_000;
/// Between two crashes of a server.
const UP_MS_MAX: u64 = 15_000;

struct World {
    seed: u64,
    plan: Plan,
    trace: Trace,
    network: Arc<Network>,
    servers: Vec<Arc<Server>>,
}

impl World {
    fn new(seed: u64, plan: Plan) -> World {
        let trace = Trace::new(plan.tell);
        let network = Network::new(plan.weather, trace.clone());
        let server = |index: usize| {
            let mut dice = Dice::new(seed, &format!("server {index}"));
            let disk = Disk::new(plan.disk, Dice::new(seed, &format!("disk {index}")));
            let skew_ms = dice.below(plan.skew_ms as usize) as u64;
            Arc::new(Server::new(seed, index, disk, network.clone(), skew_ms, trace.clone()))
        };
        let servers: Vec<_> = (0..plan.servers).map(server).collect();
        servers.iter().for_each(|server| network.add(server));
        World { seed, plan, trace, network, servers }
    }

    async fn run(self) -> Outcome {
        let scene = Arc::new(self.begin().await);
        let (stop, stopped) = watch::channel(false);
        let mut watching = Vec::new();
        for me in &scene.people {
            let watcher = Watcher::new(me.clone(), self.seed, self.trace.clone());
            watching.push(tokio::spawn(watcher.follow(stopped.clone())));
        }
        let mut lives = Vec::new();
        for me in &scene.people {
            let life = person::live(scene.clone(), me.clone(), self.seed, self.plan.deeds);
            lives.push(tokio::spawn(life));
        }
        for server in &self.servers {
            lives.push(tokio::spawn(trouble(server.clone(), self.seed, self.plan.crashes)));
        }
        let weather = Dice::new(self.seed, "weather");
        lives.push(tokio::spawn(self.network.clone().fall_apart(weather)));
        for life in lives {
            life.await.unwrap();
        }
        stop.send_replace(true);
        let mut watchers = Vec::new();
        for (me, watching) in scene.people.iter().zip(watching) {
            watchers.push((me.clone(), watching.await.unwrap()));
        }
        self.network.calm_down();
        self.calm_down(if self.servers.len() > 1 { CALM } else { CALM_ALONE }).await;
        let settled = self.come_together(&scene).await.unwrap();
        for (_, watcher) in &mut watchers {
            watcher.catch_up().await;
        }
        self.judge(&scene, &watchers, &settled).await
    }

    /// What one server has left aside (soft failure), another may have shown: they come together when somebody speaks whom
    /// all hear, on each server once it has heard the others. Returns the rooms in which that could be.
    async fn come_together(&self, scene: &Scene) -> Reply<BTreeSet<String>> {
        let rooms: Vec<String> =
            scene.ledger.lock().rooms.iter().map(|room| room.id.clone()).collect();
        let mut settled: BTreeSet<String> = rooms.iter().cloned().collect();
        if self.servers.len() < 2 {
            return Ok(settled);
        }
        let mut dice = Dice::new(self.seed, "last words");
        for round in 0..ROUNDS {
            for (at, server) in self.servers.iter().enumerate() {
                for id in &rooms {
                    let spoke = self.speak(scene, &mut dice, at, id, round).await?;
                    if !spoke && agreement::is_in(server, id)? {
                        settled.remove(id);
                    }
                }
                self.calm_down(CALM_ALONE).await;
            }
        }
        Ok(settled)
    }

    /// Somebody of a server says something in a room, of whom all servers see that they are in it. Says whether there is one.
    async fn speak(
        &self,
        scene: &Scene,
        dice: &mut Dice,
        at: usize,
        room: &str,
        round: u32,
    ) -> Reply<bool> {
        for person in scene.people.iter().filter(|person| person.at == at) {
            if !agreement::see_joined(&self.servers, room, &person.account.id)? {
                continue;
            }
            let body = format!("last words {round} of {}", person.account.id);
            let path = format!("/rooms/{room}/send/m.room.message/last{round}");
            let content = json!({"msgtype": "m.text", "body": body});
            let answer = person.insist(dice, "PUT", &path, Some(&content)).await;
            let Some((200, answer)) = answer else { continue };
            let event = answer["event_id"].as_str().unwrap_or_default().to_owned();
            let (person, room) = (person.index, room.to_owned());
            scene.ledger.lock().events.push(ledger::Acknowledged { person, room, event, body });
            return Ok(true);
        }
        Ok(false)
    }

    /// Servers and accounts, while nothing fails.
    async fn begin(&self) -> Scene {
        let mut people = Vec::new();
        for (at, server) in self.servers.iter().enumerate() {
            server.start();
            for n in 0..self.plan.people {
                let account = server.make_account(&format!("p{n}")).await;
                let (index, server) = (people.len(), server.clone());
                people.push(Arc::new(Person { index, account, server, at }));
            }
            server.sync_disk();
        }
        Scene { people, ledger: ledger::Shared::default(), trace: self.trace.clone() }
    }

    /// Returns when nothing has moved for so long.
    async fn calm_down(&self, calm: Duration) {
        let heads = || -> Vec<_> {
            self.servers.iter().map(|server| server.store().map(|store| store.head())).collect()
        };
        let began = Instant::now();
        let mut before = heads();
        while began.elapsed() < CALM_MAX {
            sleep(calm).await;
            let now = heads();
            if now == before {
                break;
            }
            before = now;
        }
        self.trace.note(format_args!("calm {before:?}"));
    }

    async fn judge(
        &self,
        scene: &Scene,
        watchers: &[(Arc<Person>, Watcher)],
        settled: &BTreeSet<String>,
    ) -> Outcome {
        let (rooms, events, mut broken) = {
            let ledger = scene.ledger.lock();
            let rooms: Vec<String> = ledger.rooms.iter().map(|room| room.id.clone()).collect();
            (rooms, ledger.events.clone(), ledger.wrong.clone())
        };
        for (at, server) in self.servers.iter().enumerate() {
            let store = server.store().unwrap();
            let own: Vec<_> = watchers.iter().filter(|(person, _)| person.at == at).collect();
            let found = store.read_here(|view| {
                let mut broken = promises::of_own_people(view, &rooms, &own)?;
                let here = |it: &&ledger::Acknowledged| {
                    scene.people.get(it.person).is_some_and(|person| person.at == at)
                };
                for it in events.iter().filter(here) {
                    broken.extend(promises::kept(view, it)?.err());
                }
                Ok(broken)
            });
            broken.extend(found.unwrap_or_else(|e| vec![format!("{}: {e}", server.name)]));
        }
        let agreed = agreement::check(&self.servers, &rooms, settled);
        broken.extend(agreed.unwrap_or_else(|e| vec![format!("no agreement: {e}")]));
        let told = watchers.iter().flat_map(|(_, watcher)| watcher.told.values());
        let told = told.map(|heard| heard.events.len());
        Outcome {
            broken,
            hash: self.trace.hash(),
            acknowledged: events.len(),
            told: told.sum(),
            lines: self.trace.lines(),
        }
    }
}

/// Nothing has moved for so long: longer than any pause after which another server is asked again.
const CALM: Duration = Duration::from_secs(7_200);
/// How often each server speaks at the end.
const ROUNDS: u32 = 2;
/// The same where nothing has failed lately, or there is no other server.
const CALM_ALONE: Duration = Duration::from_secs(60);
/// By then everything has calmed down.
const CALM_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Crashes a server now and then, and leaves it running.
async fn trouble(server: Arc<Server>, seed: u64, crashes: usize) {
    let mut dice = Dice::new(seed, &format!("{} trouble", server.name));
    for _ in 0..crashes {
        sleep(dice.ms(0, UP_MS_MAX)).await;
        server.crash();
        let down_ms = if dice.chance(700) { 1_000 } else { DOWN_MS_MAX };
        sleep(dice.ms(0, down_ms)).await;
        server.start();
    }
}
