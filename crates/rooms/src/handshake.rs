//! What users of other servers do in rooms of this one, with this server as their resident server, and how users of
//! this one are invited elsewhere (spec: Server-Server API, "Joining Rooms", "Knocking upon a room", "Inviting to a room",
//! "Leaving Rooms").
//!
//! Each handshake has two steps: a template that this server proposes, and the event that the other one makes of it. Nothing is
//! remembered between them. The event comes with its signatures and hashes checked; what is checked here is
//! that it is what the endpoint is for, and what the room's rules say.

pub mod invite;
pub mod join;
pub mod knock;
pub mod leave;
mod restricted;
mod stripped;
mod template;
pub mod third_party;

use base::{Error, Event, Reply, Room};
use protocol::Pdu;
use ruma::{EventId, RoomId, RoomVersionId, ServerName, UserId};
use store::{
    Tx, View, outbox, room,
    schema::{JUDGED, PARTIAL, Standing},
};

pub use self::stripped::{STATE_EVENTS_MAX, stripped};
pub use self::template::Template;
use crate::{
    ground,
    member_rows::Change,
    remote::{self, Outcome},
};

/// A room of which this server can tell others: it has users in it.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn resident(view: &View, id: &RoomId) -> Reply<Room> {
    let unknown = || Error::not_found("This server is not in this room.");
    let room = room::find(view, id)?.ok_or_else(unknown)?;
    if room::is_resident(view, room)? { Ok(room) } else { Err(unknown()) }
}

/// The version of a room.
///
/// # Errors
/// Faults of the store.
pub fn version(view: &View, room: Room) -> Reply<RoomVersionId> {
    ground::version(&*room::info(view, room)?)
}

/// What those outside are shown of a room now: a JSON array of whole events.
///
/// # Errors
/// Faults of the store.
pub fn shown(view: &View, room: Room) -> Reply<String> {
    let root = room::head(view, room)?.state;
    Ok(format!("[{}]", stripped::whole(view, room, root)?))
}

/// Whoever is to be let in is told all of the room's state, so that it has to be here.
fn check_whole(view: &View, room: Room) -> Reply<()> {
    if view.has(&PARTIAL, (room,))? {
        return Err(Error::not_found("This server does not know all of this room yet."));
    }
    Ok(())
}

/// A template is for a user of the server that asks.
fn check_user(user: &UserId, origin: &ServerName) -> Reply<()> {
    if user.server_name() == origin {
        return Ok(());
    }
    Err(Error::forbidden("A server asks for its own users only."))
}

/// The server that wants in has to know the version of the room (spec: `GET /make_join`).
fn check_version(version: &RoomVersionId, known: &[RoomVersionId]) -> Reply<()> {
    if known.contains(version) {
        return Ok(());
    }
    let text = "Your homeserver does not support the features required to join this room";
    let no = Error::refusal(400, "M_INCOMPATIBLE_ROOM_VERSION", text);
    Err(no.with("room_version", version.as_str()).into())
}

/// What a membership event that another server hands over has to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The room of the path.
    pub room: &'a RoomId,
    /// The event of the path.
    pub event: &'a EventId,
    /// The server that hands it over.
    pub origin: &'a ServerName,
    /// Its membership.
    pub standing: Standing,
}

impl Expected<'_> {
    /// Is it that? By whom it is about is another question, see [`Expected::check_own`].
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM`.
    pub fn check(&self, pdu: &Pdu) -> Reply<()> {
        let is_it = Change::read(pdu).is_some_and(|change| change.standing == self.standing);
        for (holds, text) in [
            (is_it, format!("not a membership event of {:?}", self.standing.as_str())),
            (pdu.room_id == self.room, "the event is of another room".to_owned()),
            (pdu.event_id == self.event, format!("the event's id is {}", pdu.event_id)),
            (
                pdu.sender.server_name() == self.origin,
                "the sender is not of the server that sends it".to_owned(),
            ),
        ] {
            if !holds {
                return Err(Error::invalid_param(text));
            }
        }
        Ok(())
    }

    /// Is it that, and about its own sender?
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM`.
    pub fn check_own(&self, pdu: &Pdu) -> Reply<()> {
        self.check(pdu)?;
        if pdu.state_key.as_deref() != Some(pdu.sender.as_str()) {
            return Err(Error::invalid_param("the state key is not the sender"));
        }
        Ok(())
    }
}

/// Takes a checked event into its room. The servers that are in the room are told of it by this one.
fn take(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Event> {
    match remote::receive(tx, room, pdu)? {
        Outcome::Accepted(event) => {
            outbox::speak_for(tx, event);
            Ok(event)
        }
        // The answer to the first time got lost, or the event came by another way.
        Outcome::Known(event) => match tx.get(&JUDGED, (event,))? {
            None => Ok(event),
            Some(judged) => Err(Error::forbidden(judged.rule)),
        },
        Outcome::SoftFailed(_, rule) | Outcome::Rejected(_, rule) => Err(Error::forbidden(rule)),
        Outcome::Missing(_) | Outcome::Unsigned => {
            Err(Error::invalid_param("the event names events that this server does not know"))
        }
    }
}

#[cfg(test)]
mod tests;
