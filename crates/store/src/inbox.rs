//! Inboxes: messages that wait for a device (spec: Client-Server API, "Send-to-Device messaging").
//!
//! A row's key ends in the log position of its arrival, so that a position is also a place in the inbox: who delivers
//! reads what lies after the position that its client has, and deletes what lies at or before it only when the client comes
//! back with it. What is deleted by an acknowledgement is looked up in a view and deleted by key, so that it never
//! collides with somebody who writes.

use base::{Reply, Seq, User};
use kv::Direction;

use crate::{
    log::Entry,
    schema::INBOX,
    view::{Tx, View},
};

/// Rows that an acknowledgement deletes at once: what one answer delivered, many times over.
const ACKNOWLEDGED_MAX: usize = 1_000;
/// Rows that end with their device in one transaction.
const ENDED_MAX: usize = 100_000;

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place: the position to go on after.
    pub at: Seq,
    /// The event as JSON text: `content`, `sender`, `type`.
    pub text: String,
}

/// Puts a message into a device's inbox. That there is such a device is the caller's to know, by a read that makes the
/// transaction rely on it.
pub fn put(tx: &mut Tx, user: User, device: &str, text: &str) {
    let (device, text) = (device.to_owned(), text.to_owned());
    // Who deletes the device reads the inbox, and must not miss this row.
    tx.touch(&INBOX, (user, device.clone(), Seq::ZERO));
    let at = tx.announce(Entry::ToDevice { user, device: device.clone() });
    tx.put_at(&INBOX, at, move |seq| ((user, device, seq), text));
}

/// What waits for a device after a position, in the order of its arrival, at most `limit`.
///
/// # Errors
/// Faults only.
pub fn read(
    view: &View,
    user: User,
    device: &str,
    after: Seq,
    limit: usize,
) -> Reply<Vec<Message>> {
    let key = |at| (user, device.to_owned(), at);
    let rows: Vec<((User, String, Seq), String)> =
        view.range(&INBOX, key(after.next()), key(Seq::MAX), Direction::Forward, limit)?;
    Ok(rows.into_iter().map(|((.., at), text)| Message { at, text }).collect())
}

/// The places at or before a position, which a client says that it has: to be given to [`forget`]. Empty almost always.
///
/// # Errors
/// Faults only.
pub fn acknowledged(view: &View, user: User, device: &str, upto: Seq) -> Reply<Vec<Seq>> {
    let key = |at| (user, device.to_owned(), at);
    let rows: Vec<((User, String, Seq), String)> =
        view.range(&INBOX, key(Seq::ZERO), key(upto.next()), Direction::Forward, ACKNOWLEDGED_MAX)?;
    Ok(rows.into_iter().map(|((.., at), _)| at).collect())
}

/// Deletes messages that their device has.
///
/// # Errors
/// None; it ends a transaction.
pub fn forget(tx: &mut Tx, user: User, device: &str, places: &[Seq]) -> Reply<()> {
    for at in places {
        tx.delete(&INBOX, (user, device.to_owned(), *at));
    }
    Ok(())
}

/// Places of messages in all inboxes, device by device, at most `limit`, from `after` on. For figures.
///
/// # Errors
/// Faults only.
pub fn walk(
    view: &View,
    after: Option<(User, String, Seq)>,
    limit: usize,
) -> Reply<Vec<(User, String, Seq)>> {
    let rows: Vec<((User, String, Seq), String)> = view.everything(&INBOX, after, limit)?;
    Ok(rows.into_iter().map(|(key, _)| key).collect())
}

/// Deletes the inbox of a device that ends.
///
/// # Errors
/// Faults only.
pub fn end(tx: &mut Tx, user: User, device: &str) -> Reply<()> {
    let rows: Vec<((User, String, Seq), String)> =
        tx.under(&INBOX, (user, device.to_owned()), ENDED_MAX)?;
    for (key, _) in rows {
        tx.delete(&INBOX, key);
    }
    Ok(())
}
