//! What follows the commits inside the process: the recent log in memory, and who is to be woken.
//!
//! The engine's listener gives a hint that the head moved; one thread reads the new entries, keeps them decoded in a
//! ring, and wakes the sleepers whom they concern. Nothing here is truth: whoever is woken reads the store.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::{Error, Reply, Room, Seq, User};
use kv::Direction;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::{
    Shared,
    keyspace::Tenant,
    log::{self, Entry},
};

/// Entries kept decoded, about 64 bytes each: a client that syncs every half minute stays inside at 2,000 events/s.
const RECENT_MAX: usize = 65_536;
/// Users who stopped waiting but whose place in the index is kept, because most come back within seconds.
const IDLE_SLOTS_MAX: usize = 10_000;

/// Listeners of a room who are woken by a change of presence.
const NUDGED_MAX: usize = 100;

/// The recent log, and the sleepers.
pub(crate) struct Tail {
    ring: RwLock<Ring>,
    sleepers: Mutex<HashMap<Tenant, Sleepers>>,
    nudges: watch::Sender<u64>,
    head: watch::Sender<Seq>,
    /// Those who follow the head, in the order in which they came, each with a channel of their own: one channel for all
    /// would wake them in an order by chance, and a simulated run could not be repeated.
    watchers: Mutex<Vec<watch::Sender<Seq>>>,
}

#[derive(Default)]
struct Ring {
    /// The newest entries, oldest first.
    entries: VecDeque<(Seq, Tenant, Entry)>,
    /// Of what is behind this position, every entry is in the ring.
    before: Seq,
}

impl Tail {
    pub(crate) fn new(head: Seq) -> Tail {
        let ring = Ring { entries: VecDeque::new(), before: head };
        Tail {
            ring: RwLock::new(ring),
            sleepers: Mutex::default(),
            nudges: watch::Sender::new(0),
            head: watch::Sender::new(head),
            watchers: Mutex::default(),
        }
    }

    /// The last position that has been taken in.
    pub(crate) fn head(&self) -> Seq {
        *self.head.borrow()
    }
    pub(crate) fn watch(&self) -> watch::Receiver<Seq> {
        let mut watchers = self.watchers.lock();
        // Read under the lock: whoever moves the head now waits for it, and tells this one too.
        let (tell, told) = watch::channel(self.head());
        watchers.push(tell);
        told
    }

