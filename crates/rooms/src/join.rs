//! Joining a room (`POST /join/{roomIdOrAlias}`, `POST /rooms/{roomId}/join`).

use base::{Error, Reply, Room, User};
use protocol::power::PowerLevels;
use ruma::{OwnedRoomId, OwnedUserId, RoomOrAliasId};
use serde::Deserialize;
use serde_json::json;
use store::{
    Tx, View, room,
    schema::{Head, Standing},
    user,
};

use crate::{
    alias, ground, guests,
    membership::{self, Content},
};

/// Joins a room of this server. Who is joined already is told that it is so.
///
/// # Errors
/// 403 `M_FORBIDDEN`, 403 `M_GUEST_ACCESS_FORBIDDEN`, 404 `M_NOT_FOUND` for a room that this server does not know.
pub fn join(
    tx: &mut Tx,
    user: User,
    guest: bool,
    room: &RoomOrAliasId,
    reason: Option<&str>,
) -> Reply<OwnedRoomId> {
    let room = alias::resolve(tx, room)?;
    let standing = room::member(tx, room, user)?.map(|member| member.standing);
    if standing != Some(Standing::Join) {
        let head = room::head(tx, room)?;
        if guest && !guests::admitted(tx, &head)? {
            let text = "guests may not join this room";
            return Err(Error::refused(403, "M_GUEST_ACCESS_FORBIDDEN", text));
        }
        let mut content = Content::new(Standing::Join, reason).with_profile(tx, user)?;
        if standing != Some(Standing::Invite)
            && let Some(inviter) = authorised_via(tx, user, room, &head)?
        {
            content = content.with("join_authorised_via_users_server", json!(inviter));
        }
        let id = user::id(tx, user)?;
        membership::set(tx, room, user, &id, content)?;
    }
    room::id(tx, room)
}

/// What `m.room.join_rules` says.
#[derive(Deserialize)]
pub(crate) struct JoinRules {
    pub(crate) join_rule: String,
    #[serde(default)]
    pub(crate) allow: Vec<Allow>,
}

/// One condition of a restricted room.
#[derive(Deserialize)]
pub(crate) struct Allow {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    room_id: Option<OwnedRoomId>,
}

impl JoinRules {
    /// The rooms whose members may join.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &OwnedRoomId> {
        let rooms = self.allow.iter().filter(|a| a.kind == "m.room_membership");
        rooms.filter_map(|a| a.room_id.as_ref())
    }
}

/// In a restricted room, a user of this server who may invite, if the joining user meets a condition (spec: Client-Server
/// API, "Restricted rooms"). `None` in other rooms; the rules then say whether the join is allowed.
fn authorised_via(view: &View, user: User, room: Room, head: &Head) -> Reply<Option<OwnedUserId>> {
    let rules = room::state(view, head.state, "m.room.join_rules", "")?;
    let rules = rules.and_then(|event| event.content_as::<JoinRules>());
    let restricted =
        |rules: &JoinRules| matches!(rules.join_rule.as_str(), "restricted" | "knock_restricted");
    let Some(rules) = rules.filter(restricted) else { return Ok(None) };
    if !meets_condition(view, user, &rules)? {
        return Err(Error::forbidden("you are in none of the rooms whose members may join"));
    }
    let power = ground::power(view, &*room::info(view, room)?, head.state)?;
    let inviter = local_inviter(view, room, &power)?;
    let none = || Error::forbidden("nobody of this server may let you in");
    inviter.ok_or_else(none).map(Some)
}

/// Is the user joined to any of the rooms that are named?
pub(crate) fn meets_condition(view: &View, user: User, rules: &JoinRules) -> Reply<bool> {
    for id in rules.rooms() {
        if let Some(other) = room::find(view, id)?
            && room::is_joined(view, other, user)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A joined user of this server who has the power to invite: first among those with a level of their own, then, if
/// anyone may invite, among all.
pub(crate) fn local_inviter(
    view: &View,
    room: Room,
    power: &PowerLevels,
) -> Reply<Option<OwnedUserId>> {
    let info = room::info(view, room)?;
    let create = store::event::load(view, info.create)?;
    let mut candidates = vec![user::id(view, create.row.sender)?];
    candidates
        .extend(info.creators.iter().filter_map(|id| OwnedUserId::try_from(id.as_str()).ok()));
    candidates.extend(power.levels().into_iter().flat_map(|levels| levels.users.keys().cloned()));
    let able = |id: &OwnedUserId| user::is_local(view, id) && power.user(id) >= power.invite();
    for id in candidates.into_iter().filter(able) {
        if membership::standing(view, room, &id)? == Some(Standing::Join) {
            return Ok(Some(id));
        }
    }
    for (member, _) in
        room::members(view, room)?.into_iter().filter(|(_, m)| m.standing == Standing::Join)
    {
        let id = user::id(view, member)?;
        if able(&id) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
