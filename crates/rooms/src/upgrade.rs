//! Replacing a room by one of another version (`POST /rooms/{roomId}/upgrade`; spec: Client-Server API, "Room Upgrades").

use base::{Error, Reply, Room, User};
use protocol::{
    transfer,
    version::{room_id_is_create_id, supported},
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, RoomVersionId};
use serde_json::{Map, Value, json};
use store::{
    Tx, View, room,
    schema::{ALIASES, ALIASES_OF, PUBLISHED, RoomInfo},
    state::Root,
    user,
};

use crate::{create, ground};

const TOMBSTONE: &str = "m.room.tombstone";
const LEVELS: &str = "m.room.power_levels";
/// What the new room takes over, in the order in which it is sent; power levels apart.
const TRANSFERRED: [&str; 8] = [
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
];
/// Aliases that move; more would not be one transaction.
const ALIASES_MAX: usize = 10_000;

/// Makes the replacement, moves aliases and directory entry to it, and closes the old room.
///
/// # Errors
/// 400 `M_UNSUPPORTED_ROOM_VERSION`; 403 `M_FORBIDDEN` for who may not send `m.room.tombstone`.
pub fn upgrade(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    version: &RoomVersionId,
    additional_creators: &[OwnedUserId],
) -> Reply<OwnedRoomId> {
    if !supported(version) {
        let text = format!("room version {version} is not supported");
        return Err(Error::refused(400, "M_UNSUPPORTED_ROOM_VERSION", text));
    }
    let old = crate::room_of(tx, room_id)?;
    let (info, head) = (room::info(tx, old)?, room::head(tx, old)?);
    let id = user::id(tx, user)?;
    let power = ground::power(tx, &info, head.state)?;
    if !room::is_joined(tx, old, user)? || !power.may_send(&id, TOMBSTONE, true) {
        return Err(Error::forbidden("you may not close this room"));
    }
    let last = head.extremities.last().copied().unwrap_or(info.create);
    let mut predecessor = json!({ "room_id": room_id });
    if !room_id_is_create_id(version) {
        set_in(&mut predecessor, "event_id", json!(ground::event_id(tx, last)?));
    }
    let content =
        creation_content(tx, &info, head.state, version, additional_creators, predecessor)?;
    let new = create::found(tx, user, version, content)?;
    create::enter(tx, new, user, &id)?;
    let levels = content_of(tx, head.state, LEVELS)?.map(transfer::power_levels);
    let first = first_levels(tx, &info, new, levels.clone().unwrap_or_default(), &id)?;
    create::set(tx, new, user, LEVELS, &Value::Object(first))?;
    for kind in TRANSFERRED {
        if let Some(mut content) = content_of(tx, head.state, kind)? {
            if kind == "m.room.join_rules" {
                content = transfer::join_rules(version, content);
            }
            create::set(tx, new, user, kind, &Value::Object(content))?;
        }
    }
    move_names(tx, old, new)?;
    if let Some(content) = content_of(tx, head.state, "m.room.canonical_alias")? {
        create::set(tx, new, user, "m.room.canonical_alias", &Value::Object(content))?;
    }
    let replacement = room::id(tx, new)?;
    let body = "This room has been replaced";
    let tombstone = json!({ "body": body, "replacement_room": replacement });
    create::set(tx, old, user, TOMBSTONE, &tombstone)?;
    silence(tx, old, user, levels.unwrap_or_default())?;
    Ok(replacement)
}

fn set_in(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

/// The content of a piece of state with an empty state key.
fn content_of(view: &View, root: Root, kind: &str) -> Reply<Option<Map<String, Value>>> {
    Ok(room::state(view, root, kind, "")?.and_then(|event| event.content_as()))
}

fn creation_content(
    view: &View,
    info: &RoomInfo,
    root: Root,
    version: &RoomVersionId,
    additional_creators: &[OwnedUserId],
    predecessor: Value,
) -> Reply<Map<String, Value>> {
    let rules = ground::rules(version)?;
    let mut content = Map::new();
    content.insert("room_version".to_owned(), json!(version));
    content.insert("predecessor".to_owned(), predecessor);
    let old = content_of(view, root, "m.room.create")?.unwrap_or_default();
    if let Some(room_type) = old.get("type") {
        content.insert("type".to_owned(), room_type.clone());
    }
    if !info.federate {
        content.insert("m.federate".to_owned(), json!(false));
    }
    if rules.additional_room_creators && !additional_creators.is_empty() {
        content.insert("additional_creators".to_owned(), json!(additional_creators));
    }
    Ok(content)
}

/// The old room's power levels as the new one can have them: creators are listed where they must be, and are not where
/// they must not.
fn first_levels(
    view: &View,
    old: &RoomInfo,
    new: Room,
    mut levels: Map<String, Value>,
    user: &OwnedUserId,
) -> Reply<Map<String, Value>> {
    let new = room::info(view, new)?;
    let empty = || Value::Object(Map::new());
    let listed = levels.entry("users").or_insert_with(empty);
    if !listed.is_object() {
        *listed = empty();
    }
    let Value::Object(users) = listed else { return Ok(levels) };
    if new.creators.is_empty() {
        for creator in old.creators.iter().map(String::as_str).chain([user.as_str()]) {
            let level = users.get(creator).and_then(Value::as_i64).unwrap_or(0);
            users.insert(creator.to_owned(), json!(level.max(CREATOR_LEVEL)));
        }
    } else {
        users.retain(|id, _| !new.creators.contains(id));
        let default = levels.get("state_default").and_then(Value::as_i64).unwrap_or(50);
        let events = levels.entry("events").or_insert_with(empty);
        let close = events.get(TOMBSTONE).and_then(Value::as_i64);
        if close.is_none_or(|level| level <= default) {
            set_in(events, TOMBSTONE, json!(default.saturating_add(CREATOR_LEVEL)));
        }
    }
    Ok(levels)
}

/// The level that makers of rooms have where power is a number.
const CREATOR_LEVEL: i64 = 100;

/// Aliases and the place in the directory go with the new room.
fn move_names(tx: &mut Tx, old: Room, new: Room) -> Reply<()> {
    let rows: Vec<((Room, String), ())> = tx.under(&ALIASES_OF, (old,), ALIASES_MAX)?;
    for ((_, alias), ()) in rows {
        if let Some(mut row) = tx.get(&ALIASES, (alias.clone(),))? {
            row.room = new;
            tx.put(&ALIASES, (alias.clone(),), &row);
        }
        tx.delete(&ALIASES_OF, (old, alias.clone()));
        tx.put(&ALIASES_OF, (new, alias), &());
    }
    if tx.has(&PUBLISHED, (old,))? {
        tx.delete(&PUBLISHED, (old,));
        tx.put(&PUBLISHED, (new,), &());
    }
    Ok(())
}

/// In the old room only moderators go on writing, if the user may set its levels.
fn silence(tx: &mut Tx, old: Room, user: User, mut levels: Map<String, Value>) -> Reply<()> {
    let default = levels.get("users_default").and_then(Value::as_i64).unwrap_or(0);
    let level = default.saturating_add(1).max(50);
    for key in ["events_default", "invite"] {
        levels.insert(key.to_owned(), json!(level));
    }
    match create::set(tx, old, user, LEVELS, &Value::Object(levels)) {
        Err(Error::Refused(_)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
