//! Room tags, kept as the room account data `m.tag` (spec: Client-Server API, "Room Tagging").

use base::{Error, Reply, Room, User};
use serde_json::{Map, Value, json};
use store::{Tx, View};

use crate::{account_data, text::check_name};

const KIND: &str = "m.tag";
/// Tags on one room.
const TAGS_MAX: usize = 100;

/// The tags of a room, by name.
///
/// # Errors
/// Faults only.
pub fn list(view: &View, user: User, room: Room) -> Reply<Map<String, Value>> {
    let content = account_data::get(view, user, room, KIND)?;
    let content = content.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    // Clients may write `m.tag` themselves, and anything into it.
    Ok(match content {
        Some(Value::Object(mut content)) => match content.remove("tags") {
            Some(Value::Object(tags)) => tags,
            _ => Map::new(),
        },
        _ => Map::new(),
    })
}

/// Sets a tag.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for an impossible name or an `order` outside 0 to 1; 400 `M_BAD_JSON` if `info` is no object;
/// 413 `M_TOO_LARGE` for too many.
pub fn set(tx: &mut Tx, user: User, room: Room, tag: &str, info: Value) -> Reply<()> {
    check_name("A tag", tag)?;
    let Value::Object(fields) = &info else {
        return Err(Error::bad_json("A tag must be a JSON object."));
    };
    let in_order = |order: &Value| order.as_f64().is_some_and(|order| (0.0..=1.0).contains(&order));
    if fields.get("order").is_some_and(|order| !in_order(order)) {
        return Err(Error::invalid_param("The order of a tag is a number from 0 to 1."));
    }
    let mut tags = list(tx, user, room)?;
    if tags.len() >= TAGS_MAX && !tags.contains_key(tag) {
        return Err(Error::too_large(format!("A room may have at most {TAGS_MAX} tags.")));
    }
    tags.insert(tag.to_owned(), info);
    put(tx, user, room, tags)
}

/// Removes a tag. One that is not set is passed over.
///
/// # Errors
/// Faults only.
pub fn remove(tx: &mut Tx, user: User, room: Room, tag: &str) -> Reply<()> {
    let mut tags = list(tx, user, room)?;
    match tags.remove(tag) {
        Some(_) => put(tx, user, room, tags),
        None => Ok(()),
    }
}

fn put(tx: &mut Tx, user: User, room: Room, tags: Map<String, Value>) -> Reply<()> {
    account_data::put(tx, user, room, KIND, json!({ "tags": tags }).to_string())
}
