//! Sending a redaction (`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`), and with it redactions of what relates to the
//! event (MSC3912).

use base::{Error, Event, Reply, Room, Seq, User};
use ruma::{EventId, OwnedEventId, RoomId};
use serde_json::{Map, json};
use store::{
    Direction, Tx, event,
    schema::{RELATIONS, Relation},
};

use crate::{Appended, New, Txn, append, once, redaction::REDACTION};

/// Related events that are redacted at once, newest first; older ones stay.
const RELATED_MAX: usize = 1_000;
/// Stands for every kind of relation.
const ANY: &str = "*";

/// What is to be redacted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The event.
    pub target: &'a EventId,
    /// Why.
    pub reason: Option<&'a str>,
    /// What relates to it in one of these ways goes too, as far as the user may redact it; `*` stands for all.
    pub related: &'a [String],
}

impl<'a> Wanted<'a> {
    /// An event alone, without a reason.
    #[must_use]
    pub fn of(target: &'a EventId) -> Wanted<'a> {
        Wanted { target, reason: None, related: &[] }
    }
}

/// Sends a redaction (`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`).
///
/// # Errors
/// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND` for an event that the room does not have.
pub fn redact(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    wanted: &Wanted<'_>,
    admin: bool,
    txn: Txn<'_>,
) -> Reply<OwnedEventId> {
    once(tx, user, txn, |tx| {
        let room = crate::room_of(tx, room_id)?;
        let sent = send(tx, user, room, wanted.target, wanted.reason, admin)?;
        for child in related(tx, wanted)? {
            match send(tx, user, room, &child, wanted.reason, admin) {
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(sent)
    })
}

fn send(
    tx: &mut Tx,
    user: User,
    room: Room,
    target: &EventId,
    reason: Option<&str>,
    admin: bool,
) -> Reply<Appended> {
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
}

/// The events that relate to the target in one of the ways that are asked for, and are not redacted yet.
fn related(tx: &Tx, wanted: &Wanted<'_>) -> Reply<Vec<OwnedEventId>> {
    if wanted.related.is_empty() {
        return Ok(Vec::new());
    }
    let Some(parent) = event::find(tx, wanted.target)? else { return Ok(Vec::new()) };
    let (from, to) = ((parent, Seq::ZERO), (parent, Seq::MAX));
    let rows: Vec<((Event, Seq), Relation)> =
        tx.range(&RELATIONS, from, to, Direction::Backward, RELATED_MAX)?;
    let asked = |rel: &Relation| wanted.related.iter().any(|w| w == ANY || *w == rel.rel_type);
    let mut found = Vec::new();
    for (_, relation) in rows.into_iter().filter(|(_, relation)| asked(relation)) {
        let child = event::load(tx, relation.child)?;
        if child.row.redacted_by.is_none() {
            found.push(child.id.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
