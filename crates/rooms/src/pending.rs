//! Redactions of events that are not here yet (spec: Room Versions, "Handling redactions"): they take effect when what they
//! redact arrives.

use base::{Event, Reply, Room};
use protocol::Pdu;
use store::{
    Tx, event, room,
    schema::{REDACTIONS_TO_COME, RoomInfo},
    user,
};

use crate::{ground, redaction};

/// Takes note of a redaction by another server, or applies it if what it redacts is here.
pub(crate) fn redact(tx: &mut Tx, room: Room, redaction: Event, pdu: &Pdu) -> Reply<()> {
    let Some(target) = pdu.redacts.as_ref().filter(|_| pdu.kind == redaction::REDACTION) else {
        return Ok(());
    };
    match event::find(tx, target)? {
        Some(target) => apply(tx, room, target, redaction),
        None => {
            tx.put(&REDACTIONS_TO_COME, (room, target.as_str().to_owned()), &redaction);
            Ok(())
        }
    }
}

/// Applies a redaction that came before the event that it redacts.
pub(crate) fn settle(tx: &mut Tx, room: Room, event: Event, pdu: &Pdu) -> Reply<()> {
    let key = (room, pdu.event_id.as_str().to_owned());
    let Some(redaction) = tx.get(&REDACTIONS_TO_COME, key.clone())? else { return Ok(()) };
    tx.delete(&REDACTIONS_TO_COME, key);
    apply(tx, room, event, redaction)
}

fn apply(tx: &mut Tx, room: Room, target: Event, by: Event) -> Reply<()> {
    let (target, redaction) = (event::load(tx, target)?, event::load(tx, by)?);
    let info = room::info(tx, room)?;
    if target.row.room != room || target.row.kind == "m.room.create" {
        return Ok(());
    }
    let version = ground::version(&info)?;
    let allowed = protocol::version::event_ids_are_chosen(&version)
        || of_one_server(tx, &target, &redaction)?
        || may_redact(tx, &info, &redaction)?;
    if allowed { redaction::apply(tx, &version, &target, by) } else { Ok(()) }
}

fn of_one_server(tx: &Tx, a: &event::Stored, b: &event::Stored) -> Reply<bool> {
    let (a, b) = (user::id(tx, a.row.sender)?, user::id(tx, b.row.sender)?);
    Ok(a.server_name() == b.server_name())
}

fn may_redact(tx: &Tx, info: &RoomInfo, redaction: &event::Stored) -> Reply<bool> {
    let power = ground::power(tx, info, redaction.row.before)?;
    Ok(power.user(&user::id(tx, redaction.row.sender)?) >= power.redact())
}
