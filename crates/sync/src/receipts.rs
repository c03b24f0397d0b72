//! `m.receipt` as clients get it (spec: "Receipts").

use std::collections::BTreeMap;

use base::{Reply, Room, User};
use ruma::OwnedUserId;
use store::{
    View,
    schema::{RECEIPTS, Receipt},
    user,
};

use crate::json::Out;

/// Receipts of one room that are read at once.
pub(crate) const RECEIPTS_MAX: usize = 100_000;

/// A receipt as stored: (room, user, thread, 0 public | 1 private).
pub(crate) type Row = ((Room, User, String, u8), Receipt);

/// Receipts of one `m.receipt`: (event id, type, user) → (timestamp, thread).
pub(crate) type Layer = BTreeMap<(String, &'static str, OwnedUserId), (u64, String)>;

/// The receipts of these users in a room.
pub(crate) fn of_users(
    view: &View,
    room: Room,
    users: impl IntoIterator<Item = User>,
) -> Reply<Vec<Row>> {
    let mut rows = Vec::new();
    for user in users {
        rows.extend(view.under(&RECEIPTS, (room, user), RECEIPTS_MAX)?);
    }
    Ok(rows)
}

/// What of the rows a viewer may know, without whom they ignore. A user may have several receipts of one type on one
/// event, in different threads, for which one `m.receipt` has no place: the second goes into a second layer.
pub(crate) fn layers(
    view: &View,
    viewer: User,
    ignored: &[String],
    rows: impl IntoIterator<Item = Row>,
) -> Reply<Vec<Layer>> {
    let mut layers: Vec<Layer> = Vec::new();
    for ((_, user, thread, private), receipt) in rows {
        if private != 0 && user != viewer {
            continue;
        }
        let id = user::id(view, user)?;
        if ignored.iter().any(|i| i == id.as_str()) {
            continue;
        }
        let kind = if private == 0 { "m.read" } else { "m.read.private" };
        let key = (receipt.event_id, kind, id);
        let value = (receipt.at.0, thread);
        match layers.iter_mut().find(|layer| !layer.contains_key(&key)) {
            Some(layer) => drop(layer.insert(key, value)),
            None => layers.push(Layer::from([(key, value)])),
        }
    }
    Ok(layers)
}

/// Writes the event of a layer.
pub(crate) fn write(out: &mut Out, layer: &Layer) {
    out.open().key("type").text("m.receipt").key("content").open();
    let (mut event, mut kind) = ("", "");
    for ((of, how, user), (at, thread)) in layer {
        if of != event {
            if !event.is_empty() {
                out.close().close();
            }
            out.key(of).open();
            (event, kind) = (of, "");
        }
        if *how != kind {
            if !kind.is_empty() {
                out.close();
            }
            out.key(how).open();
            kind = how;
        }
        out.key(user.as_str()).open().key("ts").number(*at);
        if !thread.is_empty() {
            out.key("thread_id").text(thread);
        }
        out.close();
    }
    out.close().close().close().close();
}
