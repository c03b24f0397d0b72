//! Events that other servers made: into the graph and the state of their rooms, by the checks on receipt of the
//! Server-Server API ("Checks performed on receipt of a PDU"). Format, signatures and hashes are checked before
//! (checks 1 to 3); what is here are the rules.

use base::{Error, Event, Reply, Room};
use protocol::{Pdu, Rule};
use ruma::{OwnedEventId, RoomId, RoomVersionId};
use store::{Tx, schema::Partial};

/// What became of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has been here before.
    Known(Event),
    /// It is in its room's timeline now (or, where it is only learned, among the events that are known).
    Accepted(Event),
    /// The rules of the room now do not allow it: it is kept and not shown.
    SoftFailed(Event, String),
    /// The rules do not allow it: it is kept so that it is not asked for again.
    Rejected(Event, String),
    /// It cannot be judged before these are here.
    Missing(Missing),
}

/// Events that are not here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Missing {
    /// Named as `prev_events`, or here without the state around them.
    pub prev: Vec<OwnedEventId>,
    /// Named as `auth_events`.
    pub auth: Vec<OwnedEventId>,
}

/// Takes an event into its room, if the events before it are here: state before it (resolved over `prev_events`), checks 4 to
/// 6, the room's new state and extremities, all indexes, the log. Also for events of users of this server that another server
/// had to sign or see first (made by [`crate::prepare`]).
///
/// # Errors
/// Faults.
pub fn receive(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Outcome> {
    let _ = (tx, room, pdu);
    Err(Error::fault("not yet"))
}

/// The same where events before it are missing: `before` are the state events before it, as another server says; they are
/// here already ([`learn`]). The missing ones become [`store::schema::GAPS`].
///
/// # Errors
/// Faults.
pub fn receive_at(tx: &mut Tx, room: Room, pdu: &Pdu, before: &[Event]) -> Reply<Outcome> {
    let _ = (tx, room, pdu, before);
    Err(Error::fault("not yet"))
}

/// Keeps events without their place in the room (auth chains, state): judged by their auth events, which must come first
/// or be here. The outcomes are in the order of the events.
///
/// # Errors
/// Faults.
pub fn learn(tx: &mut Tx, room: Room, pdus: &[Pdu]) -> Reply<Vec<Outcome>> {
    let _ = (tx, room, pdus);
    Err(Error::fault("not yet"))
}

/// The number of a room that this server has only heard of (an invite, a join to come): made if it is new. With its create
/// event, what is known of the room is complete.
///
/// # Errors
/// Faults; 400 `M_INVALID_PARAM` for a create event that is not this room's.
pub fn know(
    tx: &mut Tx,
    id: &RoomId,
    version: &RoomVersionId,
    create: Option<&Pdu>,
) -> Reply<Room> {
    let _ = (tx, id, version, create);
    Err(Error::fault("not yet"))
}

/// This server comes into a room: the join, and the state before it as the server that let it in says; its events and their
/// auth events are here already ([`learn`]). `partial`: members are missing. The room's timeline begins with the join.
///
/// # Errors
/// Faults; 403 `M_FORBIDDEN` if the state does not allow the join.
pub fn enter(
    tx: &mut Tx,
    room: Room,
    join: &Pdu,
    before: &[Event],
    partial: Option<Partial>,
) -> Reply<Event> {
    let _ = (tx, room, join, before, partial);
    Err(Error::fault("not yet"))
}

/// All of the state before the join by which this server came in is here: what followed is judged again, and the room is
/// not partial any more.
///
/// # Errors
/// Faults.
pub fn complete(tx: &mut Tx, room: Room, before: &[Event]) -> Reply<()> {
    let _ = (tx, room, before);
    Err(Error::fault("not yet"))
}

/// Another server told of the membership of a user of this server in a room in which this server is not: an invite,
/// the end of one, the answer to a knock. `stripped`: what is shown of the room, a JSON array.
///
/// # Errors
/// Faults.
pub fn told(tx: &mut Tx, room: Room, member: &Pdu, stripped: Option<String>) -> Reply<Event> {
    let _ = (tx, room, member, stripped);
    Err(Error::fault("not yet"))
}

/// Puts events that happened before what is here into a room's past, newest first: `before` is the state before the oldest
/// of them, whose events are here ([`learn`]). Those whose next event is not here, or that are no events of this
/// gap, are left out. Returns how many found a place.
///
/// # Errors
/// Faults.
pub fn look_back(tx: &mut Tx, room: Room, newest_first: &[Pdu], before: &[Event]) -> Reply<usize> {
    let _ = (tx, room, newest_first, before);
    Err(Error::fault("not yet"))
}

/// Kept for the names of rules in outcomes.
#[must_use]
pub fn words(rule: Rule) -> String {
    rule.to_string()
}
