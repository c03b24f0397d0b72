//! The tree of rooms below a space (`GET /rooms/{roomId}/hierarchy`; spec: "Spaces").
//!
//! The walk is the same for each page: a token says how many rooms the pages before had. Rooms are shown once, loops end
//! there. A room that who asks may not know of is left out with all below it.

mod child;
pub mod elsewhere;

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use base::{Error, Reply, Room, User};
use protocol::json::quote;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde_json::{Map, Value};
use store::{
    CacheSpace, Kind, View,
    event::{self, Stored},
    room,
    state::{self, Part},
    user,
};

use self::{
    child::{Child, Rank, Said},
    elsewhere::{Look, Told},
};
use crate::{elsewhere as far, summary};

static CHILDREN: CacheSpace = CacheSpace { tag: 83, owned: Some(Kind::Room) };

/// Rooms of a page if the client names no number.
const PAGE: usize = 50;
/// Rooms of a page at most.
const PAGE_MAX: usize = 100;
/// Levels below the space that are gone down, if the client does not want fewer.
const DEPTH_MAX: u64 = 50;
/// Rooms looked at on the way to a page: the list ends there.
const WALK_MAX: usize = 5_000;
/// Rooms of a walk that are given to be asked for.
const UNKNOWN_MAX: usize = 20;
/// What a child costs in the cache beside its text.
const CHILD_OVERHEAD: usize = 160;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Ask<'a> {
    /// The `next_batch` of the page before.
    pub from: Option<Cow<'a, str>>,
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
        let Some(token) = &ask.from else { return Ok(first) };
        let place = Place::parse(token)
            .ok_or_else(|| Error::invalid_param("not a token of this endpoint"))?;
        if (Place { behind: 0, ..place }) != first {
            let text = "suggested_only and max_depth cannot change from page to page";
            return Err(Error::invalid_param(text));
        }
        Ok(place)
    }
}

/// A page, as far as it goes without asking anybody.
pub struct Walked {
    /// The JSON body; `None` while nothing is known of the space itself.
    pub body: Option<String>,
    /// Rooms that this server is not in and that nobody has told of yet, and servers that may know them. Some of them: more may
    /// come up when these are told.
    pub unknown: Vec<(OwnedRoomId, Vec<OwnedServerName>)>,
}

/// What a user hears about a space that is not there for them.
fn forbidden() -> Error {
    Error::forbidden("You are not allowed to view this room.")
}

/// One page of what this server knows: the JSON body.
///
/// # Errors
/// 403 `M_FORBIDDEN` for a space that is not there for the user; 400 `M_INVALID_PARAM` for a token that is not one of ours,
/// or of another question, and for a limit of 0.
pub fn page(view: &View, user: User, space: &RoomId, ask: &Ask<'_>) -> Reply<String> {
    walk(view, user, space, ask, &Told::default())?.body.ok_or_else(forbidden)
}

