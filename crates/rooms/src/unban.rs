//! Lifting a ban (`POST /rooms/{roomId}/unban`).

use base::{Error, Reply, User};
use ruma::{RoomId, UserId};
use store::{Tx, schema::Standing};

use crate::membership::{self, Content};

/// Lifts a user's ban; they are then out of the room.
///
/// # Errors
/// 403 `M_FORBIDDEN`; 403 `M_BAD_STATE` if the user is not banned.
pub fn unban(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    target: &UserId,
    reason: Option<&str>,
) -> Reply<()> {
    let room = crate::room_of(tx, room_id)?;
    if !store::room::is_joined(tx, room, user)? {
        return Err(crate::not_in_room());
    }
    if membership::standing(tx, room, target)? != Some(Standing::Ban) {
        return Err(Error::refused(403, "M_BAD_STATE", format!("{target} is not banned")));
    }
    let content = Content::new(Standing::Leave, reason);
    membership::set(tx, room, user, target, content).map(drop)
}
