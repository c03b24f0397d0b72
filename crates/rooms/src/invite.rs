//! Inviting a user (`POST /rooms/{roomId}/invite`).
//!
//! An invite of a user of another server is made here, signed there, and in the room only then.

use base::{Error, Reply, Room, User};
use protocol::{Pdu, pdu, room::STRIPPED_STATE};
use ruma::{RoomId, RoomVersionId, UserId};
use serde_json::{Map, Value, json};
use store::{Tx, event, room, schema::Standing, state, user};

use crate::{
    New, append, ground,
    member_rows::check_invitee,
    membership::{self, Content},
    suspended,
};

/// An invite of a user of another server, as that one is shown it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Where.
    pub room: Room,
    /// The room's version.
    pub version: RoomVersionId,
    /// The event, which only this server has signed.
    pub pdu: Pdu,
    /// What the room is, for who does not know it: events in federation format.
    pub state: Vec<String>,
}

/// An invite of a user of another server.
pub struct Invitation<'a> {
    /// Whom.
    pub target: &'a UserId,
    /// Why.
    pub reason: Option<&'a str>,
    /// The room is a direct chat.
    pub direct: bool,
    /// Their name and avatar, as their server tells them: `displayname` and `avatar_url`.
    pub profile: Map<String, Value>,
}

/// Makes the invite of a user of another server; `None` if they are invited already.
///
/// # Errors
/// As [`invite`]; 403 `M_FORBIDDEN` where the room is not for other servers.
pub fn prepare(
    tx: &Tx,
    user: User,
    room_id: &RoomId,
    invitation: &Invitation<'_>,
) -> Reply<Option<Prepared>> {
    let room = crate::room_of(tx, room_id)?;
    if !store::room::is_joined(tx, room, user)? {
        return Err(crate::not_in_room());
    }
    let info = room::info(tx, room)?;
    if !info.federate {
        return Err(Error::forbidden("this room is not for users of other servers"));
    }
    let target = invitation.target;
    if let Some(known) = user::find(tx, target)?
        && let Some(there) = room::member(tx, room, known)?
        && there.standing == Standing::Invite
        && event::load(tx, there.event)?.row.sender == user
    {
        return Ok(None);
    }
    let mut content = Content::new(Standing::Invite, invitation.reason).into_map();
    content.extend(invitation.profile.clone());
    if invitation.direct {
        content.insert("is_direct".to_owned(), json!(true));
    }
    let content = append::raw(&content)?;
    suspended::check(tx, room, user, ("m.room.member", Some(target.as_str()), &content))?;
    let kind = "m.room.member".to_owned();
    let state_key = Some(target.to_string());
    let pdu =
        append::prepare(tx, room, New { sender: user, kind, state_key, content, redacts: None })?;
    let version = ground::version(&info)?;
    let state = shown(tx, room, room_id, &version, user)?;
    Ok(Some(Prepared { room, version, pdu, state }))
}

/// The events that describe a room to who is invited, whole, so that their server can check them (spec: Server-Server API,
/// `PUT /v2/invite`, `invite_room_state`).
fn shown(
    tx: &Tx,
    room: Room,
    id: &RoomId,
    version: &RoomVersionId,
    sender: User,
) -> Reply<Vec<String>> {
    let root = room::head(tx, room)?.state;
    let sender = user::id(tx, sender)?;
    let kinds = STRIPPED_STATE.iter().map(|kind| (*kind, ""));
    let mut shown = Vec::with_capacity(STRIPPED_STATE.len() + 1);
    for (kind, key) in kinds.chain([("m.room.member", sender.as_str())]) {
        if let Some(event) = state::get(tx, root, kind, key)? {
            let (stored, rest) = (event::load(tx, event)?, event::rest(tx, event)?);
            shown.push(pdu::join(version, id, stored.client(), &rest)?);
        }
    }
    Ok(shown)
}

/// Invites a user, or does nothing if they are invited already.
///
/// # Errors
/// 403 `M_FORBIDDEN`, 403 `M_INVITE_BLOCKED` by who wants no such invite, 404 `M_NOT_FOUND` for a user of this server who
/// does not exist, 403 for users of others, whom [`prepare`] is for.
pub fn invite(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    target: &UserId,
    reason: Option<&str>,
) -> Reply<()> {
    let room = crate::room_of(tx, room_id)?;
    if !store::room::is_joined(tx, room, user)? {
        return Err(crate::not_in_room());
    }
    check_invitee(tx, user, target)?;
    send(tx, user, room, target, reason, false)
}

/// Sends the invite; `direct` for a room that is a direct chat.
pub(crate) fn send(
    tx: &mut Tx,
    sender: User,
    room: Room,
    target: &UserId,
    reason: Option<&str>,
    direct: bool,
) -> Reply<()> {
    let mut content = Content::new(Standing::Invite, reason);
    if let Some(invitee) = user::find(tx, target)? {
        content = content.with_profile(tx, invitee)?;
    }
    if direct {
        content = content.with("is_direct", json!(true));
    }
    membership::set(tx, room, sender, target, content).map(drop)
}
