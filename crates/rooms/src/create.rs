//! Making a room (`POST /createRoom`): its first events, in the order of the spec, in one transaction.

use base::{Error, Reply, Room, User};
use protocol::{
    auth::{StateEvent, creators, federates},
    encryption::{ENCRYPTION, usual},
    room::{power_levels, preset_of, preset_state, protect_tombstone},
    version::{room_id_is_create_id, supported},
};
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomVersionId, ServerName,
    api::client::room::{
        Visibility,
        create_room::v3::{Request, RoomPreset},
    },
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use store::{
    Tx, room,
    schema::{RoomInfo, Standing},
    user,
};

use crate::{
    New, alias, append, chosen, directory, encryption, ground, invite,
    member_rows::check_invitee,
    membership::{self, Content},
};

/// Makes a room.
///
/// # Errors
/// 400 `M_UNSUPPORTED_ROOM_VERSION`, `M_ROOM_IN_USE` for a taken alias, `M_INVALID_ROOM_STATE` if the rules forbid one of
/// the room's own first events, `M_BAD_JSON`; for invites what [`invite`](crate::invite::invite) refuses.
/// Users of other servers are not invited here, but when the room is there ([`crate::invite::prepare`]).
pub fn create(
    tx: &mut Tx,
    user: User,
    default_version: &RoomVersionId,
    request: &Request,
) -> Reply<OwnedRoomId> {
    let version = request.room_version.as_ref().unwrap_or(default_version);
    if !supported(version) {
        let text = format!("room version {version} is not supported");
        return Err(Error::refused(400, "M_UNSUPPORTED_ROOM_VERSION", text));
    }
    if !request.invite_3pid.is_empty() {
        let text = "invites by email or phone number need an identity server, which there is none";
        return Err(Error::refused(403, "M_THREEPID_DENIED", text));
    }
    for invitee in request.invite.iter().filter(|id| user::is_local(tx, id)) {
        check_invitee(tx, user, invitee)?;
    }
    let alias = wanted_alias(tx.server_name(), request)?;
    use RoomPreset::{PrivateChat, PublicChat, TrustedPrivateChat};
    if !matches!(request.preset, None | Some(PrivateChat | PublicChat | TrustedPrivateChat)) {
        return Err(Error::invalid_param("there is no such preset"));
    }
    let preset = request.preset.clone().unwrap_or_else(|| preset_of(&request.visibility));
    let creator = user::id(tx, user)?;
    let content = creation_content(request, version, &preset, &creator)?;
    let room = found(tx, user, version, content)?;
    fill(tx, room, user, version, &preset, alias, request).map_err(as_invalid_state)?;
    if request.visibility == Visibility::Public {
        directory::publish(tx, room, true);
    }
    room::id(tx, room)
}

/// What the rules forbid in a new room is a fault of the request's, not a missing permission.
fn as_invalid_state(error: Error) -> Error {
    match error {
        Error::Refused(refusal) if refusal.errcode == "M_FORBIDDEN" => {
            Error::refused(400, "M_INVALID_ROOM_STATE", refusal.message)
        }
        other => other,
    }
}

fn wanted_alias(server: &ServerName, request: &Request) -> Reply<Option<OwnedRoomAliasId>> {
    let Some(name) = &request.room_alias_name else { return Ok(None) };
    let bad = || Error::invalid_param("room_alias_name is not the local part of an alias");
    if name.is_empty() || name.contains([':', '\0']) || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    let alias = OwnedRoomAliasId::try_from(format!("#{name}:{server}")).map_err(|_| bad())?;
    Ok(Some(alias))
}

fn object<T>(what: &str, raw: &Option<Raw<T>>) -> Reply<Map<String, Value>> {
    let Some(raw) = raw else { return Ok(Map::new()) };
    serde_json::from_str(raw.json().get())
        .map_err(|_| Error::bad_json(format!("{what} is not an object")))
}

fn creation_content(
    request: &Request,
    version: &RoomVersionId,
    preset: &RoomPreset,
    creator: &OwnedUserId,
) -> Reply<Map<String, Value>> {
    let mut content = object("creation_content", &request.creation_content)?;
    content.remove("creator");
    content.insert("room_version".to_owned(), json!(version));
    if room_id_is_create_id(version) && *preset == RoomPreset::TrustedPrivateChat {
        let more = content.remove("additional_creators").unwrap_or_else(|| json!([]));
        let more: Vec<OwnedUserId> = serde_json::from_value(more)
            .map_err(|_| Error::bad_json("additional_creators is not a list of user ids"))?;
        let mut all: Vec<OwnedUserId> = Vec::new();
        for id in more.into_iter().chain(request.invite.iter().cloned()) {
            if id != *creator && !all.contains(&id) {
                all.push(id);
            }
        }
        if !all.is_empty() {
            content.insert("additional_creators".to_owned(), json!(all));
        }
    }
    Ok(content)
}

/// The create event.
pub(crate) fn found(
    tx: &mut Tx,
    user: User,
    version: &RoomVersionId,
    mut content: Map<String, Value>,
) -> Reply<Room> {
    let named_by_event = room_id_is_create_id(version);
    let rules = ground::rules(version)?;
    if !rules.use_room_create_sender {
        content.insert("creator".to_owned(), json!(user::id(tx, user)?));
    }
    let id = if named_by_event { None } else { Some(random_id(tx)?) };
    let room_type = content.get("type").and_then(Value::as_str).map(str::to_owned);
    let new = New {
        sender: user,
        kind: "m.room.create".to_owned(),
        state_key: Some(String::new()),
        content: append::raw(&content)?,
        redacts: None,
    };
    let about = |pdu: &protocol::Pdu, create| {
        let event = StateEvent::from(pdu);
        let all = if named_by_event { creators(rules, &event) } else { Vec::new() };
        RoomInfo {
            id: pdu.room_id.to_string(),
            version: version.to_string(),
            create,
            federate: federates(&event),
            room_type,
            creators: all.iter().map(ToString::to_string).collect(),
        }
    };
    append::found(tx, version, id, new, about).map_err(as_invalid_state)
}

