//! Sending message events (`PUT /rooms/{roomId}/send/{eventType}/{txnId}`).

use base::{Reply, User};
use ruma::{OwnedEventId, RoomId};
use serde_json::value::RawValue;
use store::Tx;

use crate::{New, Txn, append, once};

/// Sends a message event, once for each transaction id.
///
/// # Errors
/// As [`append`](append::append).
pub fn send(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    kind: &str,
    content: &RawValue,
    txn: Txn<'_>,
) -> Reply<OwnedEventId> {
    send_sticky(tx, user, room_id, kind, (content, None), txn)
}

/// The same, for an event that is to be sticky for so many milliseconds (MSC4354).
///
/// # Errors
/// As [`append`](append::append).
pub fn send_sticky(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    kind: &str,
    (content, sticky_ms): (&RawValue, Option<u64>),
    txn: Txn<'_>,
) -> Reply<OwnedEventId> {
    once(tx, user, txn, |tx| {
        let room = crate::room_of(tx, room_id)?;
        let new = New {
            sender: user,
            kind: kind.to_owned(),
            state_key: None,
            content: content.to_owned(),
            redacts: None,
        };
        append::append_sticky(tx, room, new, sticky_ms)
    })
}