    /// Entries `after < seq <= upto` of a tenant; `None` if the ring does not hold all of that span.
    pub(crate) fn recent(
        &self,
        tenant: Tenant,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> Option<Vec<(Seq, Entry)>> {
        let ring = self.ring.read();
        let last = ring.entries.back().map_or(ring.before, |(seq, ..)| *seq);
        if after < ring.before || upto > last {
            return None;
        }
        let from = ring.entries.partition_point(|(seq, ..)| *seq <= after);
        let found = ring
            .entries
            .range(from..)
            .take_while(|(seq, ..)| *seq <= upto)
            .filter(|(_, t, _)| *t == tenant)
            .map(|(seq, _, entry)| (*seq, entry.clone()))
            .take(limit)
            .collect();
        Some(found)
    }

    /// How many entries `after < seq <= upto` there are, of all tenants; `None` if the ring does not hold all of that span.
    pub(crate) fn count(&self, after: Seq, upto: Seq) -> Option<usize> {
        let ring = self.ring.read();
        let last = ring.entries.back().map_or(ring.before, |(seq, ..)| *seq);
        if after < ring.before || upto > last {
            return None;
        }
        let behind = |at: Seq| ring.entries.partition_point(|(seq, ..)| *seq <= at);
        Some(behind(upto) - behind(after))
    }

    /// Takes in the next entries, in order and leaving none out, and wakes whom they concern.
    pub(crate) fn take_in(&self, entries: Vec<(Seq, Tenant, Entry)>) {
        let Some(head) = entries.last().map(|(seq, ..)| *seq) else { return };
        let mut sleepers = self.sleepers.lock();
        let mut ring = self.ring.write();
        for (seq, tenant, entry) in entries {
            if let Some(of_tenant) = sleepers.get_mut(&tenant) {
                of_tenant.wake(&entry);
            }
            ring.entries.push_back((seq, tenant, entry));
        }
        while ring.entries.len() > RECENT_MAX {
            if let Some((oldest, ..)) = ring.entries.pop_front() {
                ring.before = oldest;
            }
        }
        drop(ring);
        drop(sleepers);
        self.head.send_replace(head);
        self.watchers.lock().retain(|watcher| watcher.send(head).is_ok());
    }

    /// Something that lives in memory only changed in a room.
    pub(crate) fn nudge_room(&self, tenant: Tenant, room: Room) {
        if let Some(of_tenant) = self.sleepers.lock().get_mut(&tenant) {
            of_tenant.wake_room(room);
        }
        self.nudges.send_modify(|n| *n += 1);
    }
    pub(crate) fn watch_nudges(&self) -> watch::Receiver<u64> {
        self.nudges.subscribe()
    }

    /// Something of little weight has changed for those who share these rooms with a user. In rooms in which many listen,
    /// nobody is woken for that: they are told with the next answer that they get anyway.
    pub(crate) fn nudge_some(&self, tenant: Tenant, user: User, rooms: &[Room]) {
        if let Some(of_tenant) = self.sleepers.lock().get_mut(&tenant) {
            of_tenant.wake_user(user);
            for room in rooms {
                if of_tenant.by_room.get(room).is_some_and(|users| users.len() <= NUDGED_MAX) {
                    of_tenant.wake_room(*room);
                }
            }
        }
    }

    /// Registers interest. From now on every entry that concerns the user changes the listener, and so does every entry
    /// of the rooms last set for the user.
    pub(crate) fn listen(self: &Arc<Self>, tenant: Tenant, user: User) -> Listener {
        let mut all = self.sleepers.lock();
        let sleepers = all.entry(tenant).or_default();
        let slot = sleepers.users.entry(user).or_insert_with(Slot::new);
        slot.listeners += 1;
        let signal = slot.signal.subscribe();
        Listener { tail: self.clone(), tenant, user, signal }
    }

    /// Registers interest in one room, whoever asks: for those who look into a room that they are not in.
    pub(crate) fn listen_room(self: &Arc<Self>, tenant: Tenant, room: Room) -> RoomListener {
        let mut all = self.sleepers.lock();
        let watched = all.entry(tenant).or_default().watched.entry(room).or_default();
        watched.listeners += 1;
        let signal = watched.signal.subscribe();
        RoomListener { tail: self.clone(), tenant, room, signal }
    }

    /// Users in the index, for metrics.
    pub(crate) fn sleepers(&self) -> usize {
        self.sleepers
            .lock()
            .values()
            .map(|s| s.users.values().filter(|u| u.listeners > 0).count())
            .sum()
    }
}

#[derive(Default)]
struct Sleepers {
    users: HashMap<User, Slot>,
    /// In the order of their numbers, so that the same history wakes them in the same order.
    by_room: HashMap<Room, BTreeSet<User>>,
    watched: HashMap<Room, Watched>,
    idle: usize,
}

/// A room that somebody looks into: see [`RoomListener`].
#[derive(Default)]
struct Watched {
    signal: watch::Sender<u64>,
    listeners: usize,
}

struct Slot {
    signal: watch::Sender<u64>,
    rooms: Arc<[Room]>,
    listeners: usize,
}
impl Slot {
    fn new() -> Slot {
        Slot { signal: watch::Sender::new(0), rooms: Arc::new([]), listeners: 0 }
    }
    fn wake(&self) {
        self.signal.send_modify(|n| *n += 1)
    }
}

impl Sleepers {
    /// Says whether they were others.
    fn set_rooms(&mut self, user: User, rooms: &Arc<[Room]>) -> bool {
        let slot = self.users.entry(user).or_insert_with(Slot::new);
        if Arc::ptr_eq(&slot.rooms, rooms) || slot.rooms == *rooms {
            return false;
        }
        let before = std::mem::replace(&mut slot.rooms, rooms.clone());
        for room in before.iter() {
            if let Some(users) = self.by_room.get_mut(room) {
                users.remove(&user);
                if users.is_empty() {
                    self.by_room.remove(room);
                }
            }
        }
        for room in rooms.iter() {
            self.by_room.entry(*room).or_default().insert(user);
        }
        true
    }

    fn wake(&self, entry: &Entry) {
        match entry {
            Entry::Event { room, target, sender, .. } => {
                self.wake_room(*room);
                self.wake_user(*sender);
                if let Some(target) = target {
                    self.wake_user(*target);
                }
            }
            Entry::Redacted { .. }
            | Entry::Profile { .. }
            | Entry::Pushers { .. }
            | Entry::Guests { .. }
            | Entry::Directory { .. }
            | Entry::Notice { .. }
            | Entry::Outbound { .. }
            | Entry::DevicesGone { .. }
            | Entry::ShelfGone { .. }
            | Entry::Beside { .. } => {}
            Entry::State { room, target } => {
                self.wake_room(*room);
                if let Some(target) = target {
                    self.wake_user(*target);
                }
            }
            Entry::Receipt { user, private: true, .. }
            | Entry::AccountData { user, .. }
            | Entry::ToDevice { user, .. }
            | Entry::ThreadSubscription { user, .. }
            | Entry::Forgotten { user, .. }
            | Entry::Account { user }
            | Entry::Signed { by: user, .. } => self.wake_user(*user),
            Entry::Receipt { room, .. } => self.wake_room(*room),
            Entry::Devices { user } => self.wake_sharers(*user),
        }
    }

    fn wake_user(&self, user: User) {
        if let Some(slot) = self.users.get(&user) {
            slot.wake();
        }
    }

    fn wake_room(&self, room: Room) {
        if let Some(watched) = self.watched.get(&room) {
            watched.signal.send_modify(|n| *n += 1);
        }
        for user in self.by_room.get(&room).into_iter().flatten() {
            self.wake_user(*user);
        }
    }

