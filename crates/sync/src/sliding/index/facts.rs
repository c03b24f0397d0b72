//! What filters ask of one room. For rooms that the user is invited to, as far as the stripped state says; for rooms
//! that the user was in, as of their leaving.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{Reply, Room, User};
use ruma::RoomId;
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    View, event, room,
    schema::{ACCOUNT_DATA, ROOM_IDS, Standing},
    state::{self, Root},
};

use super::Row;

/// Direct chats that count: more than anyone has.
const DIRECT_MAX: usize = 50_000;

/// The rooms that the user's `m.direct` names.
pub(super) fn direct(view: &View, user: User) -> Reply<BTreeSet<Room>> {
    let data = view.get(&ACCOUNT_DATA, (user, Room(0), "m.direct".to_owned()))?;
    // Clients write anything into it; what is no list of texts is passed over.
    let by_user: Option<BTreeMap<String, Box<RawValue>>> =
        data.and_then(|data| serde_json::from_str(&data.content).ok());
    let lists = by_user.unwrap_or_default();
    let ids = lists.values().filter_map(|l| serde_json::from_str::<Vec<String>>(l.get()).ok());
    let ids = ids.flatten().filter(|id| <&RoomId>::try_from(id.as_str()).is_ok());
    let rooms = view.get_many(&ROOM_IDS, ids.take(DIRECT_MAX).map(|id| (id,)))?;
    Ok(rooms.into_iter().flatten().collect())
}

/// Is the room encrypted?
pub(super) fn is_encrypted(view: &View, user: User, row: &Row) -> Reply<bool> {
    const ENCRYPTION: &str = "m.room.encryption";
    if let Some(stripped) = stripped(view, user, row)? {
        return Ok(stripped.iter().any(|event| event.kind == ENCRYPTION));
    }
    let Some(root) = root(view, row)? else { return Ok(false) };
    Ok(state::get(view, root, ENCRYPTION, "")?.is_some())
}

/// The type of the room.
pub(super) fn kind(view: &View, user: User, row: &Row) -> Reply<Option<Arc<str>>> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    if let Some(stripped) = stripped(view, user, row)? {
        let create = stripped.iter().find(|event| event.kind == "m.room.create");
        let content = create.and_then(|e| serde_json::from_str::<Content>(e.content.get()).ok());
        return Ok(content.and_then(|c| c.kind).map(Arc::from));
    }
    Ok(room::info(view, row.room)?.room_type.as_deref().map(Arc::from))
}

/// The user's tags on the room.
pub(super) fn tags(view: &View, user: User, room: Room) -> Reply<Option<Arc<Vec<String>>>> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        tags: BTreeMap<String, serde::de::IgnoredAny>,
    }
    let data = view.get(&ACCOUNT_DATA, (user, room, "m.tag".to_owned()))?;
    let content = data.and_then(|data| serde_json::from_str::<Content>(&data.content).ok());
    Ok(content.map(|c| Arc::new(c.tags.into_keys().collect())))
}

#[derive(Deserialize)]
struct Stripped {
    #[serde(rename = "type")]
    kind: String,
    content: Box<RawValue>,
}

/// The stripped state of a room that the user may look into no further.
fn stripped(view: &View, user: User, row: &Row) -> Reply<Option<Vec<Stripped>>> {
    if !matches!(row.standing, Standing::Invite | Standing::Knock) {
        return Ok(None);
    }
    let m = room::membership(view, user, row.room)?;
    let events = m.and_then(|m| m.stripped).and_then(|text| serde_json::from_str(&text).ok());
    Ok(Some(events.unwrap_or_default()))
}

/// The newest state that the user may know.
fn root(view: &View, row: &Row) -> Reply<Option<Root>> {
    if row.standing == Standing::Join {
        return Ok(Some(room::head(view, row.room)?.state));
    }
    if !row.was_joined {
        return Ok(None);
    }
    match room::last_stay(view, row.member)? {
        Some(stay) => Ok(Some(event::load(view, stay.left)?.row.after)),
        None => Ok(None),
    }
}
