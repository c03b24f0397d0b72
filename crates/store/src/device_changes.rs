//! Which devices changed, in order (spec: Server-Server API, "Device Management"): the positions are the `stream_id`s by
//! which other servers see whether they missed something.

use base::{Reply, Seq, User};
use kv::Direction;

use crate::{
    log::Entry,
    schema::DEVICE_CHANGES,
    view::{Tx, View},
};

/// Announces that a device of a user was made, changed or deleted.
pub fn announce(tx: &mut Tx, user: User, device: &str) {
    let device = device.to_owned();
    let at = tx.announce(Entry::Devices { user });
    tx.put_at(&DEVICE_CHANGES, at, move |seq| ((user, seq), device));
}

/// The device that changed at a position; `None` if the announcement was of no single device.
///
/// # Errors
/// Faults only.
pub fn at(view: &View, user: User, at: Seq) -> Reply<Option<String>> {
    view.get(&DEVICE_CHANGES, (user, at))
}

/// The last change before a position. [`Seq::MAX`]: the last of all, which is the `stream_id` of the list as it is.
///
/// # Errors
/// Faults only.
pub fn last_before(view: &View, user: User, before: Seq) -> Reply<Option<Seq>> {
    let rows: Vec<((User, Seq), String)> =
        view.range(&DEVICE_CHANGES, (user, Seq::ZERO), (user, before), Direction::Backward, 1)?;
    Ok(rows.into_iter().next().map(|((_, at), _)| at))
}
