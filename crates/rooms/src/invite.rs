//! Inviting a user (`POST /rooms/{roomId}/invite`).

use base::{Reply, Room, User};
use ruma::{RoomId, UserId};
use serde_json::json;
use store::{Tx, schema::Standing, user};

use crate::{
    member_rows::check_invitee,
    membership::{self, Content},
};

/// Invites a user, or does nothing if they are invited already.
///
/// # Errors
/// 403 `M_FORBIDDEN`, 403 `M_INVITE_BLOCKED` by who wants no such invite, 404 `M_NOT_FOUND` for a user of this server who
/// does not exist, a refusal for users of others.
pub fn invite(
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
    check_invitee(tx, user, target)?;
    send(tx, user, room, target, reason, false)
}

/// Sends the invite; `direct` for a room that is a direct chat.
pub(crate) fn send(
    tx: &mut Tx,
    sender: User,
    room: Room,
    target: &UserId,
    reason: Option<&str>,
    direct: bool,
) -> Reply<()> {
    let mut content = Content::new(Standing::Invite, reason);
    if let Some(invitee) = user::find(tx, target)? {
        content = content.with_profile(tx, invitee)?;
    }
    if direct {
        content = content.with("is_direct", json!(true));
    }
    membership::set(tx, room, sender, target, content).map(drop)
}
