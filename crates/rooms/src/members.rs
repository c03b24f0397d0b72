//! In which rooms one is (`GET /joined_rooms`), alone or with another (`GET /mutual_rooms`).

use base::{Error, Reply, Room, User};
use ruma::{OwnedRoomId, UserId};
use store::{View, room, user};

/// Rooms of one page of `/mutual_rooms`.
const MUTUAL_PAGE: usize = 500;

/// The rooms that a user is joined to.
///
/// # Errors
/// Faults of the store.
pub fn joined_rooms(view: &View, user: User) -> Reply<Vec<OwnedRoomId>> {
    room::joined_rooms(view, user)?.iter().map(|room| room::id(view, *room)).collect()
}

/// Rooms in which two users are.
#[derive(Debug, Default, PartialEq)]
pub struct Mutual {
    /// One page of them.
    pub joined: Vec<OwnedRoomId>,
    /// How many they are in all.
    pub count: usize,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// The rooms that a user shares with another. Of whom this server has never heard, there are none.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for oneself, and for a token that is not one of ours.
pub fn mutual(view: &View, user: User, other: &UserId, from: Option<&str>) -> Reply<Mutual> {
    let other = user::find(view, other)?;
    if other == Some(user) {
        return Err(Error::invalid_param("the rooms that you share with yourself are all of them"));
    }
    let after = match from {
        None => Room(0),
        Some(token) => {
            let number = token.strip_prefix('m').and_then(|n| n.parse().ok());
            Room(number.ok_or_else(|| Error::invalid_param("not a token of this endpoint"))?)
        }
    };
    let Some(other) = other else { return Ok(Mutual::default()) };
    // Both are in the order of the rooms' numbers.
    let (mine, theirs) = (room::joined_rooms(view, user)?, room::joined_rooms(view, other)?);
    let shared = || mine.iter().filter(|room| theirs.binary_search(room).is_ok());
    let mut page = shared().filter(|room| **room > after);
    let rooms: Vec<Room> = page.by_ref().take(MUTUAL_PAGE).copied().collect();
    let next = page.next().and(rooms.last()).map(|last| format!("m{}", last.0));
    let joined = rooms.into_iter().map(|room| room::id(view, room)).collect::<Reply<_>>()?;
    Ok(Mutual { joined, count: shared().count(), next })
}

#[cfg(test)]
mod tests;
