//! Banning a user (`POST /rooms/{roomId}/ban`).

use base::{Reply, User};
use ruma::{RoomId, UserId};
use store::{Tx, schema::Standing};

use crate::membership::{self, Content};

/// Bans a user, who need not be in the room. With `redact`, the content of what they sent goes too (MSC4293), if `user`
/// may redact.
///
/// # Errors
/// 403 `M_FORBIDDEN`.
pub fn ban(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    target: &UserId,
    reason: Option<&str>,
    redact: bool,
) -> Reply<()> {
    let room = crate::room_of(tx, room_id)?;
    let content = Content::new(Standing::Ban, reason);
    membership::put_out(tx, room, user, target, content, redact)
}
