//! Events as stored: what the server needs to know of them in a row, what clients see as one JSON text, and the
//! federation remainder as another, each compressed.
//!
//! The client's part is spliced into replies as it is: it ends in `}` and has neither `room_id` nor `unsigned`.

use std::{ops::Range, sync::Arc};

use base::{Error, Event, Reply, Room, UnixMs};
use ruma::{EventId, OwnedEventId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    log,
    schema::{ASIDE, BY_TIME, EVENT_IDS, EVENTS, EventRow, ORDER, PARTIAL, TIMELINE, UNFINISHED},
    view::{Announced, CacheSpace, Tx, View},
};

/// An event, decoded.
#[derive(Debug)]
pub struct Stored {
    /// Its number.
    pub event: Event,
    /// Its id.
    pub id: OwnedEventId,
    /// What the server knows of it (`client` and `rest` are empty here).
    pub row: EventRow,
    client: String,
    content: Range<usize>,
}

impl Stored {
    /// The client's part: a JSON object without `room_id` and `unsigned`.
    pub fn client(&self) -> &str {
        &self.client
    }
    /// The content: a JSON object.
    pub fn content(&self) -> &str {
        self.client.get(self.content.clone()).unwrap_or("{}")
    }
    /// The content, read as something.
    pub fn content_as<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.content()).ok()
    }
    /// Is it this state event?
    pub fn is_state(&self, kind: &str) -> bool {
        self.row.state_key.is_some() && self.row.kind == kind
    }
}

static DECODED: CacheSpace = CacheSpace { tag: 3, owned: Some(crate::Kind::Event) };

/// What an event costs in the cache beside its text.
const STORED_OVERHEAD: usize = 384;

/// The number of an event, if we hold it.
pub fn find(view: &View, id: &EventId) -> Reply<Option<Event>> {
    view.get(&EVENT_IDS, (id.as_str().to_owned(),))
}

/// An event that must be there, because something of ours points to it.
pub fn load(view: &View, event: Event) -> Reply<Arc<Stored>> {
    view.cached(&DECODED, u128::from(event.0), |view| {
        let row = view
            .get(&EVENTS, (event,))?
            .ok_or_else(|| Error::fault(format!("event {event} is missing")))?;
        let stored = decode(view, event, row)?;
        let bytes = stored.client.len() + STORED_OVERHEAD;
        Ok((stored, bytes))
    })
}

/// The event of an id, if we hold it.
pub fn load_id(view: &View, id: &EventId) -> Reply<Option<Arc<Stored>>> {
    find(view, id)?.map(|event| load(view, event)).transpose()
}

fn decode(view: &View, event: Event, mut row: EventRow) -> Reply<Stored> {
    #[derive(Deserialize)]
    struct Parts<'a> {
        event_id: OwnedEventId,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let client = view.codec().decompress(&row.client)?;
    let parts: Parts<'_> = serde_json::from_str(&client)
        .map_err(|e| Error::fault(format!("event {event} is not JSON: {e}")))?;
    let start = (parts.content.get().as_ptr() as usize).saturating_sub(client.as_ptr() as usize);
    let content = start..start + parts.content.get().len();
    let id = parts.event_id;
    row.client = Vec::new();
    row.rest = Vec::new();
    Ok(Stored { event, id, row, content, client })
}

/// The federation remainder of an event.
pub fn rest(view: &View, event: Event) -> Reply<String> {
    let row = view
        .get(&EVENTS, (event,))?
        .ok_or_else(|| Error::fault(format!("event {event} is missing")))?;
    view.codec().decompress(&row.rest)
}

/// Events with their federation remainders, in the order asked, past the cache and in one trip.
pub fn whole(view: &View, events: &[Event]) -> Reply<Vec<(Stored, String)>> {
    let rows = view.get_many(&EVENTS, events.iter().map(|event| (*event,)))?;
    let both = |(event, row): (&Event, Option<EventRow>)| {
        let row = row.ok_or_else(|| Error::fault(format!("event {event} is missing")))?;
        let rest = view.codec().decompress(&row.rest)?;
        Ok((decode(view, *event, row)?, rest))
    };
    events.iter().zip(rows).map(both).collect()
}

/// The place of an event in its room's timeline, which is a log position.
pub fn order(view: &View, event: Event) -> Reply<Option<base::Seq>> {
    view.get(&ORDER, (event,))
}

/// Stores a new event (its indexes are the caller's).
pub fn insert(
    tx: &mut Tx,
    event: Event,
    id: &EventId,
    mut row: EventRow,
    client: &str,
    rest: &str,
) {
    row.client = tx.codec().compress(client);
    row.rest = tx.codec().compress(rest);
    tx.put_new(&EVENT_IDS, (id.as_str().to_owned(),), &event);
    tx.put_new(&EVENTS, (event,), &row);
}

/// Gives an event its place in a room's timeline: the position of the log entry that announces it.
pub fn place(tx: &mut Tx, room: Room, event: Event, sent_at: UnixMs, at: Announced) {
    tx.put_at(&ORDER, at, move |seq| ((event,), seq));
    tx.put_at(&TIMELINE, at, move |seq| ((room, seq), event));
    tx.put_new(&BY_TIME, (room, sent_at, event), &());
}

/// Gives an event that happened elsewhere before this server came a place in front of what is here.
pub fn place_before(tx: &mut Tx, room: Room, event: Event, sent_at: UnixMs, at: base::Seq) {
    tx.put_new(&ORDER, (event,), &at);
    tx.put_new(&TIMELINE, (room, at), &event);
    tx.put_new(&BY_TIME, (room, sent_at, event), &());
}

/// Writes the row of an event again that was stored without its place in the room; its text stays.
pub fn settle(tx: &mut Tx, event: Event, row: EventRow) -> Reply<()> {
    let old = tx
        .get(&EVENTS, (event,))?
        .ok_or_else(|| Error::fault(format!("event {event} is missing")))?;
    let EventRow { client, rest, redacted_by, .. } = old;
    tx.put(&EVENTS, (event,), &EventRow { client, rest, redacted_by, ..row });
    Ok(())
}

/// Is only the event itself known, and not where it stands in the room?
#[must_use]
pub fn is_outlier(row: &EventRow) -> bool {
    row.after == crate::state::Root::default()
}

/// Is the state around an event known? Not that around an outlier, and only part of that around what came in a stay that ended
/// too early ([`UNFINISHED`]).
///
/// # Errors
/// Faults.
pub fn is_founded(view: &View, row: &EventRow, event: Event) -> Reply<bool> {
    if is_outlier(row) {
        return Ok(false);
    }
    let Some(stays) = view.get(&UNFINISHED, (row.room,))? else { return Ok(true) };
    let Some(at) = order(view, event)? else {
        let Some(join) = view.get(&ASIDE, (row.room, event))? else { return Ok(true) };
        return Ok(view.get(&PARTIAL, (row.room,))?.is_some_and(|partial| partial.join == join));
    };
    let (from, to) = (order(view, stays.from)?, order(view, stays.to)?);
    Ok(Some(at) < from || to.is_some_and(|to| at >= to))
}

/// Replaces the client's part of an event by its redacted form and announces it.
pub fn redact(tx: &mut Tx, event: Event, by: Event, client: &str) -> Reply<()> {
    let mut row = tx
        .get(&EVENTS, (event,))?
        .ok_or_else(|| Error::fault(format!("event {event} is missing")))?;
    row.client = tx.codec().compress(client);
    row.redacted_by = Some(by);
    tx.put(&EVENTS, (event,), &row);
    tx.announce(log::Entry::Redacted { room: row.room, event });
    Ok(())
}
