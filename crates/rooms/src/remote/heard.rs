//! Rooms that this server has only heard of, and what others tell of its users' memberships in them.

use base::{Error, Event, Reply, Room};
use protocol::{
    Pdu,
    auth::{StateEvent, authorize, creators, federates},
};
use ruma::{RoomId, RoomVersionId};
use serde::Deserialize;
use store::{
    Tx, event, log, room,
    schema::{HEADS, Head, JUDGED, ORDER, ROOM_IDS, ROOMS, RoomInfo},
    user,
};

use super::learn::keep;
use crate::{
    ground,
    member_rows::{self, Change, Said, Shown},
};

/// The number of a room that this server has only heard of (an invite, a join to come): made if it is new. With its create
/// event, what is known of the room is complete.
///
/// # Errors
/// 400 `M_UNSUPPORTED_ROOM_VERSION`; 400 `M_INVALID_PARAM` for a create event that is not this room's; faults.
pub fn know(
    tx: &mut Tx,
    id: &RoomId,
    version: &RoomVersionId,
    create: Option<&Pdu>,
) -> Reply<Room> {
    let rules = ground::rules(version).map_err(|_| {
        let text = format!("room version {version} is not supported");
        Error::refused(400, "M_UNSUPPORTED_ROOM_VERSION", text)
    })?;
    let found = room::find(tx, id)?;
    let room = match found {
        Some(room) => room,
        None => Room(tx.fresh()?),
    };
    let before = match found {
        Some(room) => {
            let info = room::info(tx, room)?;
            if info.version != version.as_str() {
                return Err(Error::invalid_param("the room is of another version"));
            }
            Some(info)
        }
        None => {
            tx.put(&ROOM_IDS, (id.as_str().to_owned(),), &room);
            tx.put(&HEADS, (room,), &Head::default());
            None
        }
    };
    let is_whole = before.as_ref().is_some_and(|info| info.create != Event(0));
    match create {
        Some(create) if !is_whole => {
            if !authorize(rules, &|_: &str, _: &str| None, create).is_accept()
                || create.kind != "m.room.create"
                || create.room_id != id
            {
                return Err(Error::invalid_param("the create event is not that of the room"));
            }
            // Its row names the room, whose row names it.
            tx.put(&ROOMS, (room,), &heard_of(id, version));
            let event = match event::find(tx, &create.event_id)? {
                Some(event) => event,
                None => keep(tx, room, create, false)?,
            };
            tx.put(&ROOMS, (room,), &about(id, version, create, event)?);
        }
        _ if before.is_none() => tx.put(&ROOMS, (room,), &heard_of(id, version)),
        _ => {}
    }
    Ok(room)
}

fn heard_of(id: &RoomId, version: &RoomVersionId) -> RoomInfo {
    RoomInfo {
        id: id.to_string(),
        version: version.to_string(),
        create: Event(0),
        federate: true,
        room_type: None,
        creators: Vec::new(),
    }
}

fn about(id: &RoomId, version: &RoomVersionId, create: &Pdu, event: Event) -> Reply<RoomInfo> {
    #[derive(Default, Deserialize)]
    struct Content {
        #[serde(rename = "type", default)]
        room_type: Option<String>,
    }
    let rules = ground::rules(version)?;
    let as_state = StateEvent::from(create);
    let privileged = protocol::version::room_id_is_create_id(version);
    let all = if privileged { creators(rules, &as_state) } else { Vec::new() };
    Ok(RoomInfo {
        create: event,
        federate: federates(&as_state),
        room_type: create.content_as::<Content>().unwrap_or_default().room_type,
        creators: all.iter().map(ToString::to_string).collect(),
        ..heard_of(id, version)
    })
}

/// Another server told of the membership of a user of this server in a room in which this server is not: an invite,
/// the end of one, the answer to a knock. `stripped`: what is shown of the room, a JSON array.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for what is no membership; faults.
pub fn told(tx: &mut Tx, room: Room, member: &Pdu, stripped: Option<String>) -> Reply<Event> {
    let not_a_member = || Error::invalid_param("this is no membership event");
    let change = Change::read(member).ok_or_else(not_a_member)?;
    let event = match event::find(tx, &member.event_id)? {
        Some(event) if tx.has(&ORDER, (event,))? || tx.has(&JUDGED, (event,))? => return Ok(event),
        Some(event) => event,
        None => {
            let event = crate::record::number(tx)?;
            keep_told(tx, room, event, member)?;
            event
        }
    };
    let sender = user::intern(tx, &member.sender)?;
    let mut head = room::head(tx, room)?;
    let said = Said { event, sender, sender_id: &member.sender, content: member.content.get() };
    let shown = Shown::Theirs(stripped);
    let target = member_rows::apply(tx, room, &mut head, shown, &change, &said)?;
    tx.put(&HEADS, (room,), &head);
    let at = tx.announce(log::Entry::State { room, target: Some(target) });
    // It has no place in a timeline, but those who ask when the membership changed are told this.
    tx.put_at(&ORDER, at, move |seq| ((event,), seq));
    Ok(event)
}

/// Stores a membership whose auth events are not here: nothing is ever judged by it.
fn keep_told(tx: &mut Tx, room: Room, event: Event, member: &Pdu) -> Reply<()> {
    let sender = user::intern(tx, &member.sender)?;
    crate::record::keep_bare(tx, room, event, member, sender)
}
