//! The store: the sole owner of the data layout. Typed keyspaces ([`schema`]) over a byte engine; consistent
//! [`View`]s and transactions ([`Tx`]); the [`log`] that everything which happened is one row of; followers of that log.
//!
//! Invariants: one commit holds all that an action changes, and is durable before it is acknowledged; positions
//! rise and are never reused; a value read is the value that was written under that key, or a fault.
#![forbid(unsafe_code)]

pub mod activity;
mod cache;
mod codec;
mod committer;
pub mod copied;
pub mod device_changes;
pub mod device_keys;
pub mod event;
pub mod follow;
mod ids;
pub mod inbox;
pub mod invite;
pub mod key_backup;
mod keys;
mod keyspace;
mod lane;
pub mod log;
pub mod outbox;
pub mod pdu;
mod pool;
mod presence;
pub mod remote_lists;
pub mod room;
pub mod schema;
pub mod state;
mod tail;
#[cfg(test)]
mod tests;
mod txn;
mod typing;
pub mod user;
mod value;
mod view;
pub mod witness;
mod work;

use std::sync::Arc;

use base::{Error, Fault, Reply, Room, Seq, UnixMs, User};
use kv::Engine;
use parking_lot::{Mutex, RwLock};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{oneshot, watch};

pub use keys::{Key, KeyPart};
pub use keyspace::{Keyspace, Kind, Owned, Tenant};
pub use kv::Direction;
pub use lane::Lane;
pub use pool::{Scheduler, Task, inline};
pub use presence::{Shown as PresenceShown, State as PresenceState};
pub use tail::{Listener, RoomListener};
pub use txn::Txn;
pub use typing::Typing;
pub use value::Value;
pub use view::{Announced, CacheSpace, Tx, View};

use witness::{Rounds, Witness};
use work::{Work, settle};

/// Where "now" comes from: the wall clock, or a simulator's.
pub type Now = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// The key with which it signs.
    pub signing_key: Arc<protocol::SigningKey>,
    /// Budget of all caches of decoded values together.
    pub cache_bytes: u64,
    /// Threads for views and transactions. Where reading costs a trip over the network, more than cores.
    pub threads: usize,
    /// Runs the work in place of threads, of which the store then has none: for simulation. The store must then be the only
    /// one on its engine.
    pub scheduler: Option<Scheduler>,
    /// See [`Now`].
    pub now: Now,
    /// What the operator requires of encryption in rooms.
    pub encryption: Arc<protocol::encryption::Requirement>,
    /// Seed of what is unpredictable; `None`: from the operating system.
    pub seed: Option<u64>,
}

impl Options {
    /// The wall clock, 24 MiB of cache, two threads for each core.
    pub fn new(server_name: OwnedServerName, signing_key: Arc<protocol::SigningKey>) -> Options {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Options {
            server_name,
            signing_key,
            cache_bytes: 24 << 20,
            threads: 2 * cores,
            scheduler: None,
            now: wall_clock(),
            encryption: Arc::default(),
            seed: None,
        }
    }
}

/// The operating system's clock.
pub fn wall_clock() -> Now {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        UnixMs(since.map_or(0, |d| d.as_millis() as u64))
    })
}

pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) options: Options,
    pub(crate) cache: cache::Cache,
    pub(crate) codec: codec::Codec,
    pub(crate) pool: pool::Pool,
    pub(crate) lanes: lane::Lanes,
    pub(crate) committer: committer::Committer,
    pub(crate) ids: ids::Ids,
    pub(crate) tail: Arc<tail::Tail>,
    pub(crate) typing: Typing,
    pub(crate) presence: presence::Presence,
    /// Held by whoever reads the log for the tail.
    tailing: Mutex<()>,
    random: Mutex<StdRng>,
    witness: RwLock<Option<Arc<dyn Witness>>>,
}

impl Shared {
    pub(crate) fn view(self: &Arc<Self>, tenant: Tenant) -> Reply<View> {
        let now = (self.options.now)();
        Ok(View::new(self.engine.snapshot()?, self.clone(), tenant, now))
    }

    /// Commits a batch, on this thread if nobody else does. Whoever commits then takes in the log behind it.
    pub(crate) fn commit(
        self: &Arc<Self>,
        batch: kv::Batch,
        tell: Box<dyn FnOnce(Result<kv::Verdict, Fault>) + Send>,
    ) {
        COMMITTING.set(true);
        self.committer.submit(batch, tell, || {
            if let Err(e) = tail::take_in_new(self) {
                tracing::error!(error = %e, "cannot read the log");
            }
        });
        COMMITTING.set(false);
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.lock().fill(&mut bytes);
        bytes
    }
}

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    tenant: Tenant,
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<T> {
    /// What the function returned.
    pub value: T,
    /// The position of the first log entry it announced (of the snapshot it read, if it wrote nothing).
    pub seq: Seq,
}