/// One page, with what other servers told of rooms that this one is not in.
///
/// # Errors
/// As [`page`].
pub fn walk(view: &View, user: User, space: &RoomId, ask: &Ask<'_>, told: &Told) -> Reply<Walked> {
    let place = Place::of(ask)?;
    let limit = ask.limit.map_or(PAGE, |n| usize::try_from(n).unwrap_or(PAGE_MAX)).min(PAGE_MAX);
    if limit == 0 {
        return Err(Error::invalid_param("limit must be greater than 0"));
    }
    let deepest = ask.max_depth.map_or(DEPTH_MAX, |depth| depth.min(DEPTH_MAX));
    let (mut rooms, mut unknown) = (Vec::new(), Vec::new());
    let mut behind = 0;
    let mut next = None;
    let mut seen: HashSet<OwnedRoomId> = HashSet::new();
    let mut stack = vec![(space.to_owned(), Vec::new(), 0)];
    while let Some((id, via, depth)) = stack.pop() {
        if seen.len() >= WALK_MAX {
            break;
        }
        if !seen.insert(id.clone()) {
            continue;
        }
        let found = match find(view, user, &id, told)? {
            Found::Room(found) => found,
            Found::Unknown if unknown.len() < UNKNOWN_MAX => {
                unknown.push((id, via));
                continue;
            }
            _ => continue,
        };
        if rooms.len() == limit {
            next = Some(Place { behind, ..place });
            break;
        }
        let wanted = || found.children().iter().filter(|c| c.suggested || !ask.suggested_only);
        if depth < deepest {
            let below = wanted().rev();
            stack.extend(below.map(|child| (child.id.clone(), child.via.clone(), depth + 1)));
        }
        behind += 1;
        if behind > place.behind {
            let stripped: Vec<&str> = wanted().map(|child| child.stripped.as_str()).collect();
            rooms.push(found.chunk(view, &stripped)?);
        }
    }
    if behind == 0 {
        // Not even the space could be shown.
        return if unknown.is_empty() {
            Err(forbidden())
        } else {
            Ok(Walked { body: None, unknown })
        };
    }
    let next = next.map_or(String::new(), |next| format!(r#","next_batch":"{next}""#));
    let body = Some(format!(r#"{{"rooms":[{}]{next}}}"#, rooms.join(",")));
    Ok(Walked { body, unknown })
}

/// What there is of a room for a user.
enum Found<'a> {
    Room(Shown<'a>),
    Unknown,
    Nothing,
}

/// A room that may be shown.
enum Shown<'a> {
    Here(Room, Arc<Vec<Child>>),
    There(&'a Map<String, Value>, &'a [Child]),
}

fn find<'a>(view: &View, user: User, id: &RoomId, told: &'a Told) -> Reply<Found<'a>> {
    if let Some(room) = room::find(view, id)?
        && !far::is_elsewhere(view, room)?
    {
        return Ok(match summary::may_see(view, room, Some(user))? {
            true => Found::Room(Shown::Here(room, children(view, room)?)),
            false => Found::Nothing,
        });
    }
    Ok(match told.look(id) {
        Look::Unknown => Found::Unknown,
        Look::Shown(room, children) if summary::elsewhere::may_see(view, user, id, room)? => {
            Found::Room(Shown::There(room, children))
        }
        Look::Shown(..) | Look::Nothing => Found::Nothing,
    })
}

impl Shown<'_> {
    fn children(&self) -> &[Child] {
        match self {
            Shown::Here(_, children) => children,
            Shown::There(_, children) => children,
        }
    }

    fn chunk(&self, view: &View, children: &[&str]) -> Reply<String> {
        match self {
            Shown::Here(room, _) => chunk(&summary::describe(view, *room)?, children),
            Shown::There(summary, _) => chunk(summary, children),
        }
    }
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
        chunk(&summary::describe(view, root)?, &stripped)?
    ))
}

fn chunk(summary: &Map<String, Value>, children: &[&str]) -> Reply<String> {
    let fault = |e| Error::fault(format!("a summary cannot be written: {e}"));
    let summary = serde_json::to_string(summary).map_err(fault)?;
    let open = summary.strip_suffix('}').unwrap_or(&summary);
    Ok(format!(r#"{open},"children_state":[{}]}}"#, children.join(",")))
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
            found.extend(read(view, &event)?);
        }
        let children = child::in_order(found);
        let bytes = children.iter().map(|c| c.stripped.len() + CHILD_OVERHEAD).sum();
        Ok((children, bytes))
    })
}

fn read(view: &View, event: &Stored) -> Reply<Option<(Rank, Child)>> {
    let key = event.row.state_key.as_deref().filter(|_| event.row.kind == "m.space.child");
    let Some(state_key) = key else { return Ok(None) };
    let sender = user::id(view, event.row.sender)?;
    let (sender, sent_at) = (sender.as_str(), event.row.sent_at.0);
    Ok(child::read(&Said { state_key, content: event.content(), sender, sent_at }))
}

#[cfg(test)]
mod tests;
