//! Reading an event that another server made (spec: Server-Server API, "Checks performed on receipt
//! of a PDU", 1: a valid event with the fields of its room version).

use std::collections::BTreeMap;

use base::{Error, Reply};
use ruma::room_version_rules::RoomVersionRules;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::draft::check_size;
use super::redact::{parts, redact_content};
use super::{
    AUTH_EVENTS_MAX, INT64_MAX, PREV_EVENTS_MAX, Pdu, check_field, depth_max, event_id_of,
    is_unnamed_create, protected_text, raw, room_of_create, rules_of,
};
use crate::json;
use crate::version::event_ids_are_chosen;

/// The top level of an event that is being read: what is taken out of it is not `extra`.
type Object<'a> = BTreeMap<String, &'a RawValue>;

/// Reads an event in federation format and computes its id, or in versions 1 and 2 takes the one it
/// has. Hash and signatures are not checked here.
///
/// A version 12 create event that wrongly has a `room_id` keeps it in `extra`, where authorisation
/// finds it (rule 1.2).
///
/// # Errors
/// 400 `M_BAD_JSON` if it is not a JSON object with the fields of the format, or since version 6 not
/// canonical JSON; 413 `M_TOO_LARGE` if it is over the limits, 400 `M_UNSUPPORTED_ROOM_VERSION`.
pub fn parse(version: &RoomVersionId, text: &str) -> Reply<Pdu> {
    let rules = rules_of(version)?;
    let text = json::canonical(text, rules.authorization.strict_canonical_json)?;
    let mut object = parts(&text)?;
    object.remove("unsigned");
    let kind = string(&mut object, "type")?;
    let content = take_object(&mut object, "content")?;
    let unnamed = is_unnamed_create(version, &kind);
    let room_id = match unnamed {
        true => None,
        false => Some(id::<OwnedRoomId>(string(&mut object, "room_id")?)?),
    };
    let chosen = event_ids_are_chosen(version);
    let mut pdu = Pdu {
        event_id: if chosen { chosen_id(&mut object)? } else { placeholder("$unread")? },
        room_id: room_id.map_or_else(|| placeholder("!unread"), Ok)?,
        sender: id::<OwnedUserId>(string(&mut object, "sender")?)?,
        state_key: match object.contains_key("state_key") {
            true => Some(string(&mut object, "state_key")?),
            false => None,
        },
        origin_server_ts: unsigned_integer(&mut object, "origin_server_ts", INT64_MAX)?,
        depth: unsigned_integer(&mut object, "depth", depth_max(rules))?,
        prev_events: references(&mut object, "prev_events", chosen, PREV_EVENTS_MAX)?,
        auth_events: references(&mut object, "auth_events", chosen, AUTH_EVENTS_MAX)?,
        redacts: target(rules, &kind, &object, content)?,
        hashes: take_object(&mut object, "hashes")?.to_owned(),
        signatures: take_object(&mut object, "signatures")?.to_owned(),
        content: raw(content.to_owned())?,
        kind,
        extra: object.into_iter().map(|(key, value)| (key, value.get().to_owned())).collect(),
    };
    let fields = pdu.fields(version);
    check_size(&fields)?;
    if !chosen {
        let content = redact_content(&rules.redaction, &pdu.kind, pdu.content.get())?;
        pdu.event_id = event_id_of(rules, &protected_text(rules, &fields, &content))?;
    }
    if unnamed {
        pdu.room_id = room_of_create(&pdu.event_id)?;
    }
    Ok(pdu)
}

/// What a redaction redacts, if it says so in a way that can be read.
fn target(
    rules: &RoomVersionRules,
    kind: &str,
    object: &Object<'_>,
    content: &str,
) -> Reply<Option<OwnedEventId>> {
    if kind != "m.room.redaction" {
        return Ok(None);
    }
    let within = parts(content)?;
    let place = if rules.redaction.content_field_redacts { &within } else { object };
    let value = place.get("redacts").map(|value| value.get()).unwrap_or_default();
    let value: Option<String> = serde_json::from_str(value).ok();
    Ok(value.and_then(|id| OwnedEventId::try_from(id).ok()))
}

fn missing(field: &str) -> Error {
    Error::bad_json(format!("`{field}` is missing or has another type"))
}

fn string(object: &mut Object<'_>, field: &'static str) -> Reply<String> {
    let value = object.remove(field).and_then(|value| serde_json::from_str(value.get()).ok());
    let value: String = value.ok_or_else(|| missing(field))?;
    check_field(field, &value)?;
    Ok(value)
}

fn take_object<'a>(object: &mut Object<'a>, field: &str) -> Reply<&'a str> {
    let value = object.remove(field).map(RawValue::get);
    value.filter(|text| json::is_object(text.as_bytes())).ok_or_else(|| missing(field))
}

fn unsigned_integer(object: &mut Object<'_>, field: &str, most: u64) -> Reply<u64> {
    let value: Option<u64> =
        object.remove(field).and_then(|value| serde_json::from_str(value.get()).ok());
    value.filter(|value| *value <= most).ok_or_else(|| missing(field))
}

/// The id that the event has by its server's choice.
fn chosen_id(object: &mut Object<'_>) -> Reply<OwnedEventId> {
    let id: OwnedEventId = id(string(object, "event_id")?)?;
    if id.server_name().is_none() {
        return Err(Error::bad_json("`event_id` has no server name"));
    }
    Ok(id)
}

/// The events that the event names. Where it names them with their hashes, the field stays in the
/// object as it is, because the hashes are signed too.
fn references(
    object: &mut Object<'_>,
    field: &str,
    with_hashes: bool,
    most: usize,
) -> Reply<Vec<OwnedEventId>> {
    let text = object.get(field).map(|value| value.get()).ok_or_else(|| missing(field))?;
    let ids: Vec<String> = if with_hashes {
        type Pair = (String, BTreeMap<String, IgnoredAny>);
        let pairs: Vec<Pair> = serde_json::from_str(text).map_err(|_| missing(field))?;
        pairs.into_iter().map(|(id, _)| id).collect()
    } else {
        object.remove(field);
        serde_json::from_str(text).map_err(|_| missing(field))?
    };
    if ids.len() > most {
        return Err(Error::bad_json(format!("`{field}` has more than {most} entries")));
    }
    ids.into_iter().map(id).collect()
}

fn id<T: TryFrom<String>>(text: String) -> Reply<T> {
    T::try_from(text).map_err(|_| Error::bad_json("not a valid identifier"))
}

fn placeholder<T: TryFrom<String>>(text: &str) -> Reply<T> {
    T::try_from(text.to_owned()).map_err(|_| Error::fault("placeholder id"))
}
