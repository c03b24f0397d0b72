//! Sticky events (MSC4354): events that every member is to learn of while they last, whatever their timelines hold. Kept
//! here: which events of a room are sticky, and until when.

use base::{Error, Event, Reply, Room, Seq, UnixMs};
use protocol::{
    Pdu,
    pdu::{STICKY as FIELD, STICKY_MS_MAX},
};
use serde::Deserialize;
use store::{
    Announced, Tx,
    schema::{STICKY, Sticky},
};

/// Rows looked at for some that are over, whenever one is added: more than one, so that they do not pile up.
const SWEPT: usize = 4;

/// Reads a duration that a client asks for, in milliseconds.
///
/// # Errors
/// 400 `M_INVALID_PARAM` if it is not an integer from 0 to one hour.
pub fn duration(text: &str) -> Reply<u64> {
    let ms = text.parse().ok().filter(|ms| *ms <= STICKY_MS_MAX);
    ms.ok_or_else(|| {
        Error::invalid_param(format!("a sticky duration is an integer from 0 to {STICKY_MS_MAX}"))
    })
}

/// Takes note of a new event, if it is sticky: from when it was sent or received, whichever was first.
pub(crate) fn index(tx: &mut Tx, room: Room, event: Event, pdu: &Pdu, at: Announced) -> Reply<()> {
    #[derive(Deserialize)]
    struct Field {
        duration_ms: u64,
    }
    let Some(field) = pdu.extra.get(FIELD) else { return Ok(()) };
    let Ok(Field { duration_ms }) = serde_json::from_str(field) else { return Ok(()) };
    let began = pdu.origin_server_ts.min(tx.now().0);
    let until = UnixMs(began.saturating_add(duration_ms.min(STICKY_MS_MAX)));
    if until <= tx.now() {
        return Ok(());
    }
    let oldest: Vec<((Room, Seq), Sticky)> = tx.under(&STICKY, (room,), SWEPT)?;
    for (key, sticky) in oldest {
        if sticky.until <= tx.now() {
            tx.delete(&STICKY, key);
        }
    }
    tx.put_at(&STICKY, at, move |seq| ((room, seq), Sticky { event, until }));
    Ok(())
}
