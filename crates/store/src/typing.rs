//! Who is typing where. Lives in memory only; positions are [`Epoch`]s that start anew with the process
//! (a client that comes with a larger one than ours is told everything again).

use std::collections::HashMap;

use base::{Epoch, Room, UnixMs, User};
use parking_lot::Mutex;

use crate::keyspace::Tenant;

/// Typing users of all rooms.
#[derive(Default)]
pub struct Typing {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    epoch: Epoch,
    rooms: HashMap<(Tenant, Room), InRoom>,
}

#[derive(Default)]
struct InRoom {
    users: HashMap<User, UnixMs>,
    changed: Epoch,
}

/// Users typing at once in one room; more are not shown by any client.
const TYPING_MAX: usize = 100;
/// Changes after which it is forgotten that a room's last user stopped typing.
const REMEMBERED: u64 = 10_000;

impl Typing {
    /// Today's position.
    pub fn epoch(&self) -> Epoch {
        self.inner.lock().epoch
    }

    /// The user types until then, or (`None`) no longer. Says whether the list of users changed.
    pub(crate) fn set(
        &self,
        tenant: Tenant,
        room: Room,
        user: User,
        until: Option<UnixMs>,
    ) -> bool {
        let mut inner = self.inner.lock();
        let Inner { epoch, rooms } = &mut *inner;
        let in_room = rooms.entry((tenant, room)).or_default();
        let changed = match until {
            Some(_) if in_room.users.len() >= TYPING_MAX && !in_room.users.contains_key(&user) => {
                false
            }
            Some(until) => in_room.users.insert(user, until).is_none(),
            None => in_room.users.remove(&user).is_some(),
        };
        if changed {
            epoch.0 += 1;
            in_room.changed = *epoch;
        }
        changed
    }

    /// Takes out whose time is over; returns the rooms that changed.
    pub(crate) fn expire(&self, now: UnixMs) -> Vec<(Tenant, Room)> {
        let mut inner = self.inner.lock();
        let Inner { epoch, rooms } = &mut *inner;
        let mut changed = Vec::new();
        for (room, in_room) in rooms.iter_mut() {
            let before = in_room.users.len();
            in_room.users.retain(|_, until| *until > now);
            if in_room.users.len() != before {
                epoch.0 += 1;
                in_room.changed = *epoch;
                changed.push(*room);
            }
        }
        let now = epoch.0;
        rooms
            .retain(|_, in_room| !in_room.users.is_empty() || in_room.changed.0 + REMEMBERED > now);
        changed
    }

    /// Rooms in which who types has changed after `since`.
    pub(crate) fn rooms_changed(&self, tenant: Tenant, since: Epoch) -> Vec<Room> {
        let inner = self.inner.lock();
        let since = if since > inner.epoch { Epoch(0) } else { since };
        if since == inner.epoch {
            return Vec::new();
        }
        let rooms = inner.rooms.iter().filter(|((t, _), r)| *t == tenant && r.changed > since);
        rooms.map(|((_, room), _)| *room).collect()
    }

    /// Who types in a room, if that changed after `since` (a position of an earlier process counts as 0).
    pub(crate) fn changed(&self, tenant: Tenant, room: Room, since: Epoch) -> Option<Vec<User>> {
        let inner = self.inner.lock();
        let since = if since > inner.epoch { Epoch(0) } else { since };
        let in_room = inner.rooms.get(&(tenant, room))?;
        (in_room.changed > since).then(|| {
            let mut users: Vec<User> = in_room.users.keys().copied().collect();
            users.sort_unstable();
            users
        })
    }
}
