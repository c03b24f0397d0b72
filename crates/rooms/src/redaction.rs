//! Redactions: who may take another event's content away, and what that changes (spec: Client-Server API,
//! "Redactions"; Room Versions, "Handling redactions").

use std::sync::Arc;

use base::{Error, Event, Reply, Room, User};
use protocol::{Pdu, pdu::redact_client};
use ruma::RoomVersionId;
use store::{
    Tx,
    event::{self, Stored},
    schema::{Head, RoomInfo},
    user,
};

use crate::{ground, relate};

/// The type of a redaction.
pub(crate) const REDACTION: &str = "m.room.redaction";

/// What a redaction that the room's rules accept redacts; `None` for an event of another type.
///
/// The rules let users of one server redact each other's events, because between servers nobody could tell; among our
/// own users we can, so that one needs the `redact` level for others' events.
///
/// # Errors
/// 400 `M_MISSING_PARAM` without a target, 404 `M_NOT_FOUND` for one that is not in the room, 403 `M_FORBIDDEN`.
pub(crate) fn target(
    tx: &Tx,
    room: Room,
    info: &RoomInfo,
    head: &Head,
    sender: User,
    pdu: &Pdu,
    admin: bool,
) -> Reply<Option<Arc<Stored>>> {
    if pdu.kind != REDACTION {
        return Ok(None);
    }
    let Some(id) = &pdu.redacts else {
        return Err(Error::missing_param("a redaction names an event in `redacts`"));
    };
    let found = event::load_id(tx, id)?.filter(|target| target.row.room == room);
    let Some(found) = found else {
        return Err(Error::not_found("there is no such event in this room"));
    };
    if found.row.kind == "m.room.create" {
        return Err(Error::forbidden("without its create event a room is none"));
    }
    if found.row.sender != sender {
        let power = ground::power(tx, info, head.state)?;
        let theirs = user::id(tx, found.row.sender)?;
        let by_admin = admin && user::is_local(tx, &theirs);
        if power.user(&pdu.sender) < power.redact() && !by_admin {
            return Err(Error::forbidden("you may redact only what you sent yourself"));
        }
    }
    Ok(Some(found))
}

/// Takes the target's content away, and what was counted by it.
pub(crate) fn apply(tx: &mut Tx, version: &RoomVersionId, target: &Stored, by: Event) -> Reply<()> {
    if target.row.redacted_by.is_some() {
        return Ok(());
    }
    let client = redact_client(version, target.client())?;
    event::redact(tx, target.event, by, &client)?;
    relate::unindex(tx, target)
}
