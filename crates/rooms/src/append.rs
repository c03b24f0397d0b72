//! The one way an event of this server gets into a room: hashed, signed, authorised, stored with all its indexes and
//! announced on the log, in one transaction.
//!
//! Invariant: what is not allowed by the room's current state is refused here and leaves no trace. `prev_events` are
//! the room's extremities, so that events of one server form a line.

use base::{Error, Event, Reply, Room, UnixMs, User, limits::PREV_EVENTS_MAX};
use protocol::{
    Draft, Pdu, Verdict, authorize, policy_server::PolicyServer, select_auth_events,
    version::event_ids_are_chosen,
};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use store::{
    Tx, room,
    schema::{HEADS, Head, ROOM_IDS, ROOMS, RoomInfo},
    state, user,
};

use crate::{
    chosen, delayed_rows, encryption,
    ground::{self, Ground},
    member_rows::{self, Change, Said, Shown},
    policy_server::{self, Word},
    record::{self, Standing},
    redaction, relate,
    remote::{self, Outcome},
    suspended,
};

/// An event to be sent by a user of this server.
#[derive(Clone, Debug)]
pub struct New {
    /// Who sends it.
    pub sender: User,
    /// Its type.
    pub kind: String,
    /// Set for state events.
    pub state_key: Option<String>,
    /// The content as the client gave it: a JSON object.
    pub content: Box<RawValue>,
    /// What a redaction redacts; without it, `redacts` in the content counts.
    pub redacts: Option<OwnedEventId>,
}

/// What is said of an event beside the event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// It is said to have been sent at another time (spec: Application Service API, "Timestamp massaging").
    pub sent_at: Option<UnixMs>,
    /// It is to be sticky for so many milliseconds (MSC4354).
    pub sticky_ms: Option<u64>,
}

/// An event that is in its room.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// Its number.
    pub event: Event,
    /// Its id.
    pub id: OwnedEventId,
}

/// Appends an event to a room. A state event that says what the state says already, by the same sender, is not sent
/// again: the answer is the event that is there.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it, 403 `M_USER_SUSPENDED`, 413 `M_TOO_LARGE`, 400 `M_BAD_JSON`, and
/// for members, relations and redactions what their modules refuse.
pub fn append(tx: &mut Tx, room: Room, new: New) -> Reply<Appended> {
    append_so(tx, room, new, false, Manner::default())
}

/// The same; an administrator may also redact what other users of this server sent.
///
/// # Errors
/// As [`append`].
pub fn append_as(tx: &mut Tx, room: Room, new: New, admin: bool) -> Reply<Appended> {
    append_so(tx, room, new, admin, Manner::default())
}

/// The same, sent in a manner of its own.
///
/// # Errors
/// As [`append`].
pub fn append_so(
    tx: &mut Tx,
    room: Room,
    new: New,
    admin: bool,
    manner: Manner,
) -> Reply<Appended> {
    if new.kind == "m.room.create" {
        return Err(Error::forbidden("a room has one create event, its first"));
    }
    let what = (new.kind.as_str(), new.state_key.as_deref(), &*new.content);
    let suspended = suspended::check(tx, room, new.sender, what)?;
    let info = room::info(tx, room)?;
    let head = room::head(tx, room)?;
    encryption::check(tx, head.state, new.sender, what)?;
    let version = ground::version(&info)?;
    let sender = new.sender;
    if new.kind == "m.room.aliases" && !room::is_joined(tx, room, sender)? {
        // The rules of versions 1 to 5 let any user of a server set its aliases, so that servers can speak for
        // themselves. A client is not a server.
        return Err(crate::not_in_room());
    }
    let id = OwnedRoomId::try_from(info.id.as_str())
        .map_err(|e| Error::fault(format!("room {room} has a bad id: {e}")))?;
    let pdu = signed(tx, &version, Some(id), &head, new, manner)?;
    if let Some(event) = current(tx, &head, &pdu, sender)? {
        return Ok(Appended { event, id: ground::event_id(tx, event)? });
    }
    let redacted = redaction::target(tx, room, &info, &head, sender, &pdu, admin)?;
    if let Some(target) = &redacted {
        encryption::check_redaction(tx, head.state, target.event)?;
        if suspended {
            suspended::check_redaction(sender, target.row.sender)?;
        }
    }
    let Some(server) = policy_server::wanting(tx, room, head.state, &version, &pdu)? else {
        let placed = append_accepted(tx, room, head, sender, &pdu)?;
        if let Some(target) = redacted {
            redaction::apply(tx, &version, &target, placed.event)?;
        }
        return Ok(placed);
    };
    check_acceptable(tx, room, sender, &pdu)?;
    let pdu = with_word(tx, &version, &server, &pdu)?;
    receive_own(tx, room, &pdu)
}

