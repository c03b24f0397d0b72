//! Power levels when a room is replaced: those of the new room, and those that silence the old one.

use base::{Reply, Room};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value, json};
use store::{View, room, schema::RoomInfo};

/// The level that makers of rooms have where power is a number.
const CREATOR_LEVEL: i64 = 100;
/// What moderators usually have.
const MODERATOR_LEVEL: i64 = 50;
const TOMBSTONE: &str = "m.room.tombstone";

/// The old room's power levels, integers all, as the new one can have them: creators are listed where they must be, and
/// are not where they must not.
pub(super) fn first(
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
    users.retain(|id, _| <&UserId>::try_from(id.as_str()).is_ok());
    if new.creators.is_empty() {
        for creator in old.creators.iter().map(String::as_str).chain([user.as_str()]) {
            let level = users.get(creator).and_then(Value::as_i64).unwrap_or(0);
            users.insert(creator.to_owned(), json!(level.max(CREATOR_LEVEL)));
        }
    } else {
        users.retain(|id, _| !new.creators.contains(id));
        let default =
            levels.get("state_default").and_then(Value::as_i64).unwrap_or(MODERATOR_LEVEL);
        let events = levels.entry("events").or_insert_with(empty);
        let close = events.get(TOMBSTONE).and_then(Value::as_i64);
        if close.is_none_or(|level| level <= default)
            && let Value::Object(events) = events
        {
            let level = json!(default.saturating_add(CREATOR_LEVEL));
            events.insert(TOMBSTONE.to_owned(), level);
        }
    }
    Ok(levels)
}

/// Of the old room's levels those by which only moderators go on writing and inviting; what needs more stays so.
pub(super) fn silenced(mut levels: Map<String, Value>) -> Map<String, Value> {
    let of = |levels: &Map<String, Value>, key: &str| levels.get(key).and_then(Value::as_i64);
    let default = of(&levels, "users_default").unwrap_or(0);
    let level = default.saturating_add(1).max(MODERATOR_LEVEL);
    for key in ["events_default", "invite"] {
        let level = of(&levels, key).unwrap_or(0).max(level);
        levels.insert(key.to_owned(), json!(level));
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_old_room_is_silenced_but_not_opened() {
        for (before, expected) in [
            (json!({}), json!({"events_default": 50, "invite": 50})),
            (json!({"users_default": 60}), json!({"events_default": 61, "invite": 61})),
            (
                json!({"events_default": 100, "invite": 3}),
                json!({"events_default": 100, "invite": 50}),
            ),
        ] {
            let after = silenced(object(before.clone()));
            for key in ["events_default", "invite"] {
                assert_eq!(after[key], expected[key], "{before}");
            }
        }
    }
}
