//! Setting a room's state (`PUT /rooms/{roomId}/state/{eventType}/{stateKey}`).

use base::{Reply, UnixMs, User};
use ruma::{OwnedEventId, RoomId};
use serde_json::value::RawValue;
use store::{Tx, room};

use crate::{New, alias, append};

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
    put_dated(tx, user, room_id, kind, state_key, content, None)
}

/// The same, said to have been sent at another time.
///
/// # Errors
/// As [`put`].
pub fn put_dated(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    kind: &str,
    state_key: &str,
    content: &RawValue,
    sent_at: Option<UnixMs>,
) -> Reply<OwnedEventId> {
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
    Ok(append::append_dated(tx, room, new, false, sent_at)?.id)
}