/// What is refused of an event when it is appended, before anybody else is asked about it.
fn check_acceptable(tx: &Tx, room: Room, sender: User, pdu: &Pdu) -> Reply<()> {
    relate::read(tx, room, sender, &pdu.kind, pdu.content.get())?;
    match Change::read(pdu) {
        Some(change) => change.check(tx, room, sender, &pdu.sender),
        None => Ok(()),
    }
}

/// The event with what the room's policy server signed of it.
fn with_word(tx: &Tx, version: &RoomVersionId, server: &PolicyServer, pdu: &Pdu) -> Reply<Pdu> {
    match policy_server::own(tx, version, server, pdu)? {
        Word::Signed(pdu) => Ok(pdu),
        Word::Refused(why) => Err(why),
        Word::Awaited => Err(Tx::patience()),
    }
}

/// Takes in an event that was made some time ago: the room may have gone on since.
fn receive_own(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Appended> {
    match remote::receive(tx, room, pdu)? {
        Outcome::Accepted(event) | Outcome::Known(event) => {
            Ok(Appended { event, id: pdu.event_id.clone() })
        }
        Outcome::SoftFailed(_, rule) | Outcome::Rejected(_, rule) => Err(Error::forbidden(rule)),
        Outcome::Unsigned | Outcome::Missing(_) => {
            Err(Error::fault("an event of ours is not whole"))
        }
    }
}

/// An event of a user of this server, hashed, signed and allowed by the room's current state, and not in the room yet:
/// for what another server has to sign or see first. [`crate::remote::receive`] takes it in. The room's policy server, if it has
/// one, has signed it.
///
/// # Errors
/// As [`append`].
pub fn prepare(tx: &Tx, room: Room, new: New) -> Reply<Pdu> {
    let info = room::info(tx, room)?;
    let head = room::head(tx, room)?;
    let version = ground::version(&info)?;
    let id = room::id(tx, room)?;
    let pdu = signed(tx, &version, Some(id), &head, new, Manner::default())?;
    match policy_server::wanting(tx, room, head.state, &version, &pdu)? {
        Some(server) => with_word(tx, &version, &server, &pdu),
        None => Ok(pdu),
    }
}

/// Makes a room with its create event.
///
/// # Errors
/// As [`append`].
pub(crate) fn found(
    tx: &mut Tx,
    version: &RoomVersionId,
    id: Option<OwnedRoomId>,
    new: New,
    about: impl FnOnce(&Pdu, Event) -> RoomInfo,
) -> Reply<Room> {
    let room = Room(tx.fresh()?);
    let (sender, head) = (new.sender, Head::default());
    let mut pdu = signed(tx, version, id.clone(), &head, new.clone(), Manner::default())?;
    // A room that is named by its create event needs one that is like no other, and somebody may make two rooms at once.
    for later_ms in 1..=TWINS_MAX {
        if !tx.has(&ROOM_IDS, (pdu.room_id.to_string(),))? {
            break;
        }
        let sent_at = Some(UnixMs(tx.now().0.saturating_add(later_ms)));
        let manner = Manner { sent_at, ..Manner::default() };
        pdu = signed(tx, version, id.clone(), &head, new.clone(), manner)?;
    }
    if tx.has(&ROOM_IDS, (pdu.room_id.to_string(),))? {
        return Err(Error::fault("a room that is like too many others"));
    }
    let placed = append_accepted(tx, room, head, sender, &pdu)?;
    tx.put(&ROOM_IDS, (pdu.room_id.to_string(),), &room);
    tx.put_new(&ROOMS, (room,), &about(&pdu, placed.event));
    Ok(room)
}

/// Rooms that one user makes of the same content in the same millisecond.
const TWINS_MAX: u64 = 1_000;

/// Hashes, signs and authorises an event on the room's current state.
fn signed(
    tx: &Tx,
    version: &RoomVersionId,
    room_id: Option<OwnedRoomId>,
    head: &Head,
    new: New,
    manner: Manner,
) -> Reply<Pdu> {
    let sender = user::id(tx, new.sender)?;
    let state = Ground::new(tx, head.state);
    let mut auth_events = Vec::with_capacity(4);
    let state_key = new.state_key.as_deref();
    for (kind, key) in select_auth_events(version, &new.kind, &sender, state_key, &new.content) {
        if let Some(event) = state.find(kind, &key)? {
            auth_events.push(event.event_id.clone());
        }
    }
    let newest = head.extremities.iter().rev().take(PREV_EVENTS_MAX);
    let prev_events = newest.map(|event| ground::event_id(tx, *event)).collect::<Reply<_>>()?;
    let draft = Draft {
        room_id,
        sender,
        kind: new.kind,
        state_key: new.state_key,
        content: new.content,
        redacts: new.redacts,
        prev_events,
        auth_events,
        depth: head.depth + 1,
        origin_server_ts: manner.sent_at.unwrap_or(tx.now()).0,
    };
    let (server, key) = (tx.server_name(), tx.signing_key());
    let named = match &draft.room_id {
        Some(room) if event_ids_are_chosen(version) => {
            let named: Vec<_> = draft.prev_events.iter().chain(&draft.auth_events).collect();
            Some(chosen::name(tx, version, room, &named)?)
        }
        _ => None,
    };
    let pdu = draft.sign_sticky(version, server, key, named, manner.sticky_ms)?;
    let verdict = authorize(ground::rules(version)?, &state, &pdu);
    state.settle()?;
    match verdict {
        Verdict::Accept => Ok(pdu),
        Verdict::Reject(rule) => Err(Error::forbidden(rule.to_string())),
        Verdict::Missing(ids) => Err(Error::fault(format!("our own state misses {ids:?}"))),
    }
}

/// The current state event, if it says the same as this one.
fn current(tx: &Tx, head: &Head, pdu: &Pdu, sender: User) -> Reply<Option<Event>> {
    let Some(state_key) = &pdu.state_key else { return Ok(None) };
    let Some(there) = room::state(tx, head.state, &pdu.kind, state_key)? else { return Ok(None) };
    let same = there.row.sender == sender && there.content() == pdu.content.get();
    Ok(same.then_some(there.event))
}

/// Stores an accepted event with all its indexes, moves the room's head, and announces it.
fn append_accepted(
    tx: &mut Tx,
    room: Room,
    mut head: Head,
    sender: User,
    pdu: &Pdu,
) -> Reply<Appended> {
    let related = relate::read(tx, room, sender, &pdu.kind, pdu.content.get())?;
    let before = head.state;
    let event = record::number(tx)?;
    if let Some(key) = &pdu.state_key {
        head.state = state::set(tx, before, &pdu.kind, key, event)?;
        delayed_rows::overtake(tx, room, &pdu.kind, key, sender)?;
    }
    let mut target = None;
    if let Some(change) = Change::read(pdu) {
        change.check(tx, room, sender, &pdu.sender)?;
        let said = Said { event, sender, sender_id: &pdu.sender, content: pdu.content.get() };
        target = Some(member_rows::apply(tx, room, &mut head, Shown::Of(before), &change, &said)?);
    }
    let standing = Standing {
        pdu,
        sender,
        before,
        after: head.state,
        joined: head.joined,
        related: related.as_ref(),
        rejected: false,
    };
    record::keep(tx, room, event, false, &standing)?;
    // The event follows the newest of them all; older extremities beyond the limit stay.
    let left = head.extremities.len().saturating_sub(PREV_EVENTS_MAX);
    head.extremities.truncate(left);
    head.extremities.push(event);
    head.depth = pdu.depth;
    tx.put(&HEADS, (room,), &head);
    record::show(tx, room, event, &standing, target, None)?;
    Ok(Appended { event, id: pdu.event_id.clone() })
}

/// Content of our own making as JSON text.
pub(crate) fn raw(content: &impl Serialize) -> Reply<Box<RawValue>> {
    to_raw_value(content).map_err(|e| Error::fault(format!("own content: {e}")))
}

#[cfg(test)]
mod tests;
