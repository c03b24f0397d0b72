//! Pushes: who has a pusher is told of what notifies them (spec: Client-Server API, "Push Notifications").
//!
//! One reader takes each entry of the log once and looks up in memory whom it may concern ([`index`]), so that a message
//! costs what its recipients with pushers cost, however large the room. Each pusher then goes its own way ([`worker`]):
//! it looks at the rooms in which something happened, tells its gateway one event at a time, and writes down how
//! far it has come. What is pending is never stored: it is what the log holds behind the cursor. A gateway that is gone
//! is a cursor that stands still, and holds up nobody else.

mod badge;
mod digest;

mod index;
mod pending;
mod post;
mod slot;
#[cfg(test)]
mod tests;
mod told;
mod worker;

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{Reply, Seq, User};
use egress::{Egress, mail::Mail};
use store::{Store, log::Entry, schema::PusherId};
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use index::{Concern, Index, Known, read_all, read_some};
use slot::{Rooms, Slot, Work};
use worker::Worker;

/// Entries read at once.
const BATCH: usize = 1_024;
/// Gateways asked at the same time.
const POSTS_MAX: usize = 64;
/// After a fault, before the next try.
const RETRY: Duration = Duration::from_secs(1);
/// For requests under way to come back when the server stops. What is cut off is told again after the start.
const GRACE: Duration = Duration::from_secs(5);

/// How pushes go out.
#[derive(Clone)]
pub struct Outlet {
    /// The store.
    pub store: Store,
    /// To gateways.
    pub egress: Egress,
    /// To people; `None`: this server sends no mail.
    pub mail: Option<Mail>,
    /// What letters say.
    pub letters: Letters,
}

/// How letters about unread messages are written.
#[derive(Clone, Debug)]
pub struct Letters {
    /// Where links in them lead, without a slash at the end.
    pub base_url: String,
    /// How long a message may stay unread until there is a letter about it.
    pub delay: Duration,
}

/// The running pushes.
pub struct Push {
    tell: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Push {
    /// Starts them, where they stopped.
    #[must_use]
    pub fn start(outlet: Outlet) -> Push {
        let (tell, stop) = watch::channel(false);
        let task = tokio::spawn(run(outlet, stop));
        Push { tell, task }
    }

    /// Stops them: requests under way may finish.
    pub async fn stop(self) {
        self.tell.send_replace(true);
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "pushes had ended");
        }
    }
}

async fn run(outlet: Outlet, mut stop: watch::Receiver<bool>) {
    let shared = worker::Shared {
        posts: Arc::new(Semaphore::new(POSTS_MAX)),
        stop: stop.clone(),
        outlet: outlet.clone(),
    };
    let mut reader = Reader { shared, index: Index::default(), slots: HashMap::new(), at: None };
    let mut head = outlet.store.watch_head();
    let mut workers = JoinSet::new();
    while !*stop.borrow() {
        head.borrow_and_update();
        match reader.advance(&mut workers).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(e) => {
                tracing::error!(error = %e, "pushes failed");
                reader.at = None;
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(RETRY) => {}
                }
                continue;
            }
        }
        // Ended workers are taken away as they come, so that they do not pile up.
        while workers.try_join_next().is_some() {}
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            _ = head.changed() => {}
        }
    }
    let finish = async { while workers.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        workers.shutdown().await;
    }
}

/// Reads the log and wakes pushers.
struct Reader {
    shared: worker::Shared,
    index: Index,
    slots: HashMap<(User, PusherId), Arc<Slot>>,
    /// Everything up to here was looked at; `None`: nothing yet.
    at: Option<Seq>,
}

impl Reader {
    /// Takes the next entries. Says whether there may be more.
    async fn advance(&mut self, workers: &mut JoinSet<()>) -> Reply<bool> {
        let store = self.shared.outlet.store.clone();
        let Some(at) = self.at else {
            // What happened before is found in the rooms: each pusher knows how far it came.
            let (users, upto) = store.read(|view| Ok((read_all(view)?, view.head()))).await?;
            self.index = Index::default();
            for (user, known) in users {
                self.learn(user, known, upto, workers);
            }
            self.at = Some(upto);
            return Ok(true);
        };
        let (entries, upto) = store
            .read(move |view| {
                let entries = view.log(at, Seq::MAX, BATCH)?;
                let full = entries.len() == BATCH;
                let last = entries.last().map_or(at, |(seq, _)| *seq);
                Ok((entries, if full { last } else { view.head() }))
            })
            .await?;
        self.refresh(&entries, upto, workers).await?;
        for (_, entry) in &entries {
            for Concern { user, rooms, counts_only } in self.index.concerns(entry) {
                let stale = rooms.clone();
                let rooms = if counts_only { Rooms::default() } else { rooms };
                self.wake(user, &Work { rooms, stale, upto }, workers);
            }
        }
        self.at = Some(upto);
        Ok(entries.len() == BATCH)
    }

    /// Reads again of whom pushers or rooms changed, before anything is judged by them.
    async fn refresh(
        &mut self,
        entries: &[(Seq, Entry)],
        upto: Seq,
        workers: &mut JoinSet<()>,
    ) -> Reply<()> {
        let mut changed: Vec<User> =
            entries.iter().filter_map(|(_, entry)| self.index.changes(entry)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        changed.sort_unstable();
        changed.dedup();
        let read = self.shared.outlet.store.read(move |view| read_some(view, &changed));
        for (user, known) in read.await? {
            self.learn(user, known, upto, workers);
        }
        Ok(())
    }

    /// Takes in what is known of a user now; pushers that are new, or changed, look through all rooms.
    fn learn(&mut self, user: User, known: Known, upto: Seq, workers: &mut JoinSet<()>) {
        let learned = self.index.learn(user, known);
        for id in learned.gone {
            self.slots.remove(&(user, id));
        }
        let rooms: Rooms = learned.entered.into_iter().collect();
        if !rooms.is_empty() {
            let work = Work { stale: rooms.clone(), rooms, upto };
            self.wake(user, &work, workers);
        }
        let all = Work { rooms: Rooms::All, stale: Rooms::All, upto };
        for id in learned.new {
            self.wake_one(user, id, &all, workers);
        }
    }

    fn wake(&mut self, user: User, work: &Work, workers: &mut JoinSet<()>) {
        for id in self.index.pushers(user) {
            self.wake_one(user, id, work, workers);
        }
    }

    fn wake_one(&mut self, user: User, id: PusherId, work: &Work, workers: &mut JoinSet<()>) {
        let slot = self.slots.entry((user, id)).or_default();
        if slot.give(work) {
            let worker = Worker::new(self.shared.clone(), slot.clone(), user, id);
            workers.spawn(worker.run());
        }
    }
}
