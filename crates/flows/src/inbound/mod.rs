//! What other servers send: from a transaction to events in their rooms (spec: Server-Server API, "Transactions",
//! "Checks performed on receipt of a PDU").
//!
//! A transaction is answered when each of its events is in its room, or written down as waiting for others
//! ([`store::schema::STAGED`]). What waits is worked off by one task for each room and server that sent it, so that no room
//! waits for another, and nobody for what a server sent that leads nowhere.

pub mod edu;
mod missing;
mod transaction;
mod worker;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use base::{Reply, Room};
use parking_lot::Mutex;
use ruma::OwnedServerName;
use store::{Store, schema::STAGED};
use tokio::{sync::watch, task::JoinSet};

use crate::{device_lists::DeviceLists, journey::Journeys, peers::Peers};

pub use transaction::Sent;

/// Staged events looked at when the server starts.
const STAGED_MAX: usize = 1_000_000;

/// What other servers send. Cheap to clone; all clones share their work.
#[derive(Clone)]
pub struct Inbound(Arc<Inner>);

struct Inner {
    store: Store,
    peers: Peers,
    journeys: Journeys,
    lists: DeviceLists,
    /// Rooms, and servers whose events that wait there are being worked off.
    working: Mutex<HashSet<(Room, OwnedServerName)>>,
    tasks: Mutex<JoinSet<()>>,
    /// One transaction of each server at a time.
    origins: Mutex<HashMap<OwnedServerName, Arc<tokio::sync::Mutex<()>>>>,
    stop: watch::Sender<bool>,
}

impl Inbound {
    /// Works on nothing yet.
    #[must_use]
    pub fn new(store: Store, peers: Peers, journeys: Journeys) -> Inbound {
        let lists = DeviceLists::new(store.clone(), peers.clone());
        Inbound(Arc::new(Inner {
            store,
            peers,
            journeys,
            lists,
            working: Mutex::default(),
            tasks: Mutex::default(),
            origins: Mutex::default(),
            stop: watch::Sender::new(false),
        }))
    }

    /// Goes on with what waited when the server stopped.
    ///
    /// # Errors
    /// Faults of the store.
    pub async fn resume(&self) -> Reply<()> {
        let rooms = self.0.store.read(|view| {
            let rows: Vec<((Room, String, u64), _)> = view.everything(&STAGED, None, STAGED_MAX)?;
            Ok(rows
                .into_iter()
                .map(|((room, origin, _), _)| (room, origin))
                .collect::<BTreeSet<_>>())
        });
        for (room, origin) in rooms.await? {
            if let Ok(origin) = OwnedServerName::try_from(origin) {
                self.work_on(room, origin);
            }
        }
        let resyncing = self.0.lists.clone().run(self.0.stop.subscribe());
        self.0.tasks.lock().spawn(resyncing);
        Ok(())
    }

    /// The device lists of their users.
    #[must_use]
    pub fn device_lists(&self) -> &DeviceLists {
        &self.0.lists
    }

    /// Ends all work; what waits, waits on.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// Sees to it that somebody works on what waits in a room.
    fn work_on(&self, room: Room, origin: OwnedServerName) {
        if *self.0.stop.borrow() || !self.0.working.lock().insert((room, origin.clone())) {
            return;
        }
        let inbound = self.clone();
        let mut tasks = self.0.tasks.lock();
        // Those that have ended need no room.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { inbound.work(room, origin).await });
    }
}
