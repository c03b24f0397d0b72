//! Who is online (spec: "Presence"). Lives in memory only, like [`Typing`](crate::Typing).
//!
//! A user is as present as the most present of their devices. A device is there as long as it syncs and a little longer;
//! a user who does nothing for a while is shown as unavailable. Each change of what is shown has a position, an [`Epoch`]
//! that begins at the time of the process' start, so that positions of an earlier process are behind everything.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use base::{Epoch, Room, UnixMs, User};
use parking_lot::Mutex;

use crate::keyspace::Tenant;

/// How present somebody is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// `offline`
    Offline,
    /// `unavailable`
    Unavailable,
    /// `online`
    Online,
}

impl State {
    /// From the spec's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<State> {
        Some(match text {
            "offline" => State::Offline,
            "unavailable" => State::Unavailable,
            "online" => State::Online,
            _ => return None,
        })
    }

    /// The spec's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Offline => "offline",
            State::Unavailable => "unavailable",
            State::Online => "online",
        }
    }
}

/// What others are shown of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// How present.
    pub state: State,
    /// When they last did something; `None`: not since this process began.
    pub active: Option<UnixMs>,
    /// What they say of themselves.
    pub status: Option<String>,
}

/// A user does nothing for this long and is shown as unavailable (spec: for example five minutes).
const IDLE_MS: u64 = 5 * 60 * 1_000;
/// A device whose last sync ended this long ago is not there any more: between two syncs of one client lie seconds.
const GONE_MS: u64 = 30 * 1_000;
/// What another server said of its user counts no longer than this, if it says nothing more.
const ELSEWHERE_MS: u64 = 30 * 60_000;
/// How often it is looked whose time is over.
const EXPIRE_EVERY_MS: u64 = 5_000;
/// Devices of one user that are there at once.
const DEVICES_MAX: usize = 100;
/// Users remembered. Beyond that, those who have been offline for longest are forgotten.
const PEOPLE_MAX: usize = 100_000;

type Who = (Tenant, User);

/// All who are or were present.
pub(crate) struct Presence {
    inner: Mutex<Inner>,
}

struct Inner {
    epoch: Epoch,
    people: HashMap<Who, Person>,
    /// Each person once, at their last change.
    by_change: BTreeMap<Epoch, Who>,
    expired: UnixMs,
}

struct Person {
    devices: HashMap<String, Device>,
    /// What their server said, and until when that counts: they have no devices here.
    elsewhere: Option<(State, UnixMs)>,
    shown: Shown,
    changed: Epoch,
    /// Whom to tell.
    rooms: Arc<[Room]>,
}

struct Device {
    wanted: State,
    /// Syncs that run.
    syncs: u32,
    /// When the last one ended.
    seen: UnixMs,
}

/// Somebody whose presence has changed, and whom that concerns.
pub(crate) struct Changed {
    pub(crate) tenant: Tenant,
    pub(crate) user: User,
    pub(crate) rooms: Arc<[Room]>,
}

impl Presence {
    pub(crate) fn new(now: UnixMs) -> Presence {
        let inner = Inner {
            epoch: Epoch(now.0),
            people: HashMap::new(),
            by_change: BTreeMap::new(),
            expired: now,
        };
        Presence { inner: Mutex::new(inner) }
    }

    #[cfg(test)]
    fn epoch(&self) -> Epoch {
        self.inner.lock().epoch
    }

    /// What is shown of a user; `None`: nothing is known.
    pub(crate) fn get(&self, who: Who) -> Option<Shown> {
        self.inner.lock().people.get(&who).map(|person| person.shown.clone())
    }

    /// Who has changed after a position, in order, at most `limit`, and up to where that is all of them.
    pub(crate) fn changed(&self, tenant: Tenant, since: Epoch, limit: usize) -> (Vec<User>, Epoch) {
        let inner = self.inner.lock();
        if inner.by_change.is_empty() {
            return (Vec::new(), Epoch(0));
        }
        let mut users = Vec::new();
        let after = Epoch(since.0.saturating_add(1));
        for (at, (of, user)) in inner.by_change.range(after..) {
            if users.len() == limit {
                return (users, Epoch(at.0 - 1));
            }
            if *of == tenant {
                users.push(*user);
            }
        }
        (users, inner.epoch)
    }

    /// A device begins to sync. Says whether what is shown of the user changed.
    pub(crate) fn begin(&self, who: Who, device: &str, wanted: State, now: UnixMs) -> bool {
        let mut inner = self.inner.lock();
        let person = inner.person(who);
        let was_there = person.shown.state != State::Offline;
        if let Some(device) = person.device(device, now) {
            device.syncs = device.syncs.saturating_add(1);
            device.wanted = wanted;
        }
        // To come is to do something; to go on syncing is not.
        if wanted == State::Online && !was_there {
            person.shown.active = Some(now);
        }
        inner.settle(who, now)
    }

