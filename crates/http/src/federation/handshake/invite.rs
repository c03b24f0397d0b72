//! `PUT /invite/{roomId}/{eventId}`, in both versions: a user of this server is invited elsewhere.

use std::borrow::Cow;

use base::{Error, Reply};
use http::Method;
use protocol::{
    Pdu,
    pdu::parse,
    version::{room_id_is_create_id, supported},
};
use rooms::handshake::{
    Expected, STATE_EVENTS_MAX,
    invite::{self, Invite},
    stripped,
};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{room, schema::Standing};

use super::submission::genuine;
use crate::{
    answer::Json,
    asked::Asked,
    federation::admission,
    handler::{Origin, Routes},
    outside::{Outside, lane},
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_server_flow(Method::PUT, &["/_matrix/federation/v2/invite/{roomId}/{eventId}"], second)
        .raw_server_flow(Method::PUT, &["/_matrix/federation/v1/invite/{roomId}/{eventId}"], first)
}

/// An invite as it arrived.
struct Arrived {
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    version: RoomVersionId,
    event: Box<RawValue>,
    shown: Vec<Box<RawValue>>,
}

async fn second(outside: Outside, origin: Origin, asked: Asked) -> Reply<Json> {
    #[derive(Deserialize)]
    struct Body {
        room_version: RoomVersionId,
        event: Box<RawValue>,
        #[serde(default)]
        invite_room_state: Vec<Box<RawValue>>,
    }
    let body: Body = asked.json()?;
    let (room_id, event_id) = ids(&asked)?;
    let arrived = Arrived {
        room_id,
        event_id,
        version: body.room_version,
        event: body.event,
        shown: body.invite_room_state,
    };
    let event = take(outside, origin, arrived).await?;
    Ok(format!(r#"{{"event":{event}}}"#).into())
}

/// The old form, which is for rooms of versions 1 and 2: the body is the event, and the answer has a number before it.
async fn first(outside: Outside, origin: Origin, asked: Asked) -> Reply<Json> {
    #[derive(Default, Deserialize)]
    struct Unsigned {
        #[serde(default)]
        invite_room_state: Vec<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        unsigned: Unsigned,
    }
    let body: Body = asked.json()?;
    let (room_id, event_id) = ids(&asked)?;
    let shown = body.unsigned.invite_room_state;
    let text = String::from_utf8(asked.body.to_vec())
        .map_err(|_| Error::refused(400, "M_NOT_JSON", "the body is not JSON"))?;
    let event = RawValue::from_string(text)
        .map_err(|_| Error::refused(400, "M_NOT_JSON", "the body is not JSON"))?;
    let version = old_version(&shown);
    let arrived = Arrived { room_id, event_id, version, event, shown };
    let event = take(outside, origin, arrived).await?;
    Ok(format!(r#"[200,{{"event":{event}}}]"#).into())
}

/// Version 2 if the create event says so, else 1.
fn old_version(shown: &[Box<RawValue>]) -> RoomVersionId {
    #[derive(Default, Deserialize)]
    struct Content {
        room_version: Option<String>,
    }
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: String,
        content: Content,
    }
    let mut events = shown.iter().filter_map(|raw| serde_json::from_str::<Event>(raw.get()).ok());
    let create = events.find(|event| event.kind == "m.room.create");
    match create.and_then(|create| create.content.room_version).as_deref() {
        Some("2") => RoomVersionId::V2,
        _ => RoomVersionId::V1,
    }
}

fn ids(asked: &Asked) -> Reply<(OwnedRoomId, OwnedEventId)> {
    let room = OwnedRoomId::try_from(asked.arg(0));
    let event = OwnedEventId::try_from(asked.arg(1));
    match (room, event) {
        (Ok(room), Ok(event)) => Ok((room, event)),
        _ => Err(Error::invalid_param("not the ids of a room and an event")),
    }
}

/// Checks, signs and takes the invite; returns the signed event.
async fn take(outside: Outside, origin: Origin, arrived: Arrived) -> Reply<String> {
    let Arrived { room_id, event_id, version, event, shown } = arrived;
    if !supported(&version) {
        let text = "This server does not know rooms of this version.";
        let no = Error::refusal(400, "M_INCOMPATIBLE_ROOM_VERSION", text);
        return Err(no.with("room_version", version.as_str()).into());
    }
    let expected = Expected {
        room: &room_id,
        event: &event_id,
        origin: &origin.server,
        standing: Standing::Invite,
    };
    let pdu = parse(&version, event.get())?;
    expected.check(&pdu)?;
    let (create, shown) = shown_of(&outside, &version, &pdu, shown).await?;
    let stripped = stripped(shown.iter().map(|raw| &**raw), Some(&pdu))?;
    let mut pdu = genuine(&outside, &version, pdu.to_federation(&version)).await?;
    let write = outside.store.write(Some(lane(room_id.as_str())), move |tx| {
        if let Some(room) = room::find(tx, &pdu.room_id)? {
            admission::check_acl(tx, room, &origin.server)?;
        }
        let (server, key) = (tx.server_name().to_owned(), tx.signing_key());
        pdu.sign_also(&version, &server, key)?;
        let invite =
            Invite { version: &version, pdu: &pdu, stripped: &stripped, create: create.as_ref() };
        invite::accept(tx, &invite)?;
        Ok(pdu.to_federation(&version))
    });
    Ok(write.await?.value)
}

/// What is shown of the room, and its create event if that is shown whole. Whole events must be of this room and have
/// their signatures; before version 12, those that are not so are only left out.
///
/// Since version 12 the specification wants whole events only. Most servers still show some or all of them stripped, and
/// their users are not to lose their invites: of those, only that there is a create event is asked.
///
/// # Errors
/// 400 `M_INVALID_PARAM` if that is not so, or there are too many.
async fn shown_of(
    outside: &Outside,
    version: &RoomVersionId,
    invite: &Pdu,
    shown: Vec<Box<RawValue>>,
) -> Reply<(Option<Pdu>, Vec<Box<RawValue>>)> {
    if shown.len() > STATE_EVENTS_MAX {
        return Err(Error::invalid_param("too much state is shown of the room"));
    }
    let strict = room_id_is_create_id(version);
    if strict && !shown.iter().any(|raw| is_create(raw)) {
        return Err(Error::invalid_param("the create event of the room is not shown"));
    }
    let (mut create, mut kept) = (None, Vec::with_capacity(shown.len()));
    let (whole, stripped): (Vec<_>, Vec<_>) =
        shown.into_iter().partition(|raw| parse(version, raw.get()).is_ok());
    let checked = outside.peers.check(version, whole.clone()).await?;
    for (raw, checked) in whole.into_iter().zip(checked) {
        match checked {
            Ok(pdu) if pdu.room_id == invite.room_id => {
                if pdu.kind == "m.room.create" {
                    create = Some(pdu);
                }
                kept.push(raw);
            }
            Ok(_) | Err(_) if !strict => {}
            Ok(_) => {
                return Err(Error::invalid_param("an event that is shown is of another room"));
            }
            Err(no) => return Err(Error::invalid_param(no.message)),
        }
    }
    kept.extend(stripped);
    Ok((create, kept))
}

fn is_create(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    serde_json::from_str::<Event<'_>>(raw.get()).is_ok_and(|event| event.kind == "m.room.create")
}
