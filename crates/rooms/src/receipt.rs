//! Receipts and read markers (`/rooms/{roomId}/receipt/…`, `/rooms/{roomId}/read_markers`).
//!
//! A receipt only moves forward: for each user, thread and kind the event that stands latest in the timeline counts.

use base::{Error, Reply, Room, Seq, UnixMs, User};
use ruma::{EventId, OwnedEventId, RoomId};
use serde::Deserialize;
use serde_json::json;
use store::{
    Tx, View,
    event::{self, Stored},
    log, room,
    schema::{ACCOUNT_DATA, AccountData, RECEIPTS, Receipt},
};

const FULLY_READ: &str = "m.fully_read";
/// The timeline outside all threads.
const MAIN: &str = "main";
/// Relations followed from an event to the thread that it is in: a reaction to an edit of a reply, and one to spare.
const RELATIONS_MAX: usize = 4;

/// What a receipt marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `m.read`: read, and others may know.
    Read,
    /// `m.read.private`: read, and nobody else may know.
    ReadPrivate,
    /// `m.fully_read`: the marker of what the user has caught up with.
    FullyRead,
}

/// Sets a receipt. `thread`: `main`, the id of a thread's root, or `None` for an unthreaded one.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who is not in the room, 404 `M_NOT_FOUND` for an event that is not in it, 400 `M_INVALID_PARAM`
/// for a thread that the event is not in.
pub fn set(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    mark: Mark,
    event_id: &EventId,
    thread: Option<&str>,
) -> Reply<()> {
    let room = crate::room_of(tx, room_id)?;
    if !room::is_joined(tx, room, user)? {
        return Err(crate::not_in_room());
    }
    let found = event::load_id(tx, event_id)?.filter(|event| event.row.room == room);
    let found = found.ok_or_else(|| Error::not_found("there is no such event in this room"))?;
    if mark == Mark::FullyRead {
        if thread.is_some() {
            return Err(Error::invalid_param("there is one m.fully_read for all threads"));
        }
        return set_fully_read(tx, user, room, &found);
    }
    if let Some(thread) = thread
        && !belongs(tx, &found, thread)?
    {
        return Err(Error::invalid_param("the event is not in this thread"));
    }
    let (private, at) = (mark == Mark::ReadPrivate, tx.now());
    move_to(tx, (user, room, private), thread.unwrap_or_default(), &found, at)
}

/// Sets an `m.read` of a user of another server who is in the room, as that server says. What makes no sense here is passed
/// over: an event that has not come yet, or a thread that it is not in.
///
/// # Errors
/// Faults only.
pub fn told(
    tx: &mut Tx,
    user: User,
    room: Room,
    event_id: &EventId,
    thread: Option<&str>,
    at: UnixMs,
) -> Reply<()> {
    let found = event::load_id(tx, event_id)?.filter(|event| event.row.room == room);
    let Some(found) = found else { return Ok(()) };
    let fits = match thread {
        Some(thread) => belongs(tx, &found, thread)?,
        None => true,
    };
    if !fits || event::order(tx, found.event)?.is_none() {
        return Ok(());
    }
    let at = at.min(tx.now());
    move_to(tx, (user, room, false), thread.unwrap_or_default(), &found, at)
}

/// Sets several marks at once, none of them in a thread.
///
/// # Errors
/// As [`set`].
pub fn set_all(tx: &mut Tx, user: User, room_id: &RoomId, marks: &[(Mark, &EventId)]) -> Reply<()> {
    marks.iter().try_for_each(|(mark, event)| set(tx, user, room_id, *mark, event, None))
}

fn place(view: &View, event: &Stored) -> Reply<Seq> {
    let order = event::order(view, event.event)?;
    order.ok_or_else(|| Error::fault(format!("event {} has no place", event.event)))
}

fn move_to(
    tx: &mut Tx,
    (user, room, private): (User, Room, bool),
    thread: &str,
    event: &Stored,
    at: UnixMs,
) -> Reply<()> {
    let order = place(tx, event)?;
    let key = (room, user, thread.to_owned(), u8::from(private));
    if tx.get(&RECEIPTS, key.clone())?.is_some_and(|old| old.order >= order) {
        return Ok(());
    }
    let (event, event_id) = (event.event, event.id.to_string());
    let receipt = move |moved| Receipt { event, event_id, order, at, moved };
    // Where this goes is known only at the commit; until then it is there for others of the same transaction.
    tx.put(&RECEIPTS, key.clone(), &receipt.clone()(Seq::ZERO));
    let announced = tx.announce(log::Entry::Receipt { room, user, private });
    tx.put_at(&RECEIPTS, announced, move |seq| (key, receipt(seq)));
    Ok(())
}

fn set_fully_read(tx: &mut Tx, user: User, room: Room, event: &Stored) -> Reply<()> {
    #[derive(Deserialize)]
    struct Content {
        event_id: OwnedEventId,
    }
    let key = (user, room, FULLY_READ.to_owned());
    let old = tx.get(&ACCOUNT_DATA, key.clone())?;
    let old = old.and_then(|data| serde_json::from_str::<Content>(&data.content).ok());
    let old = old.map(|content| event::find(tx, &content.event_id)).transpose()?.flatten();
    let old = old.map(|old| event::order(tx, old)).transpose()?.flatten();
    if old.is_some_and(|old| place(tx, event).is_ok_and(|new| old >= new)) {
        return Ok(());
    }
    let content = json!({ "event_id": event.id }).to_string();
    tx.put(&ACCOUNT_DATA, key, &AccountData { content, changed: tx.now() });
    let kind = FULLY_READ.to_owned();
    tx.announce(log::Entry::AccountData { user, room: Some(room), kind });
    Ok(())
}

/// Is the event in this thread? The root of a thread is in it, and in the main timeline too.
fn belongs(view: &View, event: &Stored, thread: &str) -> Reply<bool> {
    let mut relates = event.row.relates.clone();
    if relates.is_none() && event.id == thread {
        return Ok(true);
    }
    for _ in 0..RELATIONS_MAX {
        let Some((parent, rel_type)) = relates else { return Ok(thread == MAIN) };
        let parent = event::load(view, parent)?;
        if rel_type == "m.thread" {
            return Ok(parent.id == thread);
        }
        relates = parent.row.relates.clone();
    }
    Ok(thread == MAIN)
}

#[cfg(test)]
mod tests;
