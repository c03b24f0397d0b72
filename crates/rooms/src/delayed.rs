//! Delayed events (MSC4140): scheduled by a client, sent by the server when their time has come, unless somebody who knows
//! the delay id cancels, restarts or sends them before.
//!
//! Whether the event is allowed is asked when it is sent. It is sent and finalised in one commit: exactly once, however
//! many processes watch the clock. [`due`] says what is to be done, [`fire`] does it.

use base::{Error, Reply, UnixMs, User, limits::ID_BYTES_MAX};
use protocol::pdu::PDU_BYTES_MAX;
use ruma::{OwnedRoomId, RoomId};
use serde_json::value::RawValue;
use store::{
    Direction, Tx, Txn, View, room,
    schema::{
        ACCOUNTS, DELAYED, DELAYED_DUE, DELAYED_OF, DELAYED_TXNS, Delayed, Outcome, SENT_DELAYED,
    },
};

use crate::{
    Appended, Manner, New, append,
    delayed_rows::{self, SCHEDULED},
    encryption, state,
};

/// No event is delayed for longer, in milliseconds: a week.
pub const DELAY_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Events that one user may have scheduled at once.
pub const SCHEDULED_MAX: usize = 100;

/// Length of a delay id: 192 unpredictable bits in hexadecimal, as knowing one is enough to act.
pub(crate) const DELAY_ID_BYTES: usize = 48;

/// An event to be sent later.
#[derive(Clone, Copy, Debug)]
pub struct Later<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Set for state events.
    pub state_key: Option<&'a str>,
    /// A JSON object.
    pub content: &'a RawValue,
    /// After how many milliseconds.
    pub delay_ms: u64,
    /// For how many milliseconds it is to be sticky then.
    pub sticky_ms: Option<u64>,
}

/// What may be done with a delayed event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it now.
    Send,
    /// Never send it.
    Cancel,
    /// Let the delay begin anew.
    Restart,
}

impl Action {
    /// The MSC's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Action> {
        Some(match text {
            "send" => Action::Send,
            "cancel" => Action::Cancel,
            "restart" => Action::Restart,
            _ => return None,
        })
    }
}

/// Schedules an event and returns its delay id; the same one if the request is repeated.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who is not in the room and for plaintext where encryption is required, 400 `M_INVALID_PARAM` and `M_BAD_JSON`, 413 `M_TOO_LARGE`, 400
/// `M_MAX_DELAY_EXCEEDED`, 429 `M_LIMIT_EXCEEDED` if too many are scheduled.
pub fn schedule(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    later: Later<'_>,
    txn: Option<Txn<'_>>,
) -> Reply<String> {
    let txn = txn.map(|txn| txn.key());
    if let Some(txn) = txn
        && let Some(id) = tx.get(&DELAYED_TXNS, (user, txn))?
    {
        return Ok(id);
    }
    check(&later)?;
    let room = crate::room_of(tx, room_id)?;
    if !room::is_joined(tx, room, user)? {
        return Err(crate::not_in_room());
    }
    let what = (later.kind, later.state_key, later.content);
    encryption::check(tx, room::head(tx, room)?.state, user, what)?;
    check_number(tx, user)?;
    let id: String =
        tx.random::<{ DELAY_ID_BYTES / 2 }>().iter().map(|byte| format!("{byte:02x}")).collect();
    let row = Delayed {
        user,
        room,
        kind: later.kind.to_owned(),
        state_key: later.state_key.map(str::to_owned),
        content: later.content.get().to_owned(),
        sticky_ms: later.sticky_ms,
        delay_ms: later.delay_ms,
        since: tx.now(),
        txn,
        finalised: None,
    };
    delayed_rows::put(tx, &id, &row);
    if let Some(txn) = txn {
        tx.put(&DELAYED_TXNS, (user, txn), &id);
    }
    Ok(id)
}

