//! The state of a room before an event, with all that authorises it, as servers give it to each other (`GET /state`,
//! `GET /state_ids`, `GET /event_auth`; spec: Server-Server API, "Retrieving events").
//!
//! Whether the asking server is in the room is for the caller to know.

use base::{Error, Event, Reply, Room};
use protocol::json::quote;
use ruma::EventId;
use store::{
    View,
    event::{self, Stored},
    pdu::Wire,
    schema::PARTIAL,
    state::{self, Part},
};

use crate::{AUTH_CHAIN_MAX, auth_chain, ground};

/// What an event of the state costs in an answer, about.
const EVENT_BYTES: usize = 1_024;
/// What an id costs in an answer, about.
const ID_BYTES: usize = 48;

/// The state before an event and its auth chain: the JSON body.
///
/// # Errors
/// 404 `M_NOT_FOUND` if the event, or the state before it, is not known here; 413 `M_TOO_LARGE`.
pub fn state(view: &View, room: Room, id: &EventId) -> Reply<String> {
    let (pdus, chain) = before(view, room, id)?;
    let wire = Wire::of(view, room)?;
    let mut out = String::with_capacity((pdus.len() + chain.len()) * EVENT_BYTES);
    out.push_str(r#"{"auth_chain":["#);
    wire.append(view, &chain, &mut out)?;
    out.push_str(r#"],"pdus":["#);
    wire.append(view, &pdus, &mut out)?;
    out.push_str("]}");
    Ok(out)
}

/// The same as ids only.
///
/// # Errors
/// As [`state`].
pub fn state_ids(view: &View, room: Room, id: &EventId) -> Reply<String> {
    let (pdus, chain) = before(view, room, id)?;
    let mut out = String::with_capacity((pdus.len() + chain.len()) * ID_BYTES);
    out.push_str(r#"{"auth_chain_ids":["#);
    ids(view, &chain, &mut out)?;
    out.push_str(r#"],"pdu_ids":["#);
    ids(view, &pdus, &mut out)?;
    out.push_str("]}");
    Ok(out)
}

/// The auth chain of an event: the JSON body.
///
/// # Errors
/// 404 `M_NOT_FOUND` if the event is not here; 413 `M_TOO_LARGE`.
pub fn event_auth(view: &View, room: Room, id: &EventId) -> Reply<String> {
    let chain = auth_chain(view, &[of_room(view, room, id)?.event], AUTH_CHAIN_MAX)?;
    let mut out = String::with_capacity(chain.len() * EVENT_BYTES);
    out.push_str(r#"{"auth_chain":["#);
    Wire::of(view, room)?.append(view, &chain, &mut out)?;
    out.push_str("]}");
    Ok(out)
}

fn before(view: &View, room: Room, id: &EventId) -> Reply<(Vec<Event>, Vec<Event>)> {
    let stored = of_room(view, room, id)?;
    // While members are missing from the room, what is here is no answer.
    let founded = event::is_founded(view, &stored.row, stored.event)?;
    if !founded || view.has(&PARTIAL, (room,))? {
        return Err(Error::not_found(format!("The state before {id} is not known here.")));
    }
    let pdus = state::list(view, stored.row.before, Part::All)?;
    let chain = auth_chain(view, &pdus, AUTH_CHAIN_MAX)?;
    Ok((pdus, chain))
}

fn of_room(view: &View, room: Room, id: &EventId) -> Reply<std::sync::Arc<Stored>> {
    let stored = event::load_id(view, id)?.filter(|stored| stored.row.room == room);
    stored.ok_or_else(|| Error::not_found(format!("Could not find event {id}")))
}

fn ids(view: &View, events: &[Event], out: &mut String) -> Reply<()> {
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(&quote(ground::event_id(view, *event)?.as_str()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
