//! Thread subscriptions (MSC4306): which threads a user wants to hear of.
//!
//! A client subscribes on its own when its user is mentioned or speaks, and names the event that was the cause; such a
//! subscription never undoes what the user decided after that event.

use base::{Error, Event, Reply, Room, Seq, User};
use ruma::{EventId, RoomId};
use store::{
    Tx, View, event,
    log::Entry,
    room,
    schema::{THREAD_SUBSCRIPTION_CHANGES, THREAD_SUBSCRIPTIONS, ThreadOf, ThreadSubscription},
};

const NOT_IN_THREAD: &str = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD";
const CONFLICTING: &str = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION";

/// Subscribes to a thread. `cause`: the event that made the client do so on its own; none: the user asked for it.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a thread that the user has no access to; 400 `…M_NOT_IN_THREAD` for a cause that is no reply in
/// it; 409 `…M_CONFLICTING_UNSUBSCRIPTION` if the user unsubscribed after the cause.
pub fn subscribe(
    tx: &mut Tx,
    user: User,
    room_id: &RoomId,
    root: &EventId,
    cause: Option<&EventId>,
) -> Reply<()> {
    let (room, root) = find(tx, user, room_id, root)?;
    let old = tx.get(&THREAD_SUBSCRIPTIONS, (user, room, root))?;
    if let Some(cause) = cause {
        let at = place(tx, cause, room, root)?;
        match &old {
            Some(old) if old.subscribed => return Ok(()),
            Some(old) if at <= old.unsubscribed_at => {
                let why = "the user unsubscribed after this event";
                return Err(Error::refused(409, CONFLICTING, why));
            }
            _ => {}
        }
    } else if old.as_ref().is_some_and(|old| old.subscribed && !old.automatic) {
        return Ok(());
    }
    let unsubscribed_at = old.as_ref().map_or(Seq::ZERO, |old| old.unsubscribed_at);
    let changed = old.map_or(Seq::ZERO, |old| old.changed);
    let automatic = cause.is_some();
    let new = ThreadSubscription { subscribed: true, automatic, unsubscribed_at, changed };
    put(tx, user, room, root, new);
    Ok(())
}

/// Where the cause stands in the timeline.
fn place(view: &View, cause: &EventId, room: Room, root: Event) -> Reply<Seq> {
    let cause = event::load_id(view, cause)?.filter(|event| event.row.room == room);
    let within = |e: &event::Stored| {
        e.row.relates.as_ref().is_some_and(|(parent, how)| *parent == root && how == "m.thread")
    };
    let Some(cause) = cause.filter(|event| within(event)) else {
        return Err(Error::refused(400, NOT_IN_THREAD, "this event is not in the thread"));
    };
    Ok(event::order(view, cause.event)?.unwrap_or_default())
}

/// Unsubscribes from a thread. Who is not subscribed stays so.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a thread that the user has no access to.
pub fn unsubscribe(tx: &mut Tx, user: User, room_id: &RoomId, root: &EventId) -> Reply<()> {
    let (room, root) = find(tx, user, room_id, root)?;
    let old = tx.get(&THREAD_SUBSCRIPTIONS, (user, room, root))?;
    let Some(old) = old.filter(|old| old.subscribed) else { return Ok(()) };
    let unsubscribed_at = tx.head();
    put(tx, user, room, root, ThreadSubscription { subscribed: false, unsubscribed_at, ..old });
    Ok(())
}

/// Was the subscription made automatically?
///
/// # Errors
/// 404 `M_NOT_FOUND` if the user is not subscribed, or has no access to the thread.
pub fn get(view: &View, user: User, room_id: &RoomId, root: &EventId) -> Reply<bool> {
    let (room, root) = find(view, user, room_id, root)?;
    let row = view.get(&THREAD_SUBSCRIPTIONS, (user, room, root))?;
    let row = row.filter(|row| row.subscribed);
    row.map(|row| row.automatic).ok_or_else(|| Error::not_found("there is no subscription"))
}

fn find(view: &View, user: User, room_id: &RoomId, root: &EventId) -> Reply<(Room, Event)> {
    let none = || Error::not_found("there is no such thread");
    let room = room::find(view, room_id)?.ok_or_else(none)?;
    if !room::is_joined(view, room, user)? {
        return Err(none());
    }
    let root = event::load_id(view, root)?.filter(|event| event.row.room == room);
    Ok((room, root.ok_or_else(none)?.event))
}

/// Writes a subscription, whose `changed` is still that of the change before.
fn put(tx: &mut Tx, user: User, room: Room, root: Event, new: ThreadSubscription) {
    if new.changed != Seq::ZERO {
        tx.delete(&THREAD_SUBSCRIPTION_CHANGES, (user, new.changed));
    }
    let key = (user, room, root);
    // Where this goes is known only at the commit; until then it is there for others of the same transaction.
    tx.put(&THREAD_SUBSCRIPTIONS, key, &ThreadSubscription { changed: Seq::ZERO, ..new.clone() });
    let at = tx.announce(Entry::ThreadSubscription { user, room, root });
    tx.put_at(&THREAD_SUBSCRIPTIONS, at, move |changed| {
        (key, ThreadSubscription { changed, ..new })
    });
    tx.put_at(&THREAD_SUBSCRIPTION_CHANGES, at, move |seq| ((user, seq), ThreadOf { room, root }));
}

#[cfg(test)]
mod tests;