    /// Device lists concern the user and everyone who shares a room with them. A user without a place in the index
    /// has no rooms here; then everybody looks.
    fn wake_sharers(&self, user: User) {
        match self.users.get(&user) {
            Some(slot) => {
                slot.wake();
                for room in slot.rooms.iter() {
                    self.wake_room(*room);
                }
            }
            None => self.users.values().for_each(Slot::wake),
        }
    }

    fn stop_listening(&mut self, user: User) {
        let Some(slot) = self.users.get_mut(&user) else { return };
        slot.listeners = slot.listeners.saturating_sub(1);
        if slot.listeners == 0 {
            self.idle += 1;
        }
        if self.idle > IDLE_SLOTS_MAX {
            self.drop_idle();
        }
    }

    fn drop_idle(&mut self) {
        let idle: Vec<User> =
            self.users.iter().filter(|(_, s)| s.listeners == 0).map(|(u, _)| *u).collect();
        let none: Arc<[Room]> = Arc::new([]);
        for user in idle {
            self.set_rooms(user, &none);
            self.users.remove(&user);
        }
        self.idle = 0;
    }
}

/// A registered interest. Made *before* the store is read, so that nothing falls between reading and waiting.
pub struct Listener {
    tail: Arc<Tail>,
    tenant: Tenant,
    user: User,
    signal: watch::Receiver<u64>,
}

impl Listener {
    /// Forgets what has happened so far: call it before reading the store.
    pub fn mark_seen(&mut self) {
        self.signal.mark_unchanged();
    }

    /// Returns when something has happened since [`Listener::mark_seen`] that may concern the user.
    pub async fn changed(&mut self) {
        // The slot lives as long as the listener, so the channel cannot be closed.
        let _ = self.signal.changed().await;
    }

    /// The rooms that the user is in. Says whether they were others: then something may have happened in
    /// them unnoticed, and the store is to be read again.
    pub fn set_rooms(&self, rooms: &Arc<[Room]>) -> bool {
        let mut all = self.tail.sleepers.lock();
        all.get_mut(&self.tenant).is_some_and(|sleepers| sleepers.set_rooms(self.user, rooms))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(sleepers) = self.tail.sleepers.lock().get_mut(&self.tenant) {
            sleepers.stop_listening(self.user);
        }
    }
}

/// A registered interest in one room. Made *before* the store is read, so that nothing falls between.
pub struct RoomListener {
    tail: Arc<Tail>,
    tenant: Tenant,
    room: Room,
    signal: watch::Receiver<u64>,
}

impl RoomListener {
    /// Forgets what has happened so far: call it before reading the store.
    pub fn mark_seen(&mut self) {
        self.signal.mark_unchanged();
    }

    /// Returns when something has happened in the room since [`RoomListener::mark_seen`].
    pub async fn changed(&mut self) {
        // The sender lives as long as its listeners, so the channel cannot be closed.
        let _ = self.signal.changed().await;
    }
}

impl Drop for RoomListener {
    fn drop(&mut self) {
        let mut all = self.tail.sleepers.lock();
        let Some(sleepers) = all.get_mut(&self.tenant) else { return };
        let Some(watched) = sleepers.watched.get_mut(&self.room) else { return };
        watched.listeners = watched.listeners.saturating_sub(1);
        if watched.listeners == 0 {
            sleepers.watched.remove(&self.room);
        }
    }
}

/// Log entries read at once by the tail.
const TAIL_BATCH: usize = 4_096;
/// After a failed read of the log, so that a dead database is not asked in a tight loop.
const TAIL_RETRY: Duration = Duration::from_millis(200);

/// The thread that reads the log whenever `wait` says that there may be more, as long as the store lives.
pub(crate) fn spawn(
    weak: std::sync::Weak<Shared>,
    mut wait: impl FnMut() -> bool + Send + 'static,
) -> Reply<()> {
    let work = move || {
        while wait() {
            let Some(shared) = weak.upgrade() else { return };
            if let Err(e) = take_in_new(&shared) {
                tracing::error!(error = %e, "cannot read the log");
                std::thread::sleep(TAIL_RETRY);
            }
        }
    };
    std::thread::Builder::new()
        .name("tail".into())
        .spawn(work)
        .map(drop)
        .map_err(|e| Error::fault(format!("cannot start a thread: {e}")))
}

/// Reads what the log has and the tail does not.
pub(crate) fn take_in_new(shared: &Arc<Shared>) -> Reply<()> {
    let _one_at_a_time = shared.tailing.lock();
    loop {
        let snapshot = shared.engine.snapshot()?;
        let (known, head) = (shared.tail.head(), snapshot.head());
        if head <= known {
            return Ok(());
        }
        let rows = snapshot.scan(
            kv::Tree::LOG,
            &known.next().0.to_be_bytes(),
            &head.next().0.to_be_bytes(),
            Direction::Forward,
            TAIL_BATCH,
        )?;
        let entries = rows.iter().map(|(k, v)| log::read(k, v)).collect::<Reply<Vec<_>>>()?;
        if entries.is_empty() {
            return Err(Error::fault(format!("the log ends at {known}, before its head {head}")));
        }
        shared.tail.take_in(entries);
    }
}
