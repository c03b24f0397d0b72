//! Redactions: who may take another event's content away, and what that changes (spec: Client-Server API,
//! "Redactions"; Room Versions, "Handling redactions").

use std::sync::Arc;

use base::{Error, Event, Reply, Room, Seq, User};
use protocol::{Pdu, pdu::redact_client};
use ruma::RoomVersionId;
use store::{
    Direction, Tx,
    event::{self, Stored},
    room,
    schema::{Head, RoomInfo, TIMELINE},
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

/// Events of a room that are looked through for what one user sent, newest first: older ones stay.
const LOOKED_THROUGH_MAX: usize = 10_000;
const BATCH: usize = 500;

/// Takes away the content of everything that a user sent to a room, by the event that put them out (MSC4293), if who
/// sent that one may redact. No redactions are sent.
pub(crate) fn apply_to_all(
    tx: &mut Tx,
    room: Room,
    of: User,
    by: Event,
    sender: User,
) -> Reply<()> {
    let (info, head) = (room::info(tx, room)?, room::head(tx, room)?);
    let power = ground::power(tx, &info, head.state)?;
    let id = user::id(tx, sender)?;
    if power.user(&id) < power.redact() || !power.may_send(&id, REDACTION, false) {
        return Ok(());
    }
    let version = ground::version(&info)?;
    let (mut upto, mut looked) = (Seq::MAX, 0);
    while looked < LOOKED_THROUGH_MAX {
        let rows: Vec<((Room, Seq), Event)> =
            tx.range(&TIMELINE, (room, Seq::ZERO), (room, upto), Direction::Backward, BATCH)?;
        let Some(((_, oldest), _)) = rows.last() else { return Ok(()) };
        (upto, looked) = (*oldest, looked + rows.len());
        for (_, event) in rows {
            let stored = event::load(tx, event)?;
            if stored.row.sender == of && stored.row.kind != "m.room.create" {
                apply(tx, &version, &stored, by)?;
            }
        }
    }
    Ok(())
}
