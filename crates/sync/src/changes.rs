//! What has changed for a user since a position, according to the log.

use std::collections::{BTreeMap, BTreeSet};

use base::{Reply, Room, Seq, User};
use store::{View, log::Entry, room};

/// See the module.
#[derive(Default)]
pub(crate) struct Changes {
    /// The rooms that anything happened in, in order; `None`: look at all.
    rooms: Option<BTreeSet<Room>>,
    /// Receipts that moved: by room, whose. `None` as above.
    receipts: Option<BTreeMap<Room, BTreeSet<User>>>,
    /// Own account data that changed: by room (0: global), types.
    account_data: Option<BTreeMap<Room, BTreeSet<String>>>,
    /// Users whose devices changed.
    pub(crate) devices: BTreeSet<User>,
    /// Users whose keys the caller signed.
    pub(crate) signed: BTreeSet<User>,
    /// Memberships that may have changed, in rooms that the caller is in, and the caller's own in any room.
    pub(crate) moved: BTreeSet<(Room, User)>,
    /// What changed without an event that tells it.
    silent: Silent,
    /// Rooms with threads to which the user subscribed, or from which they unsubscribed: counts may differ.
    pub(crate) recounted: BTreeSet<Room>,
    /// Users who came into a room of the caller's, or changed their profile.
    pub(crate) met: BTreeSet<User>,
    /// The caller came into a room.
    pub(crate) entered: bool,
}

/// What of the state of rooms was found to be otherwise, not by an event that came.
#[derive(Default)]
struct Silent {
    /// Rooms in which it is not the caller's membership alone.
    restated: BTreeSet<Room>,
    /// Rooms in which the caller's membership is another.
    shifted: BTreeSet<Room>,
}

impl Silent {
    fn note(&mut self, entry: &Entry, me: User) {
        match entry {
            Entry::State { room, target: None } => {
                self.restated.insert(*room);
            }
            Entry::State { room, target } if *target == Some(me) => {
                self.shifted.insert(*room);
            }
            _ => {}
        }
    }
}

impl Changes {
    pub(crate) fn gather(
        view: &View,
        me: User,
        since: Option<Seq>,
        scan_max: usize,
    ) -> Reply<Changes> {
        let all = Changes::default();
        let Some(since) = since else { return Ok(all) };
        if view.is_far(since, scan_max)? {
            return Ok(all);
        }
        let joined = room::joined_rooms(view, me)?;
        let in_room = |room: &Room| joined.binary_search(room).is_ok();
        let mut rooms = BTreeSet::new();
        let mut receipts: BTreeMap<Room, BTreeSet<User>> = BTreeMap::new();
        let mut account_data: BTreeMap<Room, BTreeSet<String>> = BTreeMap::new();
        let mut devices = BTreeSet::new();
        let (mut signed, mut moved) = (BTreeSet::new(), BTreeSet::new());
        let mut silent = Silent::default();
        let (mut recounted, mut met, mut entered) = (BTreeSet::new(), BTreeSet::new(), false);
        for (_, entry) in view.log(since, view.head(), scan_max)? {
            silent.note(&entry, me);
            match entry {
                Entry::Event { room, target, .. } | Entry::State { room, target }
                    if in_room(&room) || target == Some(me) =>
                {
                    rooms.insert(room);
                    moved.extend(target.map(|target| (room, target)));
                    met.extend(target);
                    entered |= target == Some(me);
                }
                Entry::Receipt { room, user, private }
                    if in_room(&room) && (!private || user == me) =>
                {
                    rooms.insert(room);
                    receipts.entry(room).or_default().insert(user);
                }
                Entry::AccountData { user, room, kind } if user == me => {
                    rooms.extend(room);
                    account_data.entry(room.unwrap_or_default()).or_default().insert(kind);
                }
                Entry::ThreadSubscription { user, room, .. } if user == me && in_room(&room) => {
                    rooms.insert(room);
                    recounted.insert(room);
                }
                Entry::Profile { user, .. } => {
                    met.insert(user);
                }
                Entry::Devices { user } => {
                    devices.insert(user);
                }
                Entry::Signed { by, of } if by == me => {
                    signed.insert(of);
                }
                _ => {}
            }
        }
        Ok(Changes {
            rooms: Some(rooms),
            receipts: Some(receipts),
            account_data: Some(account_data),
            devices,
            signed,
            moved,
            silent,
            recounted,
            met,
            entered,
        })
    }

    /// May all of a room's state have come to light? "Yes" may be wrong.
    pub(crate) fn may_be_completed(&self, room: Room) -> bool {
        self.rooms.is_none() || self.silent.restated.contains(&room)
    }

    /// May the membership of a user have changed? "Yes" may be wrong.
    pub(crate) fn may_have_moved(&self, room: Room, user: User) -> bool {
        self.rooms.is_none() || self.moved.contains(&(room, user))
    }

    /// Did the caller's membership change otherwise than by an event that came? `None`: unknown.
    pub(crate) fn has_shifted(&self, room: Room) -> Option<bool> {
        self.rooms.as_ref().map(|_| self.silent.shifted.contains(&room))
    }

    /// Rooms to look at; `None`: all.
    pub(crate) fn rooms(&self) -> Option<&BTreeSet<Room>> {
        self.rooms.as_ref()
    }

    /// Also look at these rooms.
    pub(crate) fn also(&mut self, more: impl IntoIterator<Item = Room>) {
        if let Some(rooms) = &mut self.rooms {
            rooms.extend(more);
        }
    }

    /// Also look at those of the rooms in which events came between two positions.
    pub(crate) fn also_from(
        &mut self,
        view: &View,
        joined: &[Room],
        after: Seq,
        upto: Seq,
        scan_max: usize,
    ) -> Reply<()> {
        if self.rooms.is_none() || after >= upto {
            return Ok(());
        }
        if upto.0 - after.0 > scan_max as u64 {
            self.also(joined.iter().copied());
            return Ok(());
        }
        for (_, entry) in view.log(after, upto, scan_max)? {
            if let Entry::Event { room, .. } = entry
                && joined.binary_search(&room).is_ok()
            {
                self.also([room]);
            }
        }
        Ok(())
    }

    /// Those of the joined rooms that are looked at.
    pub(crate) fn of<'a>(&'a self, joined: &'a [Room]) -> Box<dyn Iterator<Item = Room> + 'a> {
        match &self.rooms {
            Some(rooms) => {
                let here = |room: &&Room| joined.binary_search(*room).is_ok();
                Box::new(rooms.iter().filter(here).copied())
            }
            None => Box::new(joined.iter().copied()),
        }
    }

    /// Whose receipts moved in a room: `None`: unknown, look at all.
    pub(crate) fn receipts(&self, room: Room) -> Option<Vec<User>> {
        let by_room = self.receipts.as_ref()?;
        Some(by_room.get(&room).map_or_else(Vec::new, |users| users.iter().copied().collect()))
    }

    /// Types of own account data that changed in a room (0: global); `None`: look at all.
    pub(crate) fn account_data(&self, room: Room) -> Option<Vec<String>> {
        let by_room = self.account_data.as_ref()?;
        Some(by_room.get(&room).map_or_else(Vec::new, |kinds| kinds.iter().cloned().collect()))
    }
}
