//! The tree of rooms below a space (`GET /rooms/{roomId}/hierarchy`; spec: "Spaces").
//!
//! The walk is the same for each page: a token says how many rooms the pages before had. Rooms are shown once, loops end
//! there. A room that who asks may not know of is left out with all below it.

use std::{collections::HashSet, fmt, sync::Arc};

use base::{Error, Reply, Room, User};
use protocol::json::quote;
use ruma::{OwnedRoomId, RoomId, ServerName};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use store::{
    CacheSpace, Kind, View,
    event::{self, Stored},
    room,
    state::{self, Part},
    user,
};

use crate::summary;

static CHILDREN: CacheSpace = CacheSpace { tag: 83, owned: Some(Kind::Room) };

/// Rooms of a page if the client names no number.
const PAGE: usize = 50;
/// Rooms of a page at most.
const PAGE_MAX: usize = 100;
/// Levels below the space that are gone down, if the client does not want fewer.
const DEPTH_MAX: u64 = 50;
/// Rooms looked at on the way to a page: the list ends there.
const WALK_MAX: usize = 5_000;
/// Children of one space that count.
const CHILDREN_MAX: usize = 1_000;
/// Characters of a child's `order` (spec: `m.space.child`).
const ORDER_MAX: usize = 50;
/// What a child costs in the cache beside its text.
const CHILD_OVERHEAD: usize = 160;

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The `next_batch` of the page before.
    pub from: Option<&'a str>,
    /// At most how many rooms.
    pub limit: Option<u64>,
    /// How far down.
    pub max_depth: Option<u64>,
    /// Only children that are suggested.
    pub suggested_only: bool,
}

/// Where a page begins, and what the first page asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    behind: usize,
    max_depth: Option<u64>,
    suggested_only: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = self.max_depth.map_or("-".to_owned(), |depth| depth.to_string());
        write!(f, "h{}_{depth}_{}", self.behind, u8::from(self.suggested_only))
    }
}

impl Place {
    fn parse(token: &str) -> Option<Place> {
        let mut parts = token.strip_prefix('h')?.split('_');
        let behind = parts.next()?.parse().ok()?;
        let max_depth = match parts.next()? {
            "-" => None,
            depth => Some(depth.parse().ok()?),
        };
        let place = Place { behind, max_depth, suggested_only: parts.next()? == "1" };
        (place.to_string() == token).then_some(place)
    }

    fn of(ask: &Ask<'_>) -> Reply<Place> {
        let first =
            Place { behind: 0, max_depth: ask.max_depth, suggested_only: ask.suggested_only };
        let Some(token) = ask.from else { return Ok(first) };
        let place = Place::parse(token)
            .ok_or_else(|| Error::invalid_param("not a token of this endpoint"))?;
        if (Place { behind: 0, ..place }) != first {
            let text = "suggested_only and max_depth cannot change from page to page";
            return Err(Error::invalid_param(text));
        }
        Ok(place)
    }
}

