//! Sticky events (MSC4354): what every member of a room is told of while it lasts, whatever their timeline holds.
//!
//! History visibility does not apply to them: who is in the room may see them as long as they are sticky.

use std::sync::Arc;

use base::{Reply, Room, Seq};
use protocol::pdu::{STICKY as FIELD, STICKY_MS_MAX};
use serde::Deserialize;
use store::{
    Direction, View,
    event::{self, Stored},
    schema::{STICKY, Sticky},
};

/// Sticky events told at once of rooms that the client knows (MSC4354).
pub const STICKY_MAX: usize = 100;
/// Sticky events of a room that the client does not know yet.
const NEW_ROOM_MAX: usize = 1_000;
/// What of a sticky event's time is left, in `unsigned`.
pub(crate) const LEFT: &str = "msc4354_sticky_duration_ttl_ms";

/// For how many milliseconds an event is sticky still; `None`: it is not.
pub(crate) fn left_ms(view: &View, stored: &Stored) -> Option<u64> {
    #[derive(Deserialize)]
    struct Event {
        msc4354_sticky: Field,
    }
    #[derive(Deserialize)]
    struct Field {
        duration_ms: u64,
    }
    // Nearly no event is sticky, and most are small: to look for the name costs less than to parse.
    if !stored.client().contains(FIELD) {
        return None;
    }
    let event: Event = serde_json::from_str(stored.client()).ok()?;
    let began = stored.row.sent_at.0.min(view.now().0);
    let until = began.saturating_add(event.msc4354_sticky.duration_ms.min(STICKY_MS_MAX));
    until.checked_sub(view.now().0).filter(|left| *left > 0)
}

/// The events of a room that became sticky after a position and up to another, and still are, in timeline order; at most
/// `limit`. A reader for whoever tells of them; it does not ask whether the viewer is in the room.
///
/// # Errors
/// Faults only.
pub fn read(
    view: &View,
    room: Room,
    after: Seq,
    upto: Seq,
    limit: usize,
) -> Reply<Vec<(Seq, Arc<Stored>)>> {
    let mut events = Vec::new();
    let mut from = after.next();
    loop {
        let rows: Vec<((Room, Seq), Sticky)> =
            view.range(&STICKY, (room, from), (room, upto.next()), Direction::Forward, limit)?;
        let full = rows.len() == limit;
        for ((_, seq), sticky) in rows {
            from = seq.next();
            if sticky.until <= view.now() {
                continue;
            }
            let stored = event::load(view, sticky.event)?;
            // A redaction takes the stickiness too.
            if stored.row.redacted_by.is_none() {
                events.push((seq, stored));
            }
        }
        if !full || events.len() >= limit {
            events.truncate(limit);
            return Ok(events);
        }
    }
}

/// Up to where sticky events of these rooms are told at once to a client that has them up to `after`; `None`: all of them.
///
/// # Errors
/// Faults only.
pub fn horizon(
    view: &View,
    rooms: impl Iterator<Item = Room>,
    after: Seq,
    upto: Seq,
) -> Reply<Option<Seq>> {
    let mut all = Vec::new();
    for room in rooms {
        let events = read(view, room, after, upto, STICKY_MAX + 1)?;
        all.extend(events.into_iter().map(|(seq, _)| seq));
    }
    if all.len() <= STICKY_MAX {
        return Ok(None);
    }
    all.sort_unstable();
    Ok(all.get(STICKY_MAX - 1).copied())
}

/// [`read`] for a client that does not have the room: all that are sticky.
///
/// # Errors
/// Faults only.
pub fn read_all(view: &View, room: Room, upto: Seq) -> Reply<Vec<(Seq, Arc<Stored>)>> {
    read(view, room, Seq::ZERO, upto, NEW_ROOM_MAX)
}
