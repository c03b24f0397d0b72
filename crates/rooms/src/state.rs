//! A room's state: setting it, and reading it as whoever asks may see it (`/rooms/{roomId}/state…`).
//!
//! Who is in the room sees the current state, who has left sees it as it was then.

use base::{Error, Event, Reply, Room, User};
use ruma::{OwnedEventId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    Tx, View, event, room,
    schema::Standing,
    state::{self, Part, Root},
};

use crate::{Appended, New, alias, append, render};

/// Steps back through the history of one membership: who came and went more often sees nothing.
const MEMBERSHIPS_MAX: usize = 1_000;

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
    Ok(set(tx, user, room_id, kind, state_key, content, None)?.id)
}

/// The same, for an event that is to be sticky for so many milliseconds (MSC4354).
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
    sticky_ms: Option<u64>,
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
    append::append_sticky(tx, room, new, sticky_ms)
}

/// The content of a piece of state as JSON text, or with `whole` the whole event.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in the room, 404 `M_NOT_FOUND` if the room has no such state.
pub fn get(
    view: &View,
    user: User,
    room_id: &RoomId,
    kind: &str,
    state_key: &str,
    whole: bool,
) -> Reply<String> {
    let room = crate::room_of(view, room_id)?;
    let root = seen_by(view, user, room)?;
    let found = room::state(view, root, kind, state_key)?;
    let found = found.ok_or_else(|| Error::not_found("the room has no such state"))?;
    match whole {
        true => render::client_event(view, &found, room_id.as_str()),
        false => Ok(found.content().to_owned()),
    }
}

/// The whole state as a JSON array of events.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in the room.
pub fn all(view: &View, user: User, room_id: &RoomId) -> Reply<String> {
    let room = crate::room_of(view, room_id)?;
    let root = seen_by(view, user, room)?;
    let mut parts = Vec::new();
    for event in state::list(view, root, Part::All)? {
        parts.push(render::client_event(view, &*event::load(view, event)?, room_id.as_str())?);
    }
    Ok(format!("[{}]", parts.join(",")))
}

/// How much of a room a user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// What it is now: they are joined, or its history is world-readable.
    Now,
    /// What it was when they left by this event.
    UntilLeft(Event),
}

/// How much of a room a user sees.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in it.
pub(crate) fn seen(view: &View, user: User, room: Room) -> Reply<Seen> {
    match room::membership(view, user, room)? {
        Some(m) if m.standing == Standing::Join => return Ok(Seen::Now),
        Some(m) if m.was_joined && !m.forgotten => {
            if let Some(left) = departure(view, m.event)? {
                return Ok(Seen::UntilLeft(left));
            }
        }
        _ => {}
    }
    if room::world_readable(view, room)? { Ok(Seen::Now) } else { Err(crate::not_in_room()) }
}

/// The version of the room's state that a user sees: the current one for who is joined, that of their leaving for who was,
/// and the current one for anyone if the room's history is world-readable.
///
/// # Errors
/// 403 `M_FORBIDDEN`.
pub fn seen_by(view: &View, user: User, room: Room) -> Reply<Root> {
    match seen(view, user, room)? {
        Seen::Now => Ok(room::head(view, room)?.state),
        Seen::UntilLeft(event) => Ok(event::load(view, event)?.row.after),
    }
}

/// The event by which a user last left a room, found from their newest membership event: invites, knocks and bans since
/// then change nothing of what they may see.
pub fn departure(view: &View, newest: Event) -> Reply<Option<Event>> {
    let mut at = newest;
    for _ in 0..MEMBERSHIPS_MAX {
        let event = event::load(view, at)?;
        let Some(before) = event.row.replaces else { return Ok(None) };
        if membership_of(&*event::load(view, before)?) == Some(Standing::Join) {
            return Ok(Some(at));
        }
        at = before;
    }
    Ok(None)
}

/// What a membership event says.
pub(crate) fn membership_of(event: &event::Stored) -> Option<Standing> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: std::borrow::Cow<'a, str>,
    }
    Standing::parse(&event.content_as::<Content<'_>>()?.membership)
}

#[cfg(test)]
mod tests;
