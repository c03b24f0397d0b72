//! The published rooms of this server (`/publicRooms`, `/directory/list/room/{roomId}`).

use std::{cmp::Reverse, sync::Arc};

use base::{Error, Reply, Room, User};
use protocol::power::PowerLevels;
use ruma::{
    RoomId, ServerName,
    api::client::room::Visibility,
    directory::{Filter, PublicRoomsChunk, PublicRoomsChunkInit, RoomTypeFilter},
    room::RoomType,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use store::{
    CacheSpace, Tx, View, room,
    schema::{PUBLISHED, RoomInfo},
    state::Root,
    user,
};

use crate::ground;

static SUMMARIES: CacheSpace = CacheSpace { tag: 63, owned: Some(store::Kind::Room) };

/// Published rooms that are looked through; a server with more needs an index.
const PUBLISHED_MAX: usize = 100_000;
/// Rooms of a page if the client names no number.
const PAGE: usize = 100;
/// Rooms of a page at most.
const PAGE_MAX: usize = 500;
/// What a summary costs beside its texts.
const SUMMARY_OVERHEAD: usize = 512;

/// Is the room in the directory?
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn visibility(view: &View, room_id: &RoomId) -> Reply<Visibility> {
    let room = crate::known_room(view, room_id)?;
    let published = view.has(&PUBLISHED, (room,))?;
    Ok(if published { Visibility::Public } else { Visibility::Private })
}

/// Puts the room into the directory, or takes it out.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 403 `M_FORBIDDEN` for who may not set the room's canonical alias and is no administrator.
pub fn set_visibility(
    tx: &mut Tx,
    user: User,
    admin: bool,
    room_id: &RoomId,
    visibility: &Visibility,
) -> Reply<()> {
    let room = crate::known_room(tx, room_id)?;
    let head = room::head(tx, room)?;
    let power: Arc<PowerLevels> = ground::power(tx, &*room::info(tx, room)?, head.state)?;
    let moderates = room::is_joined(tx, room, user)?
        && power.may_send(&user::id(tx, user)?, "m.room.canonical_alias", true);
    if !moderates && !admin {
        return Err(Error::forbidden("only the room's moderators publish it"));
    }
    match visibility {
        Visibility::Public => tx.put(&PUBLISHED, (room,), &()),
        _ => tx.delete(&PUBLISHED, (room,)),
    }
    Ok(())
}

/// A page of the directory.
#[derive(Debug, Default)]
pub struct Page {
    /// The rooms, those with most members first.
    pub rooms: Vec<PublicRoomsChunk>,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Where the page before this one begins.
    pub prev: Option<String>,
    /// How many rooms there are, as far as the filter goes.
    pub total: usize,
}

/// Lists the directory.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a token that is not one of ours; a refusal for other servers' directories.
pub fn page(
    view: &View,
    server: Option<&ServerName>,
    filter: &Filter,
    since: Option<&str>,
    limit: Option<u64>,
) -> Reply<Page> {
    if server.is_some_and(|server| server != view.server_name()) {
        return Err(crate::no_federation());
    }
    let from = since.map(|token| token.strip_prefix('p').and_then(|n| n.parse::<usize>().ok()));
    let from = match from {
        Some(None) => return Err(Error::invalid_param("not a token of this directory")),
        other => other.flatten().unwrap_or(0),
    };
    let limit = limit.map_or(PAGE, |n| usize::try_from(n).unwrap_or(PAGE_MAX)).min(PAGE_MAX);
    let mut rooms = matching(view, filter)?;
    rooms.sort_by_key(|(room, chunk)| (Reverse(chunk.num_joined_members), *room));
    let total = rooms.len();
    let end = from.saturating_add(limit).min(total);
    let token = |at: usize| format!("p{at}");
    Ok(Page {
        next: (end < total && limit > 0).then(|| token(end)),
        prev: (from > 0 && total > 0).then(|| token(from.saturating_sub(limit))),
        total,
        rooms: rooms.into_iter().take(end).skip(from).map(|(_, chunk)| (*chunk).clone()).collect(),
    })
}

fn matching(view: &View, filter: &Filter) -> Reply<Vec<(Room, Arc<PublicRoomsChunk>)>> {
    let term = filter.generic_search_term.as_deref().unwrap_or_default().to_lowercase();
    let mut found = Vec::new();
    for ((room,), ()) in view.everything(&PUBLISHED, None, PUBLISHED_MAX)? {
        let chunk = summary(view, room)?;
        if has_type(&chunk, &filter.room_types) && (term.is_empty() || contains(&chunk, &term)) {
            found.push((room, chunk));
        }
    }
    Ok(found)
}

fn has_type(chunk: &PublicRoomsChunk, wanted: &[RoomTypeFilter]) -> bool {
    let own = chunk.room_type.as_ref().map(RoomType::as_str);
    wanted.is_empty() || wanted.iter().any(|wanted| wanted.as_str() == own)
}

fn contains(chunk: &PublicRoomsChunk, term: &str) -> bool {
    let alias = chunk.canonical_alias.as_ref().map(|alias| alias.as_str());
    let texts = [chunk.name.as_deref(), chunk.topic.as_deref(), alias];
    texts.into_iter().flatten().any(|text| text.to_lowercase().contains(term))
}

/// What the directory shows of a room.
///
/// # Errors
/// Faults of the store.
pub fn summary(view: &View, room: Room) -> Reply<Arc<PublicRoomsChunk>> {
    view.cached(&SUMMARIES, u128::from(room.0), |view| {
        let (info, head) = (room::info(view, room)?, room::head(view, room)?);
        let chunk = summarise(view, &info, head.state, head.joined)?;
        let texts = [chunk.name.as_deref(), chunk.topic.as_deref()];
        let bytes = texts.into_iter().flatten().map(str::len).sum::<usize>();
        Ok((chunk, bytes + SUMMARY_OVERHEAD))
    })
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
    chunk.topic = text(view, root, "m.room.topic", "topic")?;
    chunk.avatar_url = text(view, root, "m.room.avatar", "url")?.map(Into::into);
    let alias = text(view, root, "m.room.canonical_alias", "alias")?;
    chunk.canonical_alias = alias.and_then(|alias| alias.try_into().ok());
    if let Some(rule) = text(view, root, "m.room.join_rules", "join_rule")? {
        chunk.join_rule = rule.into();
    }
    chunk.room_type = info.room_type.as_deref().map(RoomType::from);
    Ok(chunk)
}

/// A string in the content of a piece of state with an empty state key.
fn text(view: &View, root: Root, kind: &str, key: &str) -> Reply<Option<String>> {
    let event = room::state(view, root, kind, "")?;
    let mut content = event.and_then(|event| read::<Map<String, Value>>(event.content()));
    let value = content.as_mut().and_then(|content| content.remove(key));
    Ok(match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    })
}

fn read<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests;
