//! Removing a user from a room (`POST /rooms/{roomId}/kick`).

use base::{Error, Reply, User};
use ruma::{RoomId, UserId};
use store::{Tx, schema::Standing};

use crate::membership::{self, Content};

/// Removes a user who is joined, invited or knocking. With `redact`, the content of what they sent goes too (MSC4293), if
/// `user` may redact.
///
/// # Errors
/// 403 `M_FORBIDDEN`, also if the user is not in the room.
pub fn kick(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    target: &UserId,
    reason: Option<&str>,
    redact: bool,
) -> Reply<()> {
    let room = crate::room_of(tx, room_id)?;
    if !store::room::is_joined(tx, room, user)? {
        return Err(crate::not_in_room());
    }
    match membership::standing(tx, room, target)? {
        Some(Standing::Join | Standing::Invite | Standing::Knock) => {}
        _ => return Err(Error::forbidden(format!("{target} is not in this room"))),
    }
    let content = Content::new(Standing::Leave, reason);
    membership::put_out(tx, room, user, target, content, redact)
}
