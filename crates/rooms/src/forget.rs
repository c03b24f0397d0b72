//! Forgetting a room that one has left (`POST /rooms/{roomId}/forget`).

use base::{Error, Reply, User};
use ruma::RoomId;
use store::{
    Tx,
    log::Entry,
    room,
    schema::{ROOMS_OF, Standing},
};

/// Forgets a room: its history is no longer the user's, until they are invited or join again.
///
/// # Errors
/// 400 `M_UNKNOWN` if the user has not left it; 404 `M_NOT_FOUND` if they were never there.
pub fn forget(tx: &mut Tx, user: User, room_id: &RoomId) -> Reply<()> {
    let unknown = || Error::not_found("you were never in this room");
    let room = room::find(tx, room_id)?.ok_or_else(unknown)?;
    let mut membership = room::membership(tx, user, room)?.ok_or_else(unknown)?;
    if !matches!(membership.standing, Standing::Leave | Standing::Ban) {
        return Err(Error::refused(400, "M_UNKNOWN", "leave the room before you forget it"));
    }
    if !membership.forgotten {
        membership.forgotten = true;
        tx.put(&ROOMS_OF, (user, room), &membership);
        tx.announce(Entry::Forgotten { user, room });
    }
    Ok(())
}