    /// A sync ends, by an answer or because the client went away.
    pub(crate) fn end(&self, who: Who, device: &str, now: UnixMs) {
        let mut inner = self.inner.lock();
        if let Some(device) = inner.people.get_mut(&who).and_then(|p| p.devices.get_mut(device)) {
            device.syncs = device.syncs.saturating_sub(1);
            device.seen = now;
        }
    }

    /// The user says how present they are. Says whether what is shown changed.
    pub(crate) fn set(
        &self,
        who: Who,
        device: &str,
        wanted: State,
        status: Option<String>,
        now: UnixMs,
    ) -> bool {
        let mut inner = self.inner.lock();
        let person = inner.person(who);
        if let Some(device) = person.device(device, now) {
            device.wanted = wanted;
            device.seen = now;
        }
        if wanted == State::Online {
            person.shown.active = Some(now);
        }
        let said = person.shown.status != status;
        person.shown.status = status;
        if said {
            inner.move_to_end(who);
        }
        inner.settle(who, now) || said
    }

    /// Another server says how present its user is. Says whether what is shown changed.
    pub(crate) fn tell(&self, who: Who, shown: Shown, now: UnixMs) -> bool {
        let mut inner = self.inner.lock();
        let person = inner.person(who);
        let until = UnixMs(now.0.saturating_add(ELSEWHERE_MS));
        let said = person.shown.status != shown.status;
        person.elsewhere = Some((shown.state, until));
        (person.shown.active, person.shown.status) = (shown.active, shown.status);
        if said {
            inner.move_to_end(who);
        }
        inner.settle(who, now) || said
    }

    /// The user does something, and is not unavailable any more on that device.
    pub(crate) fn act(&self, who: Who, device: &str, now: UnixMs) -> Option<Changed> {
        let mut inner = self.inner.lock();
        let person = inner.people.get_mut(&who)?;
        person.shown.active = Some(now);
        if let Some(device) = person.devices.get_mut(device)
            && device.wanted == State::Unavailable
        {
            device.wanted = State::Online;
        }
        inner.settle(who, now).then(|| inner.told(who)).flatten()
    }

    /// Takes note of whom a user's changes concern.
    pub(crate) fn concern(&self, who: Who, rooms: &Arc<[Room]>) {
        if let Some(person) = self.inner.lock().people.get_mut(&who) {
            person.rooms = rooms.clone();
        }
    }

    /// Looks whose time is over, every few seconds.
    pub(crate) fn expire(&self, now: UnixMs) -> Vec<Changed> {
        let mut inner = self.inner.lock();
        if now.0.saturating_sub(inner.expired.0) < EXPIRE_EVERY_MS {
            return Vec::new();
        }
        inner.expired = now;
        let over: Vec<Who> = inner
            .people
            .iter()
            .filter(|(_, person)| person.state(now) != person.shown.state)
            .map(|(who, _)| *who)
            .collect();
        let changed = over.into_iter().filter(|who| inner.settle(*who, now)).collect::<Vec<_>>();
        let told = changed.into_iter().filter_map(|who| inner.told(who)).collect();
        inner.forget();
        told
    }
}

impl Inner {
    fn person(&mut self, who: Who) -> &mut Person {
        self.people.entry(who).or_insert_with(|| Person {
            devices: HashMap::new(),
            elsewhere: None,
            shown: Shown { state: State::Offline, active: None, status: None },
            changed: Epoch(0),
            rooms: Arc::new([]),
        })
    }

    /// Shows what is so. Says whether that is something else than before.
    fn settle(&mut self, who: Who, now: UnixMs) -> bool {
        let Some(person) = self.people.get_mut(&who) else { return false };
        person.devices.retain(|_, device| device.is_there(now));
        let state = person.state(now);
        if person.shown.state == state {
            return false;
        }
        person.shown.state = state;
        self.move_to_end(who);
        true
    }

    fn move_to_end(&mut self, who: Who) {
        let Some(person) = self.people.get_mut(&who) else { return };
        self.epoch.0 += 1;
        self.by_change.remove(&person.changed);
        person.changed = self.epoch;
        self.by_change.insert(self.epoch, who);
    }

    fn told(&self, who: Who) -> Option<Changed> {
        let person = self.people.get(&who)?;
        Some(Changed { tenant: who.0, user: who.1, rooms: person.rooms.clone() })
    }

    /// Forgets those who have been offline for longest, if there are too many.
    fn forget(&mut self) {
        let Some(surplus) = self.people.len().checked_sub(PEOPLE_MAX) else { return };
        let gone = |who: &Who| {
            self.people.get(who).is_some_and(|person| person.shown.state == State::Offline)
        };
        let oldest = self.by_change.iter().filter(|(_, who)| gone(who)).take(surplus);
        let oldest: Vec<(Epoch, Who)> = oldest.map(|(at, who)| (*at, *who)).collect();
        for (at, who) in oldest {
            self.by_change.remove(&at);
            self.people.remove(&who);
        }
    }
}

