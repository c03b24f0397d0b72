//! A user of this server is invited elsewhere (`PUT /invite`).

use base::{Error, Reply};
use protocol::Pdu;
use ruma::{RoomVersionId, UserId};
use store::{Tx, room, user};

use crate::{
    member_rows::check_invitee,
    remote::{self, Outcome},
};

/// An invite whose signatures and hashes hold, signed by this server too.
#[derive(Clone, Copy, Debug)]
pub struct Invite<'a> {
    /// The version of the room.
    pub version: &'a RoomVersionId,
    /// The invite.
    pub pdu: &'a Pdu,
    /// What is shown of the room, see [`super::stripped`].
    pub stripped: &'a str,
    /// The room's create event, if that is shown whole.
    pub create: Option<&'a Pdu>,
}

/// Is the user of this server, and does the room that is shown fit the invite?
///
/// # Errors
/// 400 `M_INVALID_PARAM`.
pub fn check(tx: &store::View, invite: &Invite<'_>) -> Reply<()> {
    let Invite { pdu, create, .. } = invite;
    let target = pdu.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok());
    if !target.is_some_and(|id| user::is_local(tx, id)) {
        return Err(Error::invalid_param("the invited user is not of this server"));
    }
    match create {
        Some(create) if create.kind != "m.room.create" || create.room_id != pdu.room_id => {
            Err(Error::invalid_param("the create event is of another room"))
        }
        _ => Ok(()),
    }
}

/// Takes the invite: the user is told of it, and where this server is in the room already, the room has it.
///
/// # Errors
/// 403 `M_FORBIDDEN`, 403 `M_INVITE_BLOCKED` by who wants no such invite, 404 `M_NOT_FOUND` for a user who does not exist; 400
/// `M_INVALID_PARAM` as [`check`], and for a room that is known to be of another version.
pub fn accept(tx: &mut Tx, invite: &Invite<'_>) -> Reply<()> {
    check(tx, invite)?;
    let Invite { version, pdu, stripped, create } = *invite;
    let by = user::intern(tx, &pdu.sender)?;
    let target = pdu.state_key.as_deref().unwrap_or_default();
    let target = <&UserId>::try_from(target)
        .map_err(|_| Error::invalid_param("the invited user is no user"))?;
    check_invitee(tx, by, target)?;
    let known = room::find(tx, &pdu.room_id)?;
    if let Some(room) = known
        && super::version(tx, room)? != *version
    {
        return Err(Error::invalid_param("the room is of another version"));
    }
    match known {
        Some(room) if room::is_resident(tx, room)? => match remote::receive(tx, room, pdu)? {
            Outcome::Rejected(_, rule) | Outcome::SoftFailed(_, rule) => {
                Err(Error::forbidden(rule))
            }
            // It comes again by transaction, after what it stands on.
            Outcome::Missing(_) | Outcome::Unsigned | Outcome::Known(_) | Outcome::Accepted(_) => {
                Ok(())
            }
        },
        _ => {
            let room = remote::know(tx, &pdu.room_id, version, create)?;
            remote::told(tx, room, pdu, Some(stripped.to_owned())).map(drop)
        }
    }
}
