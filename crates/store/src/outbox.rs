//! What waits for other servers and is no event (spec: Server-Server API, "Send-to-device messaging"), and which events of
//! others this server tells of.

use base::{Event, Reply, Seq};

use crate::{
    log::Entry,
    schema::{OUTBOX, SPOKEN_FOR},
    view::{Tx, View},
};

/// Puts a message for devices of another server: the `content` of an `m.direct_to_device`, as JSON text. It is sent until
/// that server acknowledges it.
pub fn put(tx: &mut Tx, server: &str, content: String) {
    let server = server.to_owned();
    let at = tx.announce(Entry::Outbound { server: server.clone() });
    tx.put_at(&OUTBOX, at, move |seq| ((server, seq), content));
}

/// The message of an announcement, if the server has not acknowledged it.
///
/// # Errors
/// Faults only.
pub fn read(view: &View, server: &str, at: Seq) -> Reply<Option<String>> {
    view.get(&OUTBOX, (server.to_owned(), at))
}

/// Tells the other servers of the room about an event of a user of another server, as that server cannot: it let that
/// user in (`send_join`, `send_leave`, `send_knock`). To be called in the transaction that takes the event in.
pub fn speak_for(tx: &mut Tx, event: Event) {
    tx.put_new(&SPOKEN_FOR, (event,), &());
}

/// See [`speak_for`].
///
/// # Errors
/// Faults only.
pub fn is_spoken_for(view: &View, event: Event) -> Reply<bool> {
    view.has(&SPOKEN_FOR, (event,))
}
