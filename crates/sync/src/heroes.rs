//! Who stands for a room without a name (spec: `m.heroes` of `GET /sync`).

use base::{Reply, Room, User};
use ruma::OwnedUserId;
use serde::Deserialize;
use store::{View, event, room, state::Root, user};

/// Heroes of one room (spec).
const HEROES_MAX: usize = 5;
/// Members looked at where the index of members has too few: in rooms from before there was one.
const MEMBERS_SCAN_MAX: usize = 1_000;

/// The heroes of a room: the first five members by the order of their member events who are joined or invited, never the
/// viewer; if there is nobody, the first of those who left. Nobody if the state gives the room a name or a
/// canonical alias.
pub fn heroes(view: &View, room: Room, root: Root, viewer: User) -> Reply<Vec<OwnedUserId>> {
    if is_named(view, root)? {
        return Ok(Vec::new());
    }
    let mut who = first(view, room, viewer, true)?;
    if who.is_empty() {
        who = first(view, room, viewer, false)?;
    }
    who.into_iter().map(|user| user::id(view, user)).collect()
}

fn is_named(view: &View, root: Root) -> Reply<bool> {
    #[derive(Deserialize)]
    struct Names {
        name: Option<String>,
        alias: Option<String>,
    }
    for (kind, is_name) in [("m.room.name", true), ("m.room.canonical_alias", false)] {
        let names: Option<Names> = room::state(view, root, kind, "")?.and_then(|e| e.content_as());
        let text = names.and_then(|n| if is_name { n.name } else { n.alias });
        if text.is_some_and(|t| !t.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
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

/// The member events of heroes in a version of the state.
pub(crate) fn events(
    view: &View,
    root: Root,
    heroes: &[OwnedUserId],
) -> Reply<Vec<std::sync::Arc<event::Stored>>> {
    let mut found = Vec::with_capacity(heroes.len());
    for id in heroes {
        found.extend(room::state(view, root, "m.room.member", id.as_str())?);
    }
    Ok(found)
}