fn random_id(tx: &Tx) -> Reply<OwnedRoomId> {
    let id = OwnedRoomId::try_from(format!("!{}:{}", chosen::opaque(tx), tx.server_name()));
    id.map_err(|e| Error::fault(format!("own room id: {e}")))
}

/// Everything after the create event.
fn fill(
    tx: &mut Tx,
    room: Room,
    user: User,
    version: &RoomVersionId,
    preset: &RoomPreset,
    alias: Option<OwnedRoomAliasId>,
    request: &Request,
) -> Reply<()> {
    let creator = user::id(tx, user)?;
    enter(tx, room, user, &creator)?;
    let mut levels = power_levels(version, preset, &creator, &request.invite);
    levels.extend(object("power_level_content_override", &request.power_level_content_override)?);
    protect_tombstone(version, &mut levels);
    set(tx, room, user, "m.room.power_levels", &Value::Object(levels))?;
    if let Some(alias) = alias {
        alias::check_ours(tx, &alias)?;
        alias::claim(tx, user, &alias, room, (400, "M_ROOM_IN_USE"))?;
        set(tx, room, user, "m.room.canonical_alias", &json!({ "alias": alias }))?;
    }
    let mut initial = initial_state(request)?;
    for (kind, content) in preset_state(preset) {
        // What `initial_state` says takes precedence, so this would be replaced at once.
        if !initial.iter().any(|event| event.kind == kind && event.state_key.is_empty()) {
            set(tx, room, user, kind, &content)?;
        }
    }
    if must_encrypt(tx, room, preset, request, &initial)? {
        initial.retain(|event| event.kind != ENCRYPTION || !event.state_key.is_empty());
        set(tx, room, user, ENCRYPTION, &usual())?;
    }
    for event in initial {
        if event.kind == "m.room.canonical_alias" && event.state_key.is_empty() {
            alias::check_canonical(tx, room, event.content.get())?;
        }
        let state_key = Some(event.state_key);
        let (kind, content) = (event.kind, event.content);
        append::append(tx, room, New { sender: user, kind, state_key, content, redacts: None })?;
    }
    if let Some(name) = &request.name {
        set(tx, room, user, "m.room.name", &json!({ "name": name }))?;
    }
    if let Some(topic) = &request.topic {
        let text = json!([{ "body": topic, "mimetype": "text/plain" }]);
        let content = json!({ "topic": topic, "m.topic": { "m.text": text } });
        set(tx, room, user, "m.room.topic", &content)?;
    }
    // Those of other servers are invited when the room is there.
    let here = |id: &&OwnedUserId| **id != creator && user::is_local(tx, id);
    let invitees: Vec<_> = request.invite.iter().filter(here).collect();
    for invitee in invitees {
        invite::send(tx, user, room, invitee, None, request.is_direct)?;
    }
    Ok(())
}

/// Does the operator require that the server encrypts the room, as its creator does not?
fn must_encrypt(
    tx: &Tx,
    room: Room,
    preset: &RoomPreset,
    request: &Request,
    initial: &[Initial],
) -> Reply<bool> {
    let first = |kind: &str| {
        let found = initial.iter().rfind(|event| event.kind == kind && event.state_key.is_empty());
        found.map(|event| &*event.content)
    };
    let open = match first("m.room.join_rules") {
        Some(content) => {
            let content: Map<String, Value> =
                serde_json::from_str(content.get()).unwrap_or_default();
            content.get("join_rule").and_then(Value::as_str) == Some("public")
        }
        None => *preset == RoomPreset::PublicChat,
    };
    let public = open || request.visibility == Visibility::Public;
    let info = room::info(tx, room)?;
    encryption::must_add(tx, public, info.room_type.as_deref(), first(ENCRYPTION))
}

/// The creator's own join.
pub(crate) fn enter(tx: &mut Tx, room: Room, user: User, id: &OwnedUserId) -> Reply<()> {
    let content = Content::new(Standing::Join, None).with_profile(tx, user)?;
    membership::set(tx, room, user, id, content).map(drop)
}

/// State of our own making, with an empty state key.
pub(crate) fn set(tx: &mut Tx, room: Room, user: User, kind: &str, content: &Value) -> Reply<()> {
    let new = New {
        sender: user,
        kind: kind.to_owned(),
        state_key: Some(String::new()),
        content: append::raw(content)?,
        redacts: None,
    };
    append::append(tx, room, new).map(drop)
}

#[derive(Deserialize)]
struct Initial {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    state_key: String,
    content: Box<RawValue>,
}

/// The events of `initial_state` that neither `name` nor `topic` override.
fn initial_state(request: &Request) -> Reply<Vec<Initial>> {
    let mut events = Vec::with_capacity(request.initial_state.len());
    for raw in &request.initial_state {
        let event: Initial = serde_json::from_str(raw.json().get())
            .map_err(|e| Error::bad_json(format!("initial_state: {e}")))?;
        let overridden = event.state_key.is_empty()
            && match event.kind.as_str() {
                "m.room.name" => request.name.is_some(),
                "m.room.topic" => request.topic.is_some(),
                _ => false,
            };
        if !overridden {
            events.push(event);
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests;
