//! Asking to be let in (`POST /knock/{roomIdOrAlias}`).

use base::{Reply, User};
use ruma::{OwnedRoomId, RoomOrAliasId};
use store::{Tx, schema::Standing, user};

use crate::{
    alias,
    membership::{self, Content},
};

/// Knocks on a room; knocking again renews the reason.
///
/// # Errors
/// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND` for a room that this server does not know.
pub fn knock(
    tx: &mut Tx,
    user: User,
    room: &RoomOrAliasId,
    reason: Option<&str>,
) -> Reply<OwnedRoomId> {
    let room = alias::resolve(tx, room)?;
    let content = Content::new(Standing::Knock, reason).with_profile(tx, user)?;
    let id = user::id(tx, user)?;
    membership::set(tx, room, user, &id, content)?;
    store::room::id(tx, room)
}
