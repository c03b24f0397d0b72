//! How many messages a user has not read, in all rooms together (spec: Push Gateway API, `counts.unread`): the sum of
//! what `/sync` says of each room, counted again only where something happened.

use std::collections::HashMap;

use base::{Reply, Room, User};
use ruma::UserId;
use store::{View, room, schema::Standing};
use sync::unread;

use super::slot::Rooms;

/// Rooms with something unread, as last counted.
#[derive(Debug)]
pub(super) struct Badge {
    rooms: HashMap<Room, u64>,
    stale: Rooms,
}

/// Nothing is counted yet.
impl Default for Badge {
    fn default() -> Badge {
        Badge { rooms: HashMap::new(), stale: Rooms::All }
    }
}

impl Badge {
    /// In these rooms, something happened.
    pub(super) fn touch(&mut self, rooms: &Rooms) {
        self.stale.merge(rooms);
    }

    /// Everything unread, as of the view.
    ///
    /// # Errors
    /// Faults only.
    pub(super) fn total(&mut self, view: &View, user: User, user_id: &UserId) -> Reply<u64> {
        match std::mem::take(&mut self.stale) {
            Rooms::All => {
                self.stale = Rooms::All;
                let mut rooms = HashMap::new();
                for room in room::joined_rooms(view, user)?.iter() {
                    let count = of_room(view, user, user_id, *room)?;
                    if count > 0 {
                        rooms.insert(*room, count);
                    }
                }
                *self = Badge { rooms, stale: Rooms::default() };
            }
            Rooms::Some(stale) => {
                for room in stale {
                    match of_room(view, user, user_id, room)? {
                        0 => self.rooms.remove(&room),
                        count => self.rooms.insert(room, count),
                    };
                }
            }
        }
        Ok(self.rooms.values().sum())
    }
}

fn of_room(view: &View, user: User, user_id: &UserId, room: Room) -> Reply<u64> {
    match room::member(view, room, user)? {
        Some(member) if member.standing == Standing::Join => {
            let counts = unread::counts(view, user, user_id, room, member.event)?;
            Ok(counts.total().notifications)
        }
        _ => Ok(0),
    }
}
