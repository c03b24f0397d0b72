//! Sending a redaction (`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`).

use base::{Reply, User};
use ruma::{EventId, OwnedEventId, RoomId};
use serde_json::{Map, json};
use store::Tx;

use crate::{New, Txn, append, once, redaction::REDACTION};

/// Sends a redaction (`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`).
///
/// # Errors
/// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND` for an event that the room does not have.
pub fn redact(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    target: &EventId,
    reason: Option<&str>,
    admin: bool,
    txn: Txn<'_>,
) -> Reply<OwnedEventId> {
    once(tx, user, txn, |tx| {
        let room = crate::room_of(tx, room_id)?;
        let mut content = Map::new();
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), json!(reason));
        }
        let new = New {
            sender: user,
            kind: REDACTION.to_owned(),
            state_key: None,
            content: append::raw(&content)?,
            redacts: Some(target.to_owned()),
        };
        append::append_as(tx, room, new, admin)
    })
}

#[cfg(test)]
mod tests;