impl Person {
    /// The device, made if it is new; `None`: there are too many.
    fn device(&mut self, id: &str, now: UnixMs) -> Option<&mut Device> {
        if self.devices.len() >= DEVICES_MAX && !self.devices.contains_key(id) {
            return None;
        }
        let new = || Device { wanted: State::Offline, syncs: 0, seen: now };
        Some(self.devices.entry(id.to_owned()).or_insert_with(new))
    }

    fn state(&self, now: UnixMs) -> State {
        if let Some((state, until)) = self.elsewhere {
            return if now < until { state } else { State::Offline };
        }
        let there = self.devices.values().filter(|device| device.is_there(now));
        let state = there.map(|device| device.wanted).max().unwrap_or(State::Offline);
        let idle = self.shown.active.is_none_or(|at| now.0.saturating_sub(at.0) >= IDLE_MS);
        if state == State::Online && idle { State::Unavailable } else { state }
    }
}

impl Device {
    fn is_there(&self, now: UnixMs) -> bool {
        self.syncs > 0 || now.0.saturating_sub(self.seen.0) < GONE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;
    const ALICE: Who = (Tenant(0), User(1));
    const BOB: Who = (Tenant(0), User(2));

    fn at(ms: u64) -> UnixMs {
        UnixMs(NOW + ms)
    }

    fn state(presence: &Presence) -> Option<State> {
        presence.get(ALICE).map(|shown| shown.state)
    }

    fn begun() -> Presence {
        let presence = Presence::new(at(0));
        assert!(presence.begin(ALICE, "A", State::Online, at(0)));
        presence
    }

    #[test]
    fn who_syncs_is_online_and_a_while_after_that_offline() {
        let presence = begun();
        assert_eq!(state(&presence), Some(State::Online));
        assert!(!presence.begin(ALICE, "A", State::Online, at(1)), "nothing new");
        presence.end(ALICE, "A", at(10_000));
        presence.end(ALICE, "A", at(10_000));
        assert!(presence.expire(at(39_999)).is_empty());
        assert_eq!(presence.expire(at(50_000)).len(), 1);
        assert_eq!(state(&presence), Some(State::Offline));
    }

    #[test]
    fn who_does_nothing_becomes_unavailable_and_is_online_again_when_they_do() {
        let presence = begun();
        assert!(presence.expire(at(IDLE_MS - 1)).is_empty());
        assert_eq!(presence.expire(at(IDLE_MS + EXPIRE_EVERY_MS)).len(), 1);
        assert_eq!(state(&presence), Some(State::Unavailable));
        let later = at(IDLE_MS + 60_000);
        assert!(!presence.begin(ALICE, "A", State::Online, later), "to sync is to do nothing");
        assert!(presence.act(ALICE, "A", later).is_some());
        assert_eq!(state(&presence), Some(State::Online));
        assert!(presence.act(ALICE, "A", later).is_none(), "told once");
    }

    #[test]
    fn the_most_present_device_counts() {
        let presence = begun();
        presence.begin(ALICE, "B", State::Unavailable, at(1));
        assert_eq!(state(&presence), Some(State::Online));
        presence.set(ALICE, "A", State::Offline, None, at(2));
        assert_eq!(state(&presence), Some(State::Unavailable));
    }

    #[test]
    fn who_syncs_as_offline_is_not_shown() {
        let presence = Presence::new(at(0));
        assert!(!presence.begin(ALICE, "A", State::Offline, at(0)));
        assert_eq!(presence.changed(Tenant(0), Epoch(0), 9).0, []);
    }

    #[test]
    fn changes_are_told_in_order_in_portions_and_each_person_once() {
        let presence = begun();
        let start = presence.epoch();
        presence.set(BOB, "B", State::Online, Some("here".into()), at(1));
        presence.set(ALICE, "A", State::Online, Some("there".into()), at(2));
        presence.set(BOB, "B", State::Online, Some("busy".into()), at(3));
        let (all, upto) = presence.changed(Tenant(0), start, 9);
        assert_eq!((all, upto), (vec![ALICE.1, BOB.1], presence.epoch()));
        let (first, upto) = presence.changed(Tenant(0), start, 1);
        assert_eq!(first, [ALICE.1]);
        assert_eq!(presence.changed(Tenant(0), upto, 1), (vec![BOB.1], presence.epoch()));
        assert_eq!(presence.changed(Tenant(1), start, 9).0, []);
        assert_eq!(presence.get(BOB).unwrap().status.as_deref(), Some("busy"));
    }

    #[test]
    fn a_position_of_an_earlier_process_is_behind_everything() {
        let before = Presence::new(at(0));
        before.begin(ALICE, "A", State::Online, at(0));
        let known = before.epoch();
        let after = Presence::new(at(1_000));
        after.begin(ALICE, "A", State::Online, at(1_000));
        assert_eq!(after.changed(Tenant(0), known, 9).0, [ALICE.1]);
    }
}
