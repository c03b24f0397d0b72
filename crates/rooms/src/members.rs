//! In which rooms one is (`GET /joined_rooms`).

use base::{Reply, User};
use ruma::OwnedRoomId;
use store::{View, room};

/// The rooms that a user is joined to.
///
/// # Errors
/// Faults of the store.
pub fn joined_rooms(view: &View, user: User) -> Reply<Vec<OwnedRoomId>> {
    room::joined_rooms(view, user)?.iter().map(|room| room::id(view, *room)).collect()
}
