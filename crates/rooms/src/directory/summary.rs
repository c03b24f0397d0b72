//! What the directory shows of a room.

use std::sync::Arc;

use base::{Error, Reply, Room};
use ruma::{
    directory::{PublicRoomsChunk, PublicRoomsChunkInit},
    room::RoomType,
};
use serde_json::{Map, Value};
use store::{CacheSpace, View, room, schema::RoomInfo, state::Root};

static SUMMARIES: CacheSpace = CacheSpace { tag: 63, owned: Some(store::Kind::Room) };

/// What a summary costs beside its texts.
const SUMMARY_OVERHEAD: usize = 512;

/// What the directory shows of a room.
///
/// # Errors
/// Faults of the store.
pub fn summary(view: &View, room: Room) -> Reply<Arc<PublicRoomsChunk>> {
    view.cached(&SUMMARIES, u128::from(room.0), |view| {
        let (info, head) = (room::info(view, room)?, room::head(view, room)?);
        let chunk = summarise(view, &info, head.state, head.joined)?;
        let bytes = bytes(&chunk);
        Ok((chunk, bytes))
    })
}

/// What a summary weighs.
pub(super) fn bytes(chunk: &PublicRoomsChunk) -> usize {
    let texts = [chunk.name.as_deref(), chunk.topic.as_deref()];
    SUMMARY_OVERHEAD + texts.into_iter().flatten().map(str::len).sum::<usize>()
}

fn summarise(view: &View, info: &RoomInfo, root: Root, joined: u64) -> Reply<PublicRoomsChunk> {
    let history = text(view, root, "m.room.history_visibility", "history_visibility")?;
    let guests = text(view, root, "m.room.guest_access", "guest_access")?;
    let room_id = ruma::OwnedRoomId::try_from(info.id.as_str())
        .map_err(|e| Error::fault(format!("stored room id: {e}")))?;
    let mut chunk = PublicRoomsChunk::from(PublicRoomsChunkInit {
        num_joined_members: ruma::UInt::new_saturating(joined),
        room_id,
        world_readable: history.as_deref() == Some("world_readable"),
        guest_can_join: guests.as_deref() == Some("can_join"),
    });
    chunk.name = text(view, root, "m.room.name", "name")?;
    chunk.topic = topic(view, root)?;
    chunk.avatar_url = text(view, root, "m.room.avatar", "url")?.map(Into::into);
    let alias = text(view, root, "m.room.canonical_alias", "alias")?;
    chunk.canonical_alias = alias.and_then(|alias| alias.try_into().ok());
    if let Some(rule) = text(view, root, "m.room.join_rules", "join_rule")? {
        chunk.join_rule = rule.into();
    }
    chunk.room_type = info.room_type.as_deref().map(RoomType::from);
    Ok(chunk)
}

fn content(view: &View, root: Root, kind: &str) -> Reply<Map<String, Value>> {
    let event = room::state(view, root, kind, "")?;
    Ok(event.and_then(|event| event.content_as()).unwrap_or_default())
}

/// A string in the content of a piece of state with an empty state key.
fn text(view: &View, root: Root, kind: &str, key: &str) -> Reply<Option<String>> {
    Ok(content(view, root, kind)?.remove(key).and_then(non_empty))
}

fn non_empty(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// The topic in plain text: of the rich topic `m.topic` if it has one, else the plain one (spec: "m.room.topic").
fn topic(view: &View, root: Root) -> Reply<Option<String>> {
    let mut content = content(view, root, "m.room.topic")?;
    let rich = content.get_mut("m.topic").and_then(|rich| rich.get_mut("m.text"));
    let forms = rich.and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let is_plain = |form: &Value| {
        form.get("mimetype").and_then(Value::as_str).unwrap_or("text/plain") == "text/plain"
    };
    let plain = forms.into_iter().find(is_plain);
    let plain = plain.and_then(|mut form| form.get_mut("body").map(Value::take));
    Ok(plain.and_then(non_empty).or_else(|| content.remove("topic").and_then(non_empty)))
}
