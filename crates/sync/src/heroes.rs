//! Who stands for a room without a name (spec: `m.heroes` of `GET /sync`).

use base::{Reply, Room, User};
use ruma::OwnedUserId;
use serde::Deserialize;
use store::{View, room, state::Root, user};

/// Heroes of one room (spec).
const HEROES_MAX: usize = 5;
/// Members looked at where the index of members has too few: in rooms from before there was one.
const MEMBERS_SCAN_MAX: usize = 1_000;

/// The name that a state gives the room.
pub(crate) fn name(view: &View, root: Root) -> Reply<Option<String>> {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
    }
    let content: Option<Content> =
        room::state(view, root, "m.room.name", "")?.and_then(|e| e.content_as());
    Ok(content.and_then(|c| c.name).filter(|name| !name.is_empty()))
}

/// The canonical alias of a state.
pub(crate) fn alias(view: &View, root: Root) -> Reply<Option<String>> {
    #[derive(Deserialize)]
    struct Content {
        alias: Option<String>,
    }
    let content: Option<Content> =
        room::state(view, root, "m.room.canonical_alias", "")?.and_then(|e| e.content_as());
    Ok(content.and_then(|c| c.alias).filter(|alias| !alias.is_empty()))
}

/// The heroes of a room as it is now: the first five members by the order of their member events who are joined or
/// invited, never the viewer; if there is nobody, the first of those who left. Nobody if the room has a name or a
/// canonical alias. Costs the same in a room of any size.
///
/// # Errors
/// Faults of the store.
pub fn current(view: &View, room: Room, viewer: User) -> Reply<Vec<OwnedUserId>> {
    let root = room::head(view, room)?.state;
    if name(view, root)?.is_some() || alias(view, root)?.is_some() {
        return Ok(Vec::new());
    }
    whatever_its_name(view, room, viewer)
}

/// The same, whether or not the room has a name.
pub(crate) fn whatever_its_name(view: &View, room: Room, viewer: User) -> Reply<Vec<OwnedUserId>> {
    let mut who = first(view, room, viewer, true)?;
    if who.is_empty() {
        who = first(view, room, viewer, false)?;
    }
    who.into_iter().map(|user| user::id(view, user)).collect()
}

fn first(view: &View, room: Room, viewer: User, here: bool) -> Reply<Vec<User>> {
    let mut who = room::first_members(view, room, here, HEROES_MAX + 1)?;
    let head = room::head(view, room)?;
    let expected = head.joined + head.invited;
    if here && who.len() <= HEROES_MAX && (who.len() as u64) < expected {
        let mut members = room::members_upto(view, room, MEMBERS_SCAN_MAX)?;
        members.retain(|(_, m)| room::is_here(m.standing));
        members.sort_by_key(|(_, m)| m.event);
        who = members.into_iter().map(|(user, _)| user).collect();
    }
    who.retain(|user| *user != viewer);
    who.truncate(HEROES_MAX);
    Ok(who)
}
