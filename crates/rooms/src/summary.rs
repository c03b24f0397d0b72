//! What a room tells those who might join it (`GET /room_summary/{roomIdOrAlias}`), and who may be told.

pub(crate) mod elsewhere;

use base::{Error, Reply, Room, User};
use ruma::{RoomId, RoomOrAliasId, ServerName};
use serde_json::{Map, Value, json};
use store::{View, room, schema::Standing, user};

use crate::{
    alias, directory, ground,
    join::{JoinRules, meets_condition},
};

/// Rooms of a restricted room's conditions that are listed: more are told by its state.
const ALLOWED_MAX: usize = 100;
/// Members that are looked through for invited users of a server.
const MEMBERS_SCAN_MAX: usize = 20_000;

/// The summary of a room. `user`: who asks, if they are logged in; then it has their membership. Under the unstable paths
/// (`nheko`), what came later is named as it was then, too.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a room that this server does not know, or that who asks may not know of.
pub fn summary(
    view: &View,
    user: Option<User>,
    id: &RoomOrAliasId,
    nheko: bool,
) -> Reply<Map<String, Value>> {
    // The same words for what is not there and for what may not be known of.
    let missing = || Error::not_found("Room not found.");
    let room = match alias::resolve(view, id) {
        Err(Error::Refused(no)) if no.status == 404 => return Err(missing()),
        other => other?,
    };
    if !may_see(view, room, user)? {
        return Err(missing());
    }
    let mut summary = describe(view, room)?;
    if let Some(user) = user {
        let member = room::member(view, room, user)?;
        let standing = member.map_or(Standing::Leave, |m| m.standing);
        summary.insert("membership".to_owned(), standing.as_str().into());
    }
    if nheko {
        name_as_then(&mut summary);
    }
    Ok(summary)
}

/// The same of a room that this server is not in, as another server told of it.
///
/// # Errors
/// 404 `M_NOT_FOUND` if it is not open to the user.
pub fn told(
    view: &View,
    user: User,
    id: &RoomId,
    said: &Map<String, Value>,
    nheko: bool,
) -> Reply<Map<String, Value>> {
    if !elsewhere::may_see(view, user, id, said)? {
        return Err(Error::not_found("Room not found."));
    }
    let mut summary = said.clone();
    let mine = room::find(view, id)?.map(|room| room::membership(view, user, room));
    let standing = mine.transpose()?.flatten().map_or(Standing::Leave, |mine| mine.standing);
    summary.insert("membership".to_owned(), standing.as_str().into());
    if nheko {
        name_as_then(&mut summary);
    }
    Ok(summary)
}

/// Under the unstable paths, what came later has its older names too.
fn name_as_then(summary: &mut Map<String, Value>) {
    for (stable, unstable) in [
        ("encryption", "im.nheko.summary.encryption"),
        ("room_version", "im.nheko.summary.room_version"),
        ("room_version", "im.nheko.summary.version"),
    ] {
        if let Some(value) = summary.get(stable).cloned() {
            summary.insert(unstable.to_owned(), value);
        }
    }
}

/// May somebody be told what a room is? Who is in it, who may join or knock, and anyone if its history is open to the world
/// (spec: `GET /rooms/{roomId}/hierarchy`). Without a user, only what is open to everybody.
pub(crate) fn may_see(view: &View, room: Room, user: Option<User>) -> Reply<bool> {
    if room::world_readable(view, room)? {
        return Ok(true);
    }
    let member = user.map(|user| room::member(view, room, user)).transpose()?.flatten();
    match member.map(|m| m.standing) {
        Some(Standing::Join | Standing::Invite) => return Ok(true),
        Some(Standing::Ban) => return Ok(false),
        _ => {}
    }
    let Some(rules) = join_rules(view, room)? else { return Ok(false) };
    let info = room::info(view, room)?;
    let version = ground::version(&info)?;
    let known = ground::rules(&version)?;
    match (rules.join_rule.as_str(), user) {
        ("public", _) => Ok(true),
        ("knock", _) => Ok(known.knocking),
        ("knock_restricted", _) => Ok(known.knock_restricted_join_rule),
        ("restricted", Some(user)) => {
            Ok(known.restricted_join_rule && meets_condition(view, user, &rules)?)
        }
        _ => Ok(false),
    }
}

/// May another server be told what a room is? If any of its users might be: it is in the room, one of its users is invited, or
/// the room is open to some (spec: Server-Server API, `GET /hierarchy/{roomId}`).
pub(crate) fn server_may_see(view: &View, room: Room, server: &ServerName) -> Reply<bool> {
    if !room::is_resident(view, room)? {
        return Ok(false);
    }
    if may_see(view, room, None)? || room::servers(view, room)?.contains(server.as_str()) {
        return Ok(true);
    }
    let rules = join_rules(view, room)?;
    if let Some(rules) = rules.filter(|rules| rules.join_rule == "restricted") {
        for other in rules.rooms() {
            if let Some(other) = room::find(view, other)?
                && room::servers(view, other)?.contains(server.as_str())
            {
                return Ok(true);
            }
        }
    }
    if room::head(view, room)?.invited == 0 {
        return Ok(false);
    }
    for (user, member) in room::members_upto(view, room, MEMBERS_SCAN_MAX)? {
        let invited = member.standing == Standing::Invite;
        if invited && user::id(view, user)?.server_name() == server {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All that is told of a room, as the spec's `RoomSummary`.
pub(crate) fn describe(view: &View, room: Room) -> Reply<Map<String, Value>> {
    let chunk = directory::summary(view, room)?;
    let Ok(Value::Object(mut summary)) = serde_json::to_value(&*chunk) else {
        return Err(Error::fault(format!("the summary of room {room} is no object")));
    };
    let info = room::info(view, room)?;
    summary.insert("room_version".to_owned(), info.version.as_str().into());
    let root = room::head(view, room)?.state;
    if let Some(event) = room::state(view, root, "m.room.encryption", "")? {
        let content: Option<Map<String, Value>> = event.content_as();
        if let Some(Value::String(algorithm)) = content.and_then(|mut c| c.remove("algorithm")) {
            summary.insert("encryption".to_owned(), algorithm.into());
        }
    }
    let rules = join_rules(view, room)?;
    // Left out it would mean `public`; a room without the event is open to the invited.
    let rule = rules.as_ref().map_or("invite", |rules| &rules.join_rule);
    summary.insert("join_rule".to_owned(), rule.into());
    let restricted = |r: &JoinRules| matches!(&*r.join_rule, "restricted" | "knock_restricted");
    if let Some(rules) = rules.filter(restricted) {
        let allowed: Vec<&ruma::OwnedRoomId> = rules.rooms().take(ALLOWED_MAX).collect();
        summary.insert("allowed_room_ids".to_owned(), json!(allowed));
    }
    Ok(summary)
}

fn join_rules(view: &View, room: Room) -> Reply<Option<JoinRules>> {
    let root = room::head(view, room)?.state;
    Ok(room::state(view, root, "m.room.join_rules", "")?.and_then(|event| event.content_as()))
}

#[cfg(test)]
mod tests;