fn check(later: &Later<'_>) -> Reply<()> {
    if later.delay_ms == 0 {
        return Err(Error::invalid_param("the delay is a positive number of milliseconds"));
    }
    if later.delay_ms > DELAY_MS_MAX {
        let text = "the requested delay exceeds the allowed maximum";
        let no = Error::refusal(400, "M_MAX_DELAY_EXCEEDED", text);
        return Err(no.with("max_delay", DELAY_MS_MAX).with("max_delay_ms", DELAY_MS_MAX).into());
    }
    if later.kind.len() > ID_BYTES_MAX || later.state_key.is_some_and(|k| k.len() > ID_BYTES_MAX) {
        return Err(Error::too_large(format!("types and state keys have {ID_BYTES_MAX} bytes")));
    }
    if !protocol::json::is_object(later.content.get().as_bytes()) {
        return Err(Error::bad_json("the content is an object"));
    }
    if later.content.get().len() > PDU_BYTES_MAX {
        return Err(Error::too_large(format!("an event has at most {PDU_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_number(tx: &Tx, user: User) -> Reply<()> {
    let scheduled: Vec<((User, u8, UnixMs, String), ())> =
        tx.under(&DELAYED_OF, (user, SCHEDULED), SCHEDULED_MAX)?;
    let Some(((_, _, next, _), ())) = scheduled.first() else { return Ok(()) };
    if scheduled.len() < SCHEDULED_MAX {
        return Ok(());
    }
    let text = "the maximum number of delayed events has been reached";
    let mut no = Error::refusal(429, "M_LIMIT_EXCEEDED", text);
    no.retry_after_ms = Some(next.0.saturating_sub(tx.now().0).max(1));
    Err(no.into())
}

fn unknown() -> Error {
    Error::not_found("there is no such delayed event")
}

/// A delayed event that is not forgotten. With `owner`, one of theirs.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub(crate) fn find(view: &View, id: &str, owner: Option<User>) -> Reply<Delayed> {
    // Not every text can be a key.
    if id.len() > DELAY_ID_BYTES {
        return Err(unknown());
    }
    let row = view.get(&DELAYED, (id.to_owned(),))?.ok_or_else(unknown)?;
    let now = view.now();
    let over = row.finalised.as_ref().is_some_and(|f| delayed_rows::forgotten_at(f) <= now);
    if over || owner.is_some_and(|owner| owner != row.user) {
        return Err(unknown());
    }
    Ok(row)
}

/// Does something with a delayed event. What was done before is done again without effect. With `owner`, only with one
/// of theirs.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 409 `M_UNKNOWN` if something else has become of it; what sending it refuses, after which it is
/// still scheduled.
pub fn act(tx: &mut Tx, id: &str, action: Action, owner: Option<User>) -> Reply<()> {
    let mut row = find(tx, id, owner)?;
    match (row.finalised.as_ref().map(|f| &f.outcome), action) {
        (None, Action::Send) => send(tx, id, row, false),
        (None, Action::Cancel) => delayed_rows::finalise(tx, id, row, Outcome::Cancelled, false),
        (None, Action::Restart) => {
            delayed_rows::unschedule(tx, id, &row);
            row.since = tx.now();
            delayed_rows::put(tx, id, &row);
            Ok(())
        }
        (Some(Outcome::Sent(_)), Action::Send)
        | (Some(Outcome::Cancelled | Outcome::Failed { .. }), Action::Cancel) => Ok(()),
        (Some(Outcome::Sent(_)), _) => {
            Err(Error::refused(409, "M_UNKNOWN", "the delayed event was sent"))
        }
        (Some(_), _) => Err(Error::refused(409, "M_UNKNOWN", "the delayed event was cancelled")),
    }
}

/// The events whose time has come, in the order in which it came, each with its room; at most `limit`.
///
/// # Errors
/// Faults only.
pub fn due(view: &View, limit: usize) -> Reply<Vec<(String, Option<OwnedRoomId>)>> {
    let (from, to) = ((UnixMs(0), String::new()), (UnixMs(view.now().0 + 1), String::new()));
    let rows: Vec<((UnixMs, String), ())> =
        view.range(&DELAYED_DUE, from, to, Direction::Forward, limit)?;
    let mut due = Vec::with_capacity(rows.len());
    for ((_, id), ()) in rows {
        let row = view.get(&DELAYED, (id.clone(),))?;
        let room = row.map(|row| room::id(view, row.room)).transpose()?;
        due.push((id, room));
    }
    Ok(due)
}

/// Does what is due with a delayed event: sends it if it is scheduled, forgets it if it is finalised. Nothing if its time
/// has not come (it was restarted), or another process was faster.
///
/// # Errors
/// What sending it refuses; then [`fail`] is to be called.
pub fn fire(tx: &mut Tx, id: &str) -> Reply<()> {
    let Some(row) = tx.get(&DELAYED, (id.to_owned(),))? else { return Ok(()) };
    match &row.finalised {
        Some(finalised) if delayed_rows::forgotten_at(finalised) <= tx.now() => {
            delayed_rows::forget(tx, id)
        }
        None if delayed_rows::due(&row) <= tx.now() => send(tx, id, row, true),
        _ => Ok(()),
    }
}

/// Finalises an event that could not be sent when it was due.
///
/// # Errors
/// Faults only.
pub fn fail(tx: &mut Tx, id: &str, errcode: &str, error: &str) -> Reply<()> {
    let Some(row) = tx.get(&DELAYED, (id.to_owned(),))? else { return Ok(()) };
    if row.finalised.is_some() || delayed_rows::due(&row) > tx.now() {
        return Ok(());
    }
    let outcome = Outcome::Failed { errcode: errcode.to_owned(), error: error.to_owned() };
    delayed_rows::finalise(tx, id, row, outcome, true)
}

fn send(tx: &mut Tx, id: &str, row: Delayed, by_delay: bool) -> Reply<()> {
    if tx.get(&ACCOUNTS, (row.user,))?.is_none_or(|account| account.deactivated) {
        return Err(Error::refused(403, "M_USER_DEACTIVATED", "the account is deactivated"));
    }
    // Before it is sent: it does not overtake itself.
    delayed_rows::unschedule(tx, id, &row);
    let content = RawValue::from_string(row.content.clone())
        .map_err(|e| Error::fault(format!("delayed event {id}: {e}")))?;
    let manner = Manner { sticky_ms: row.sticky_ms, ..Manner::default() };
    let sent: Appended = match &row.state_key {
        Some(key) => {
            let room_id = room::id(tx, row.room)?;
            state::set(tx, row.user, &room_id, &row.kind, key, &content, manner)?
        }
        None => {
            let new = New {
                sender: row.user,
                kind: row.kind.clone(),
                state_key: None,
                content,
                redacts: None,
            };
            append::append_so(tx, row.room, new, false, manner)?
        }
    };
    tx.put(&SENT_DELAYED, (sent.event,), &id.to_owned());
    delayed_rows::finalise(tx, id, row, Outcome::Sent(sent.event), by_delay)
}

#[cfg(test)]
mod tests;