impl Store {
    /// Opens the store on an engine: starts the pool, the committer and the tail.
    pub fn open(engine: Arc<dyn Engine>, options: Options) -> Reply<Store> {
        let head = engine.snapshot()?.head();
        let random = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => rand::make_rng(),
        };
        let pool = match &options.scheduler {
            Some(scheduler) => pool::Pool::scheduled(scheduler.clone()),
            None => pool::Pool::start(options.threads.max(1), "store")?,
        };
        let shared = Arc::new(Shared {
            cache: cache::Cache::new(options.cache_bytes),
            codec: codec::Codec::default(),
            pool,
            lanes: lane::Lanes::default(),
            committer: committer::Committer::new(engine.clone()),
            tailing: Mutex::default(),
            ids: ids::Ids::default(),
            tail: Arc::new(tail::Tail::new(head)),
            typing: Typing::default(),
            presence: presence::Presence::new((options.now)()),
            random: Mutex::new(random),
            witness: RwLock::default(),
            engine,
            options,
        });
        let store = Store { shared, tenant: Tenant::default() };
        store.claim_ids_with();
        if store.shared.options.scheduler.is_none() {
            store.start_tail()?;
        }
        Ok(store)
    }

    fn claim_ids_with(&self) {
        let weak = Arc::downgrade(&self.shared);
        self.shared.ids.claim_with(Box::new(move || {
            let shared = weak.upgrade().ok_or_else(|| Error::fault("the store is closed"))?;
            claim_ids(&shared)
        }));
    }

    /// One thread reads what other processes committed, as soon as the engine hints at it.
    fn start_tail(&self) -> Reply<()> {
        let (hint, mut hinted) = watch::channel(self.shared.tail.head());
        self.shared.engine.on_commit(Arc::new(move |head| {
            // This thread has just committed and will look for itself, once all who wait have been told.
            if COMMITTING.get() {
                return;
            }
            hint.send_if_modified(|known| {
                let newer = head > *known;
                *known = (*known).max(head);
                newer
            });
        }));
        let weak = Arc::downgrade(&self.shared);
        let wait = move || {
            // A thread of its own, so this small executor may park it.
            futures_block(hinted.changed()).is_ok()
        };
        tail::spawn(weak, wait)
    }

    /// The name of this server.
    pub fn server_name(&self) -> &ServerName {
        &self.shared.options.server_name
    }

    /// Where work is done instead of on threads, if that is decided elsewhere: see [`Options::scheduler`].
    pub fn scheduler(&self) -> Option<Scheduler> {
        self.shared.options.scheduler.clone()
    }

    /// The key with which this server signs.
    pub fn signing_key(&self) -> &Arc<protocol::SigningKey> {
        &self.shared.options.signing_key
    }

    /// Answers from a consistent snapshot, on the pool.
    pub async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&View) -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        let (tell, told) = oneshot::channel();
        let (shared, tenant) = (self.shared.clone(), self.tenant);
        self.shared.pool.run(Box::new(move || {
            // A reader that was given up (its client went away) is not run at all.
            if tell.is_closed() {
                return;
            }
            let view = match shared.view(tenant) {
                Ok(view) => view,
                Err(e) => return drop(tell.send(Err(e))),
            };
            let reply = f(&view);
            let kept = view.into_kept();
            let _ = tell.send(reply);
            if let Some(batch) = kept {
                // Nobody waits for it and nothing depends on it.
                shared.commit(batch, Box::new(drop));
            }
        }))?;
        told.await.unwrap_or_else(|_| Err(Error::fault("a reader panicked")))
    }

    /// One transaction, on the pool: run again on a conflict, durable when this returns. A refusal writes nothing.
    /// Writers with the same lane queue instead of colliding.
    pub async fn write<T: Send + 'static>(
        &self,
        lane: Option<Lane>,
        f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
    ) -> Reply<Written<T>> {
        self.write_as(lane, false, f).await
    }

    /// The same, in a lane, for what reads rows that are kept under positions of the log (timelines, the order of events): of
    /// writers that share its transaction it would not see those, so it shares none with writers before it.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_first<T: Send + 'static>(
        &self,
        lane: Lane,
        f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
    ) -> Reply<Written<T>> {
        self.write_as(Some(lane), true, f).await
    }

    async fn write_as<T: Send + 'static>(
        &self,
        lane: Option<Lane>,
        first: bool,
        f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
    ) -> Reply<Written<T>> {
        let witness = self.shared.witness.read().clone();
        let work = Work::new(f, witness.is_some());
        let mut rounds = Rounds::default();
        loop {
            let (tell, told) = oneshot::channel();
            let done = Box::new(move |outcome| drop(tell.send(outcome)));
            self.submit((lane, first), work.clone(), done)?;
            let outcome = told.await;
            let outcome =
                outcome.unwrap_or_else(|_| Err(Fault("a transaction was dropped".into())));
            let wanted = std::mem::take(&mut work.lock().asked.wanted);
            let (Some(witness), false) = (&witness, wanted.is_empty()) else {
                return settle(outcome, &work);
            };
            // Nothing was written: what was wanted is asked for outside of the lane.
            let heard = rounds.next(witness, wanted).await?;
            let mut work = work.lock();
            work.asked.heard.extend(heard);
            work.asked.possible = rounds.left();
        }
    }

    fn submit<T: Send + 'static, F: FnMut(&mut Tx) -> Reply<T> + Send + 'static>(
        &self,
        (lane, first): (Option<Lane>, bool),
        work: Arc<Mutex<Work<F, T>>>,
        done: Box<dyn FnOnce(Result<Seq, Fault>) + Send>,
    ) -> Reply<()> {
        let run = Box::new(move |tx: &mut Tx| work.lock().run(tx));
        lane::submit(&self.shared, lane, lane::Job { tenant: self.tenant, first, run, done })
    }

    /// Whom transactions ask for what they cannot know; see [`witness`]. Without one, they are told that nobody can be asked.
    pub fn set_witness(&self, witness: Arc<dyn Witness>) {
        *self.shared.witness.write() = Some(witness);
    }

    /// [`Store::read`] on this thread, for start-up, commands and tests.
    pub fn read_here<T>(&self, f: impl FnOnce(&View) -> Reply<T>) -> Reply<T> {
        f(&self.shared.view(self.tenant)?)
    }

    /// [`Store::write`], waiting on this thread, for start-up, commands and tests. Never from a pool thread.
    pub fn write_here<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
    ) -> Reply<Written<T>> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let work = Work::new(f, false);
        self.submit(
            (None, false),
            work.clone(),
            Box::new(move |outcome| drop(tell.send(outcome))),
        )?;
        let outcome =
            told.recv().unwrap_or_else(|_| Err(Fault("a transaction was dropped".into())));
        settle(outcome, &work)
    }

    /// The last log position that the process has taken in. Never ahead of what a new view sees.
    pub fn head(&self) -> Seq {
        self.shared.tail.head()
    }
    /// The head as it moves.
    pub fn watch_head(&self) -> watch::Receiver<Seq> {
        self.shared.tail.watch()
    }
    /// Changes whenever something that lives in memory only (who types) has changed in some room.
    pub fn watch_nudges(&self) -> watch::Receiver<u64> {
        self.shared.tail.watch_nudges()
    }
    /// Registers interest in whatever concerns a user: see [`Listener`].
    pub fn listen(&self, user: User) -> Listener {
        self.shared.tail.listen(self.tenant, user)
    }
    /// Registers interest in one room, for somebody who is not in it: see [`RoomListener`].
    pub fn listen_room(&self, room: Room) -> RoomListener {
        self.shared.tail.listen_room(self.tenant, room)
    }

    /// Sets or ends a user's typing notice and wakes the room.
    pub fn set_typing(&self, room: Room, user: User, until: Option<UnixMs>) {
        if self.shared.typing.set(self.tenant, room, user, until) {
            self.shared.tail.nudge_room(self.tenant, room);
        }
    }
    /// Ends typing notices whose time is over. To be called every second or so.
    pub fn expire_typing(&self) {
        for (tenant, room) in self.shared.typing.expire((self.shared.options.now)()) {
            self.shared.tail.nudge_room(tenant, room);
        }
    }

    /// A device begins to sync and counts as there until the answer is dropped, and a little longer. To be called before
    /// the store is read, and followed by [`Present::tell`].
    pub fn present(&self, user: User, device: &str, wanted: PresenceState) -> Present {
        let changed = self.shared.presence.begin((self.tenant, user), device, wanted, self.now());
        Present { store: self.clone(), user, device: device.to_owned(), changed }
    }
    /// The user says how present they are; who shares a room with them is told.
    pub fn set_presence(
        &self,
        user: User,
        device: &str,
        wanted: PresenceState,
        status: Option<String>,
        rooms: &Arc<[Room]>,
    ) {
        let (shared, who) = (&self.shared, (self.tenant, user));
        let changed = shared.presence.set(who, device, wanted, status, self.now());
        shared.presence.concern(who, rooms);
        if changed {
            shared.tail.nudge_some(self.tenant, user, rooms);
        }
    }
    /// The user does something by which one sees that they are there.
    pub fn note_activity(&self, user: User, device: &str) {
        let who = (self.tenant, user);
        if let Some(changed) = self.shared.presence.act(who, device, self.now()) {
            self.shared.tail.nudge_some(changed.tenant, changed.user, &changed.rooms);
        }
    }
    /// Another server says how present one of its users is; who shares a room with them is told. It holds until it says
    /// something else, at most half an hour.
    pub fn set_presence_elsewhere(&self, user: User, shown: PresenceShown, rooms: &Arc<[Room]>) {
        let (shared, who) = (&self.shared, (self.tenant, user));
        let changed = shared.presence.tell(who, shown, self.now());
        shared.presence.concern(who, rooms);
        if changed {
            shared.tail.nudge_some(self.tenant, user, rooms);
        }
    }
    /// Ends the presence of those who are gone or idle. To be called every second or so.
    pub fn expire_presence(&self) {
        for changed in self.shared.presence.expire(self.now()) {
            self.shared.tail.nudge_some(changed.tenant, changed.user, &changed.rooms);
        }
    }

    /// Housekeeping of the engine. To be called every second or so.
    pub fn tend(&self) {
        self.shared.engine.tend();
    }

    /// Now, by the store's clock.
    pub fn now(&self) -> UnixMs {
        (self.shared.options.now)()
    }

    /// Bytes that nobody can foresee (with a seed: those that follow from it), for what waits at the rim.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        self.shared.random()
    }

    /// Copies the whole store, consistent and compacted, while it serves.
    pub fn backup(&self, to: &std::path::Path) -> Reply<()> {
        Ok(self.shared.engine.backup(to)?)
    }

    /// Figures for metrics: name and value.
    pub fn gauges(&self) -> Vec<(&'static str, f64)> {
        let shared = &self.shared;
        vec![
            ("althing_store_head", shared.tail.head().0 as f64),
            ("althing_store_disk_bytes", shared.engine.disk_bytes() as f64),
            ("althing_store_cache_bytes", shared.cache.bytes() as f64),
            ("althing_store_pool_waiting", shared.pool.waiting() as f64),
            ("althing_sync_listeners", shared.tail.sleepers() as f64),
        ]
    }

    /// Finishes what is queued, commits it and stops the threads. Later writes are refused.
    pub fn close(&self) {
        self.shared.pool.stop();
        self.shared.committer.stop();
        // It may hold the store.
        *self.shared.witness.write() = None;
    }
}

