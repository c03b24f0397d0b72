//! `GET /rooms/{roomId}/threads`: roots of threads, the one with the latest reply first.

use base::{Event, Reply, Room, Seq};
use ruma::RoomId;
use store::{
    View, event,
    schema::{THREADS, Thread},
};

use crate::{access, client_event::Writer, gate::Gate, json::Out, messages::Reader, token::Token};

/// Threads of one room that are looked at.
const THREADS_MAX: usize = 50_000;

/// The JSON body. A root that an ignored user sent is shown as if redacted (spec).
///
/// # Errors
/// 403 `M_FORBIDDEN` if the reader may not read the room.
pub fn threads(
    view: &View,
    reader: &Reader<'_>,
    room_id: &RoomId,
    participated: bool,
    from: Option<Token>,
    limit: usize,
) -> Reply<String> {
    let access = access::of(view, room_id, reader.user)?;
    let room = access.room;
    let gate = Gate::new(view, room, reader.user, reader.id)?;
    let upto = from.map_or(Seq::MAX, |t| t.seq).min(access.upto);
    let rows: Vec<((Room, Event), Thread)> = view.under(&THREADS, (room,), THREADS_MAX)?;
    let mut threads: Vec<(Seq, Event, Thread)> = Vec::new();
    for ((_, root), thread) in rows {
        let latest = event::order(view, thread.latest)?.unwrap_or_default();
        if thread.count > 0 && latest <= upto {
            threads.push((latest, root, thread));
        }
    }
    threads.sort_by_key(|(latest, ..)| std::cmp::Reverse(*latest));

    let limit = limit.clamp(1, base::limits::PAGE_EVENTS_MAX);
    let writer =
        Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?.veiling_ignored();
    let mut out = Out::with_capacity(4096);
    out.open().key("chunk").open_array();
    let mut written = 0;
    let mut next = None;
    let mut last = upto;
    for (latest, root, thread) in threads {
        if written == limit {
            next = Some(Seq(last.0.saturating_sub(1)));
            break;
        }
        let root = event::load(view, root)?;
        let order = event::order(view, root.event)?.unwrap_or_default();
        let mine = thread.participants.contains(&reader.user) || root.row.sender == reader.user;
        if (!participated || mine) && gate.sees(&root, order)? {
            writer.write(&mut out, &root)?;
            written += 1;
        }
        last = latest;
    }
    out.close_array();
    if let Some(next) = next {
        out.key("next_batch").text(&Token::at(next).to_string());
    }
    out.close();
    Ok(out.finish())
}