/// One page: the JSON body.
///
/// # Errors
/// 403 `M_FORBIDDEN` for a space that is not there for the user; 400 `M_INVALID_PARAM` for a token that is not one of ours,
/// or of another question, and for a limit of 0.
pub fn page(view: &View, user: User, space: &RoomId, ask: &Ask<'_>) -> Reply<String> {
    let place = Place::of(ask)?;
    let limit = ask.limit.map_or(PAGE, |n| usize::try_from(n).unwrap_or(PAGE_MAX)).min(PAGE_MAX);
    if limit == 0 {
        return Err(Error::invalid_param("limit must be greater than 0"));
    }
    let forbidden = || Error::forbidden("You are not allowed to view this room.");
    let root = room::find(view, space)?.ok_or_else(forbidden)?;
    if !summary::may_see(view, root, Some(user))? {
        return Err(forbidden());
    }
    let deepest = ask.max_depth.map_or(DEPTH_MAX, |depth| depth.min(DEPTH_MAX));
    let mut rooms = Vec::new();
    let mut behind = 0;
    let mut next = None;
    let mut seen: HashSet<OwnedRoomId> = HashSet::new();
    let mut stack = vec![(space.to_owned(), 0)];
    while let Some((id, depth)) = stack.pop() {
        if seen.len() >= WALK_MAX {
            break;
        }
        if !seen.insert(id.clone()) {
            continue;
        }
        let Some(room) = room::find(view, &id)? else { continue };
        if !summary::may_see(view, room, Some(user))? {
            continue;
        }
        if rooms.len() == limit {
            next = Some(Place { behind, ..place });
            break;
        }
        let children = children(view, room)?;
        let wanted = || children.iter().filter(|c| c.suggested || !ask.suggested_only);
        if depth < deepest {
            stack.extend(wanted().rev().map(|child| (child.id.clone(), depth + 1)));
        }
        behind += 1;
        if behind > place.behind {
            let stripped: Vec<&str> = wanted().map(|child| child.stripped.as_str()).collect();
            rooms.push(chunk(view, room, &stripped)?);
        }
    }
    let next = next.map_or(String::new(), |next| format!(r#","next_batch":"{next}""#));
    Ok(format!(r#"{{"rooms":[{}]{next}}}"#, rooms.join(",")))
}

/// A space and its children as another server may know of them (`GET /_matrix/federation/v1/hierarchy/{roomId}`): the JSON
/// body. Children that this server does not know are left out.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a space that is not there for the server.
pub fn for_server(
    view: &View,
    server: &ServerName,
    space: &RoomId,
    suggested_only: bool,
) -> Reply<String> {
    let missing = || Error::not_found("This room is not known here, or not open to your server.");
    let root = room::find(view, space)?.ok_or_else(missing)?;
    if !summary::server_may_see(view, root, server)? {
        return Err(missing());
    }
    let children = children(view, root)?;
    let wanted: Vec<&Child> =
        children.iter().filter(|child| child.suggested || !suggested_only).collect();
    let stripped: Vec<&str> = wanted.iter().map(|child| child.stripped.as_str()).collect();
    let (mut shown, mut closed, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for child in &wanted {
        let Some(room) = room::find(view, &child.id)?.filter(|_| seen.insert(&child.id)) else {
            continue;
        };
        if !room::is_resident(view, room)? {
            continue;
        }
        if summary::server_may_see(view, room, server)? {
            shown.push(Value::Object(summary::describe(view, room)?).to_string());
        } else {
            closed.push(quote(child.id.as_str()));
        }
    }
    Ok(format!(
        r#"{{"children":[{}],"inaccessible_children":[{}],"room":{}}}"#,
        shown.join(","),
        closed.join(","),
        chunk(view, root, &stripped)?
    ))
}

fn chunk(view: &View, room: Room, children: &[&str]) -> Reply<String> {
    let summary = Value::Object(summary::describe(view, room)?).to_string();
    let open = summary.strip_suffix('}').unwrap_or(&summary);
    Ok(format!(r#"{open},"children_state":[{}]}}"#, children.join(",")))
}

/// A child of a space.
struct Child {
    id: OwnedRoomId,
    suggested: bool,
    /// The event, stripped, with its `origin_server_ts`.
    stripped: String,
}

/// The children of a room, if it is a space, in the spec's order ("Ordering of children within a space").
fn children(view: &View, room: Room) -> Reply<Arc<Vec<Child>>> {
    view.cached(&CHILDREN, u128::from(room.0), |view| {
        if room::info(view, room)?.room_type.as_deref() != Some("m.space") {
            return Ok((Vec::new(), 0));
        }
        let root = room::head(view, room)?.state;
        let mut found = Vec::new();
        for event in state::list(view, root, Part::Only("m.space.child"))? {
            let event = event::load(view, event)?;
            found.extend(child(view, &event)?);
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let children: Vec<Child> =
            found.into_iter().take(CHILDREN_MAX).map(|(_, child)| child).collect();
        let bytes = children.iter().map(|c| c.stripped.len() + CHILD_OVERHEAD).sum();
        Ok((children, bytes))
    })
}

/// By what children are ordered: those with a valid `order` first, by that; then by time; then by id.
type Rank = (bool, String, u64, String);

fn child(view: &View, event: &Stored) -> Reply<Option<(Rank, Child)>> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(default)]
        via: Value,
        #[serde(default)]
        suggested: Value,
        #[serde(borrow)]
        order: Option<&'a RawValue>,
    }
    let key = event.row.state_key.as_deref().filter(|_| event.row.kind == "m.space.child");
    let id = key.and_then(|key| OwnedRoomId::try_from(key).ok());
    let content: Option<Content<'_>> = event.content_as();
    let (Some(id), Some(content)) = (id, content) else { return Ok(None) };
    // Without servers to go by, the child was taken out.
    let servers = content.via.as_array();
    if !servers.is_some_and(|via| !via.is_empty() && via.iter().all(Value::is_string)) {
        return Ok(None);
    }
    let order = content.order.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let order =
        order.filter(|o| o.len() <= ORDER_MAX && o.bytes().all(|b| (0x20..=0x7E).contains(&b)));
    let sent_at = event.row.sent_at.0;
    let sender = user::id(view, event.row.sender)?;
    let stripped = format!(
        r#"{{"content":{},"origin_server_ts":{sent_at},"sender":{},"state_key":{},"type":"m.space.child"}}"#,
        event.content(),
        quote(sender.as_str()),
        quote(id.as_str()),
    );
    let rank = (order.is_none(), order.unwrap_or_default(), sent_at, id.to_string());
    let suggested = content.suggested == Value::Bool(true);
    Ok(Some((rank, Child { id, suggested, stripped })))
}

#[cfg(test)]
mod tests;
