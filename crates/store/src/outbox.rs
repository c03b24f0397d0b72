//! What waits for other servers and is no event (spec: Server-Server API, "Send-to-device messaging"), and which events of
//! others this server tells of.

use base::{Event, Reply, Room, Seq, UnixMs};
use kv::Direction;

use crate::{
    log::Entry,
    schema::{DAYS, OUTBOX, SPOKEN_FOR},
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

/// Messages that are kept for one server that does not answer, their bytes, and for how many days. Who is away for longer
/// has to begin anew with the devices here: their sessions are stale by then.
pub const MESSAGES_MAX: usize = 10_000;
/// See [`MESSAGES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// See [`MESSAGES_MAX`].
pub const DAYS_MAX: u64 = 14;
/// Rows read at once, to count them.
const PAGE: usize = 256;
const DAY_MS: u64 = 86_400_000;

/// Takes note of where the log stands today, and forgets days that nobody asks for any more. To be called at least once
/// a day.
///
/// # Errors
/// Faults only.
pub fn mark_day(tx: &mut Tx) -> Reply<()> {
    let today = tx.now().0 / DAY_MS;
    if !tx.has(&DAYS, (today,))? {
        let head = tx.head();
        tx.put(&DAYS, (today,), &head);
    }
    // The newest of those that are old enough still says something.
    let until = today.saturating_sub(DAYS_MAX).saturating_add(1);
    let old: Vec<((u64,), Seq)> = tx.range(&DAYS, (0,), (until,), Direction::Backward, PAGE)?;
    for ((day,), _) in old.into_iter().skip(1) {
        tx.delete(&DAYS, (day,));
    }
    Ok(())
}

/// Up to where the messages for a server are too old or too many to be kept on; `None`: all may stay.
///
/// # Errors
/// Faults only.
pub fn excess(view: &View, server: &str, now: UnixMs) -> Reply<Option<Seq>> {
    let day = (now.0 / DAY_MS).saturating_sub(DAYS_MAX).saturating_add(1);
    let old: Vec<((u64,), Seq)> = view.range(&DAYS, (0,), (day,), Direction::Backward, 1)?;
    let old = old.first().map(|(_, at)| *at);
    let (mut messages, mut bytes, mut to) = (0, 0, Seq::MAX);
    loop {
        let (first, last) = ((server.to_owned(), Seq::ZERO), (server.to_owned(), to));
        let rows: Vec<((String, Seq), String)> =
            view.range(&OUTBOX, first, last, Direction::Backward, PAGE)?;
        for ((_, at), content) in &rows {
            messages += 1;
            bytes += content.len();
            let aged = old.is_some_and(|old| *at <= old);
            if aged || messages > MESSAGES_MAX || bytes > MESSAGE_BYTES_MAX {
                return Ok(Some(*at));
            }
            to = *at;
        }
        if rows.len() < PAGE {
            return Ok(None);
        }
    }
}

/// Drops messages for a server up to a position (inclusive), oldest first, at most so many. Says how many those were.
///
/// # Errors
/// Faults only.
pub fn drop_upto(tx: &mut Tx, server: &str, upto: Seq, most: usize) -> Reply<usize> {
    let (from, to) = ((server.to_owned(), Seq::ZERO), (server.to_owned(), upto.next()));
    let rows: Vec<((String, Seq), String)> =
        tx.range(&OUTBOX, from, to, Direction::Forward, most)?;
    for (key, _) in &rows {
        tx.delete(&OUTBOX, key.clone());
    }
    Ok(rows.len())
}

/// Tells the other servers of the room about an event of a user of another server, as that server cannot: it let that
/// user in (`send_join`, `send_leave`, `send_knock`). To be called in the transaction that takes the event in.
pub fn speak_for(tx: &mut Tx, event: Event) {
    tx.put_new(&SPOKEN_FOR, (event,), &());
}

/// Tells a server that has just come into a room of an event there that the join does not follow. To be called in the
/// transaction that takes the join in.
pub fn tell_beside(tx: &mut Tx, room: Room, event: Event, server: &str) {
    tx.announce(Entry::Beside { room, event, server: server.to_owned() });
}

/// See [`speak_for`].
///
/// # Errors
/// Faults only.
pub fn is_spoken_for(view: &View, event: Event) -> Reply<bool> {
    view.has(&SPOKEN_FOR, (event,))
}
