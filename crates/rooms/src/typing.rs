//! Typing notices (`PUT /rooms/{roomId}/typing/{userId}`). They live in memory only, so that no transaction
//! sets them: who may is asked here, and the store is told.

use base::{Error, Reply, Room, UnixMs, User};
use ruma::{RoomId, UserId};
use store::{View, room, user};

/// A notice lasts no longer than this without being renewed: clients renew it every few seconds.
pub const TYPING_MS_MAX: u64 = 120_000;

/// The room in which the user may set a typing notice for `typist`, and until when one of `timeout_ms` lasts.
///
/// # Errors
/// 403 `M_FORBIDDEN` for another user's notice, and for who is not in the room.
pub fn permit(
    view: &View,
    user: User,
    room_id: &RoomId,
    typist: &UserId,
    timeout_ms: u64,
) -> Reply<(Room, UnixMs)> {
    if user::id(view, user)? != typist {
        return Err(Error::forbidden("you can only say of yourself that you are typing"));
    }
    let room = crate::room_of(view, room_id)?;
    if !room::is_joined(view, room, user)? {
        return Err(crate::not_in_room());
    }
    Ok((room, UnixMs(view.now().0 + timeout_ms.min(TYPING_MS_MAX))))
}

#[cfg(test)]
mod tests;