/// A sync that runs: see [`Store::present`].
pub struct Present {
    store: Store,
    user: User,
    device: String,
    changed: bool,
}

impl Present {
    /// Tells those who share these rooms with the user, if there is something to tell.
    pub fn tell(&mut self, rooms: &Arc<[Room]>) {
        let (shared, tenant) = (&self.store.shared, self.store.tenant);
        shared.presence.concern((tenant, self.user), rooms);
        if std::mem::take(&mut self.changed) {
            shared.tail.nudge_some(tenant, self.user, rooms);
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let (shared, tenant) = (&self.store.shared, self.store.tenant);
        shared.presence.end((tenant, self.user), &self.device, self.store.now());
    }
}

/// Claims a block of ids, waiting for the commit on this thread.
fn claim_ids(shared: &Arc<Shared>) -> Reply<u64> {
    for _ in 0..CLAIM_ATTEMPTS_MAX {
        let mut tx = Tx::new(shared.view(Tenant::default())?);
        let first = tx.get(&schema::IDS, (0,))?.unwrap_or(1);
        tx.put(&schema::IDS, (0,), &(first + ids::BLOCK));
        let Some(batch) = tx.into_batch() else { continue };
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        shared.commit(batch, Box::new(move |verdict| drop(tell.send(verdict))));
        let verdict = told.recv().map_err(|_| Error::fault("the committer is gone"))??;
        if let kv::Verdict::At { .. } = verdict {
            return Ok(first);
        }
    }
    Err(Error::fault("could not claim ids"))
}
/// Other processes claim at the same moment at most once in a million ids.
const CLAIM_ATTEMPTS_MAX: usize = 100;

thread_local! {
    /// Is this thread inside a commit?
    static COMMITTING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Waits for a future on this thread.
fn futures_block<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark()
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(out) => return out,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
