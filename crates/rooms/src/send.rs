//! Sending message events (`PUT /rooms/{roomId}/send/{eventType}/{txnId}`).

use base::{Reply, User};
use ruma::{OwnedEventId, RoomId};
use serde_json::value::RawValue;
use store::Tx;

use crate::{Manner, New, Txn, append, once};

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
    send_so(tx, user, room_id, kind, content, txn, Manner::default())
}

/// The same, sent in a manner of its own.
///
/// # Errors
/// As [`send`].
pub fn send_so(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    kind: &str,
    content: &RawValue,
    txn: Txn<'_>,
    manner: Manner,
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
        append::append_so(tx, room, new, false, manner)
    })
}
