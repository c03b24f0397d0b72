//! Replacing a room by one of another version (`POST /rooms/{roomId}/upgrade`; spec: Client-Server API, "Room Upgrades").

mod levels;

use base::{Error, Reply, Room, User};
use protocol::{
    encryption::{ENCRYPTION, usual},
    transfer,
    version::{room_id_is_create_id, supported},
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, RoomVersionId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{
    Tx, View, event, room,
    schema::{ALIASES, ALIASES_OF, PUBLISHED, RoomInfo, Standing},
    state::{self, Part, Root},
    user,
};

use crate::{New, append, create, directory, encryption, ground, membership};

const TOMBSTONE: &str = "m.room.tombstone";
const LEVELS: &str = "m.room.power_levels";
const CANONICAL: &str = "m.room.canonical_alias";
const CHILD: &str = "m.space.child";
/// What the new room takes over, in the order in which it is sent; power levels apart.
const TRANSFERRED: [&str; 8] = [
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    ENCRYPTION,
    "m.room.server_acl",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
];
/// Aliases that move; more would not be one transaction.
const ALIASES_MAX: usize = 10_000;
/// Bans that are taken over, and rooms of a space: each is an event to be signed.
const BANS_MAX: usize = 5_000;
const CHILDREN_MAX: usize = 5_000;

/// Makes the replacement, with the state and the bans of the old room, moves aliases and directory entry to it, and closes
/// the old room. What members keep for themselves follows when they join (see the follower `successor`).
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
    let levels = levels.unwrap_or_default();
    let first = levels::first(tx, &info, new, levels.clone(), &id)?;
    create::set(tx, new, user, LEVELS, &Value::Object(first))?;
    for kind in TRANSFERRED {
        if let Some(mut content) = content_of(tx, head.state, kind)? {
            if kind == "m.room.join_rules" {
                content = transfer::join_rules(version, content);
            }
            create::set(tx, new, user, kind, &Value::Object(content))?;
        }
    }
    if encryption::must_add_to(tx, old, &info, &head)? {
        create::set(tx, new, user, ENCRYPTION, &usual())?;
    }
    if info.room_type.as_deref() == Some("m.space") {
        carry_children(tx, head.state, new, user)?;
    }
    carry_bans(tx, old, new, user)?;
    move_names(tx, old, new)?;
    let canonical = content_of(tx, head.state, CANONICAL)?.filter(|content| !content.is_empty());
    if let Some(content) = &canonical {
        create::set(tx, new, user, CANONICAL, &json!(content))?;
    }
    let replacement = room::id(tx, new)?;
    let body = "This room has been replaced";
    let tombstone = json!({ "body": body, "replacement_room": replacement });
    create::set(tx, old, user, TOMBSTONE, &tombstone)?;
    if canonical.is_some() {
        // Its aliases lead elsewhere now.
        if_allowed(create::set(tx, old, user, CANONICAL, &json!({})))?;
    }
    if_allowed(create::set(tx, old, user, LEVELS, &json!(levels::silenced(levels))))?;
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
        directory::publish(tx, old, false);
        directory::publish(tx, new, true);
    }
    Ok(())
}

/// What the rules of the old room forbid the user is left undone there: the new room exists.
fn if_allowed(outcome: Reply<()>) -> Reply<()> {
    match outcome {
        Err(Error::Refused(_)) => Ok(()),
        other => other,
    }
}

/// Who is banned from the old room is banned from the new one.
fn carry_bans(tx: &mut Tx, old: Room, new: Room, user: User) -> Reply<()> {
    #[derive(Deserialize)]
    struct Content {
        reason: Option<String>,
    }
    let banned = room::members(tx, old)?.into_iter().filter(|(_, m)| m.standing == Standing::Ban);
    for (member, ban) in banned.take(BANS_MAX) {
        let id = user::id(tx, member)?;
        let content = event::load(tx, ban.event)?.content_as::<Content>();
        let reason = content.and_then(|content| content.reason);
        let content = membership::Content::new(Standing::Ban, reason.as_deref());
        if_allowed(membership::set(tx, new, user, &id, content).map(drop))?;
    }
    Ok(())
}

/// A space keeps the rooms that it holds.
fn carry_children(tx: &mut Tx, root: Root, new: Room, user: User) -> Reply<()> {
    for child in state::list(tx, root, Part::Only(CHILD))?.into_iter().take(CHILDREN_MAX) {
        let child = event::load(tx, child)?;
        let Some(state_key) = child.row.state_key.clone() else { continue };
        // One without `via` was taken out.
        let content: Map<String, Value> = child.content_as().unwrap_or_default();
        if !content.get("via").is_some_and(Value::is_array) {
            continue;
        }
        let new_child = New {
            sender: user,
            kind: CHILD.to_owned(),
            state_key: Some(state_key),
            content: append::raw(&content)?,
            redacts: None,
        };
        if_allowed(append::append(tx, new, new_child).map(drop))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
