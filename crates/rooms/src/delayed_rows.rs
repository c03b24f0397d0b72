//! The rows of delayed events: what stands where while one is scheduled, and what is left of it when it is finalised.
//!
//! Invariant: whoever changes what becomes of a delayed event reads and writes its row, so of two that do so at once one is
//! run again and sees what the other did.

use base::{Reply, Room, UnixMs, User};
use store::{
    Tx,
    schema::{
        DELAYED, DELAYED_DUE, DELAYED_OF, DELAYED_STATE, DELAYED_TXNS, Delayed, Finalised, Outcome,
    },
};

/// Finalised events are kept for seven days (MSC4140).
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Finalised events kept of one user (MSC4140).
pub(crate) const KEPT_MAX: usize = 1_000;
/// Scheduled state events looked at when the state changes: what one user may have, many times over.
const OVERTAKEN_MAX: usize = 1_000;

/// The second part of a key in [`DELAYED_OF`].
pub(crate) const SCHEDULED: u8 = 0;
/// See [`SCHEDULED`].
pub(crate) const FINALISED: u8 = 1;

/// When a scheduled event is to be sent.
pub(crate) fn due(row: &Delayed) -> UnixMs {
    UnixMs(row.since.0.saturating_add(row.delay_ms))
}

/// When a finalised event is forgotten.
pub(crate) fn forgotten_at(finalised: &Finalised) -> UnixMs {
    UnixMs(finalised.at.0.saturating_add(KEPT_MS))
}

/// A place in a room's state, short enough for a key whatever its names are.
fn place(kind: &str, state_key: &str) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    for part in [kind, state_key] {
        hash.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
    }
    hash.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Writes a scheduled event.
pub(crate) fn put(tx: &mut Tx, id: &str, row: &Delayed) {
    let (id, at) = (id.to_owned(), due(row));
    tx.put(&DELAYED, (id.clone(),), row);
    tx.put(&DELAYED_DUE, (at, id.clone()), &());
    tx.put(&DELAYED_OF, (row.user, SCHEDULED, at, id.clone()), &());
    if let Some(state_key) = &row.state_key {
        tx.put(&DELAYED_STATE, (row.room, place(&row.kind, state_key), id), &());
    }
}

/// Takes a scheduled event out of everything but its own row.
pub(crate) fn unschedule(tx: &mut Tx, id: &str, row: &Delayed) {
    let (id, at) = (id.to_owned(), due(row));
    tx.delete(&DELAYED_DUE, (at, id.clone()));
    tx.delete(&DELAYED_OF, (row.user, SCHEDULED, at, id.clone()));
    if let Some(state_key) = &row.state_key {
        tx.delete(&DELAYED_STATE, (row.room, place(&row.kind, state_key), id));
    }
}

/// Says what became of a scheduled event, and forgets the oldest of too many.
///
/// # Errors
/// Faults only.
pub(crate) fn finalise(
    tx: &mut Tx,
    id: &str,
    mut row: Delayed,
    outcome: Outcome,
    by_delay: bool,
) -> Reply<()> {
    unschedule(tx, id, &row);
    let finalised = Finalised { at: tx.now(), outcome, by_delay };
    tx.put(&DELAYED_OF, (row.user, FINALISED, finalised.at, id.to_owned()), &());
    tx.put(&DELAYED_DUE, (forgotten_at(&finalised), id.to_owned()), &());
    let user = row.user;
    row.finalised = Some(finalised);
    tx.put(&DELAYED, (id.to_owned(),), &row);

    type Kept = ((User, u8, UnixMs, String), ());
    let kept: Vec<Kept> = tx.under(&DELAYED_OF, (user, FINALISED), 2 * KEPT_MAX)?;
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    for ((.., id), ()) in kept.into_iter().take(surplus) {
        forget(tx, &id)?;
    }
    Ok(())
}

/// Forgets a finalised event.
///
/// # Errors
/// Faults only.
pub(crate) fn forget(tx: &mut Tx, id: &str) -> Reply<()> {
    let Some(row) = tx.get(&DELAYED, (id.to_owned(),))? else { return Ok(()) };
    let Some(finalised) = &row.finalised else { return Ok(()) };
    tx.delete(&DELAYED_DUE, (forgotten_at(finalised), id.to_owned()));
    tx.delete(&DELAYED_OF, (row.user, FINALISED, finalised.at, id.to_owned()));
    tx.delete(&DELAYED, (id.to_owned(),));
    if let Some(txn) = row.txn {
        tx.delete(&DELAYED_TXNS, (row.user, txn));
    }
    Ok(())
}

/// The state has changed: what others had scheduled for this place is overtaken, and cancelled.
///
/// # Errors
/// Faults only.
pub(crate) fn overtake(
    tx: &mut Tx,
    room: Room,
    kind: &str,
    state_key: &str,
    sender: User,
) -> Reply<()> {
    type Here = ((Room, [u8; 16], String), ());
    let rows: Vec<Here> =
        tx.under(&DELAYED_STATE, (room, place(kind, state_key)), OVERTAKEN_MAX)?;
    for ((.., id), ()) in rows {
        let row = tx.get(&DELAYED, (id.clone(),))?;
        if let Some(row) = row.filter(|row| row.user != sender && row.finalised.is_none()) {
            finalise(tx, &id, row, Outcome::Cancelled, false)?;
        }
    }
    Ok(())
}
