//! Reading an event that another server made (spec: Server-Server API, "Checks performed on receipt
//! of a PDU", 1: a valid event with the fields of its room version).

use base::{Error, Reply};
use ruma::room_version_rules::RoomVersionRules;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId,
};

use super::draft::check_size;
use super::{
    AUTH_EVENTS_MAX, PREV_EVENTS_MAX, Pdu, check_field, event_id_of, is_unnamed_create,
    protected_text, raw, redact, room_of_create, rules_of,
};
use crate::json;

/// Reads an event in federation format and computes its id. Hash and signatures are not checked
/// here.
///
/// A version 12 create event that wrongly has a `room_id` keeps it in `extra`, where authorisation
/// finds it (rule 1.2).
///
/// # Errors
/// 400 `M_BAD_JSON` if it is not a canonical JSON object with the fields of the format, 413
/// `M_TOO_LARGE` if it is over the limits, 400 `M_UNSUPPORTED_ROOM_VERSION`.
pub fn parse(version: &RoomVersionId, text: &str) -> Reply<Pdu> {
    let rules = rules_of(version)?;
    let mut object = json::canonical_object(text)?;
    object.remove("unsigned");
    let kind = string(&mut object, "type")?;
    let mut content = take_object(&mut object, "content")?;
    let unnamed = is_unnamed_create(version, &kind);
    let room_id = match unnamed {
        true => None,
        false => Some(id::<OwnedRoomId>(string(&mut object, "room_id")?)?),
    };
    let mut pdu = Pdu {
        event_id: placeholder("$unread")?,
        room_id: room_id.map_or_else(|| placeholder("!unread"), Ok)?,
        sender: id::<OwnedUserId>(string(&mut object, "sender")?)?,
        state_key: match object.contains_key("state_key") {
            true => Some(string(&mut object, "state_key")?),
            false => None,
        },
        origin_server_ts: unsigned_integer(&mut object, "origin_server_ts")?,
        depth: unsigned_integer(&mut object, "depth")?,
        prev_events: ids(&mut object, "prev_events", PREV_EVENTS_MAX)?,
        auth_events: ids(&mut object, "auth_events", AUTH_EVENTS_MAX)?,
        redacts: target(rules, &kind, &object, &content),
        hashes: json::canonical_text(&take_object(&mut object, "hashes")?),
        signatures: json::canonical_text(&take_object(&mut object, "signatures")?),
        content: raw(json::canonical_text(&content))?,
        kind,
        extra: object.into_iter().map(|(key, value)| (key, value.to_string())).collect(),
    };
    let fields = pdu.fields(version);
    check_size(&fields)?;
    redact::redact_content(rules, &pdu.kind, &mut content);
    let protected = protected_text(rules, &fields, &json::canonical_text(&content));
    pdu.event_id = event_id_of(rules, &protected)?;
    if unnamed {
        pdu.room_id = room_of_create(&pdu.event_id)?;
    }
    Ok(pdu)
}

/// What a redaction redacts, if it says so in a way that can be read.
fn target(
    rules: &RoomVersionRules,
    kind: &str,
    object: &CanonicalJsonObject,
    content: &CanonicalJsonObject,
) -> Option<OwnedEventId> {
    let place = if rules.redaction.content_field_redacts { content } else { object };
    let value = place.get("redacts").filter(|_| kind == "m.room.redaction")?.as_str()?;
    OwnedEventId::try_from(value).ok()
}

fn missing(field: &str) -> Error {
    Error::bad_json(format!("`{field}` is missing or has another type"))
}

fn string(object: &mut CanonicalJsonObject, field: &'static str) -> Reply<String> {
    let Some(CanonicalJsonValue::String(value)) = object.remove(field) else {
        return Err(missing(field));
    };
    check_field(field, &value)?;
    Ok(value)
}

fn take_object(object: &mut CanonicalJsonObject, field: &str) -> Reply<CanonicalJsonObject> {
    match object.remove(field) {
        Some(CanonicalJsonValue::Object(value)) => Ok(value),
        _ => Err(missing(field)),
    }
}

fn unsigned_integer(object: &mut CanonicalJsonObject, field: &str) -> Reply<u64> {
    let value = object.remove(field).and_then(|value| value.as_integer());
    value.and_then(|value| u64::try_from(i64::from(value)).ok()).ok_or_else(|| missing(field))
}

fn ids(object: &mut CanonicalJsonObject, field: &str, most: usize) -> Reply<Vec<OwnedEventId>> {
    let Some(CanonicalJsonValue::Array(values)) = object.remove(field) else {
        return Err(missing(field));
    };
    if values.len() > most {
        return Err(Error::bad_json(format!("`{field}` has more than {most} entries")));
    }
    values
        .into_iter()
        .map(|value| match value {
            CanonicalJsonValue::String(text) => id(text),
            _ => Err(missing(field)),
        })
        .collect()
}

fn id<T: TryFrom<String>>(text: String) -> Reply<T> {
    T::try_from(text).map_err(|_| Error::bad_json("not a valid identifier"))
}

fn placeholder<T: TryFrom<String>>(text: &str) -> Reply<T> {
    T::try_from(text.to_owned()).map_err(|_| Error::fault("placeholder id"))
}
