//! Summaries of rooms that this server is not in, as other servers give them.

use base::{Reply, User};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Map, Value};
use store::{View, room, schema::Standing};

/// Properties of the spec's `RoomSummary` that are text.
const TEXTS: [&str; 8] = [
    "avatar_url",
    "canonical_alias",
    "encryption",
    "join_rule",
    "name",
    "room_type",
    "room_version",
    "topic",
];
/// Those that are flags.
const FLAGS: [&str; 2] = ["guest_can_join", "world_readable"];
/// Rooms of a restricted room's conditions that are heeded.
const ALLOWED_MAX: usize = 100;

/// What a summary says that is of the right type; `None` if it is none.
pub(crate) fn read(value: Value) -> Option<(OwnedRoomId, Map<String, Value>)> {
    let Value::Object(mut said) = value else { return None };
    let id = OwnedRoomId::try_from(said.get("room_id")?.as_str()?).ok()?;
    let mut summary = Map::new();
    summary.insert("room_id".to_owned(), id.as_str().into());
    for key in TEXTS {
        if let Some(text) = said.remove(key).filter(Value::is_string) {
            summary.insert(key.to_owned(), text);
        }
    }
    for key in FLAGS {
        summary.insert(key.to_owned(), (said.get(key) == Some(&Value::Bool(true))).into());
    }
    let count = said.get("num_joined_members").and_then(Value::as_u64).unwrap_or(0);
    summary.insert("num_joined_members".to_owned(), count.into());
    if let Some(Value::Array(rooms)) = said.remove("allowed_room_ids") {
        let rooms = rooms.into_iter().filter(Value::is_string).take(ALLOWED_MAX);
        summary.insert("allowed_room_ids".to_owned(), rooms.collect());
    }
    Some((id, summary))
}

/// May a user of this server be told what another server says of a room? It told this *server*, and any of its users might
/// be meant (spec: Server-Server API, `GET /hierarchy/{roomId}`: "the requesting server is responsible for filtering").
pub(crate) fn may_see(
    view: &View,
    user: User,
    id: &RoomId,
    summary: &Map<String, Value>,
) -> Reply<bool> {
    if summary.get("world_readable") == Some(&Value::Bool(true)) {
        return Ok(true);
    }
    if let Some(room) = room::find(view, id)? {
        match room::membership(view, user, room)?.map(|mine| mine.standing) {
            Some(Standing::Join | Standing::Invite) => return Ok(true),
            Some(Standing::Ban) => return Ok(false),
            _ => {}
        }
    }
    match summary.get("join_rule").and_then(Value::as_str) {
        // Without the property, the rule is `public` (spec).
        None | Some("public" | "knock" | "knock_restricted") => return Ok(true),
        Some("restricted") => {}
        Some(_) => return Ok(false),
    }
    let Some(Value::Array(allowed)) = summary.get("allowed_room_ids") else { return Ok(false) };
    for allowed in allowed.iter().filter_map(Value::as_str) {
        let Ok(allowed) = <&RoomId>::try_from(allowed) else { continue };
        if let Some(allowed) = room::find(view, allowed)?
            && room::is_joined(view, allowed, user)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::World;

    #[test]
    fn a_user_is_told_of_rooms_that_are_open_to_them() {
        let world = World::new();
        let (alice, eve) = (world.user("alice"), world.user("eve"));
        let room = world.public(alice);
        let sees = |user, more: Value| {
            let mut said = json!({"room_id": "!far:away", "num_joined_members": 1});
            said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let (id, summary) = read(said).unwrap();
            world.read(|view| may_see(view, user, &id, &summary)).unwrap()
        };
        for rule in [json!({}), json!({"join_rule": "public"}), json!({"join_rule": "knock"})] {
            assert!(sees(eve, rule));
        }
        assert!(!sees(eve, json!({"join_rule": "invite"})));
        assert!(!sees(eve, json!({"join_rule": "private"})));
        assert!(sees(eve, json!({"join_rule": "invite", "world_readable": true})));
        let restricted = json!({"join_rule": "restricted", "allowed_room_ids": ["x", room]});
        assert!(sees(alice, restricted.clone()));
        assert!(!sees(eve, restricted));
        assert!(!sees(eve, json!({"join_rule": "restricted"})));
    }
}
