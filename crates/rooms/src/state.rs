//! Setting a room's state (`PUT /rooms/{roomId}/state/{eventType}/{stateKey}`).

use base::{Reply, User};
use ruma::{OwnedEventId, RoomId};
use serde_json::value::RawValue;
use store::{Tx, room};

use crate::{Appended, Manner, New, alias, append};

/// Sets a piece of state (`PUT /rooms/{roomId}/state/{eventType}/{stateKey}`).
///
/// # Errors
/// As [`append`](append::append); for canonical aliases 400 `M_INVALID_PARAM` and 400 `M_BAD_ALIAS`.
pub fn put(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    kind: &str,
    state_key: &str,
    content: &RawValue,
) -> Reply<OwnedEventId> {
    Ok(set(tx, user, room_id, kind, state_key, content, Manner::default())?.id)
}

/// The same, sent in a manner of its own.
///
/// # Errors
/// As [`put`].
pub fn set(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    kind: &str,
    state_key: &str,
    content: &RawValue,
    manner: Manner,
) -> Reply<Appended> {
    let room = crate::room_of(tx, room_id)?;
    if kind == "m.room.canonical_alias" && state_key.is_empty() && room::is_joined(tx, room, user)?
    {
        alias::check_canonical(tx, room, content.get())?;
    }
    let new = New {
        sender: user,
        kind: kind.to_owned(),
        state_key: Some(state_key.to_owned()),
        content: content.to_owned(),
        redacts: None,
    };
    append::append_so(tx, room, new, false, manner)
}
