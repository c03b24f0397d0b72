//! `GET /events`: the old stream of what is new, in all of one's rooms or in one that anyone may look into (spec: "Room
//! previews"). As with `/sync`, an answer is a function of view, reader and token; the rim sleeps in between.

use std::{collections::BTreeMap, sync::Arc};

use base::{Reply, Room, Seq};
use ruma::RoomId;
use store::{
    Direction, View,
    event::{self, Stored},
    log::Entry,
    room, user,
};

use crate::{
    access,
    client_event::{Writer, ignored},
    filter::RoomEvents,
    gate::Gate,
    json::Out,
    messages::Reader,
    timeline::Query,
    token::Token,
};

/// Events of one answer; `end` says where to go on.
const EVENTS_MAX: usize = 100;
/// Log entries looked at for one answer.
const SCAN_MAX: usize = 4_096;

/// An answer.
pub struct Answer {
    /// The JSON body.
    pub body: String,
    /// Is there nothing, up to now?
    pub empty: bool,
    /// The rooms that the reader is in, to listen to while sleeping.
    pub rooms: Arc<[Room]>,
}

/// The room of an id, if the reader may look into it.
///
/// # Errors
/// 403 `M_FORBIDDEN`.
pub fn peekable(view: &View, reader: &Reader<'_>, room_id: &RoomId) -> Reply<Room> {
    Ok(access::of(view, room_id, reader.user)?.room)
}

/// What is new in one room since a position.
///
/// # Errors
/// 403 `M_FORBIDDEN` if the reader may not look into it (any more).
pub fn of_room(view: &View, reader: &Reader<'_>, room_id: &RoomId, from: Seq) -> Reply<Answer> {
    let access = access::of(view, room_id, reader.user)?;
    let gate = Gate::new(view, access.room, reader.user, reader.id)?;
    let ignored = ignored(view, reader.user)?;
    let open = RoomEvents::compile(&ruma::api::client::filter::RoomEventFilter::default());
    let query = Query {
        view,
        room: access.room,
        gate: &gate,
        filter: &open,
        ignored: &ignored,
        after: from,
        upto: access.upto,
        stop_at_hidden_state: false,
    };
    let span = query.read(Direction::Forward, EVENTS_MAX)?;
    let end = if span.more { span.reached.unwrap_or(from) } else { view.head().max(from) };
    let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(access.room)?;
    let mut out = begin(from);
    for (_, stored) in &span.events {
        writer.write(&mut out, stored)?;
    }
    let empty = span.events.is_empty() && !span.more;
    Ok(Answer { body: finish(out, end), empty, rooms: Arc::new([]) })
}

/// What is new in all rooms that the reader is in, and what happened to their own membership, since a position.
pub fn of_all(view: &View, reader: &Reader<'_>, from: Seq) -> Reply<Answer> {
    let rooms = room::joined_rooms(view, reader.user)?;
    let ignored = ignored(view, reader.user)?;
    let mut by_room: BTreeMap<Room, Vec<(Seq, Arc<Stored>)>> = BTreeMap::new();
    let mut order: Vec<(Seq, Room)> = Vec::new();
    let mut end = view.head().max(from);
    let entries = view.log(from, view.head(), SCAN_MAX)?;
    let cut = entries.len() == SCAN_MAX;
    if let (true, Some((last, _))) = (cut, entries.last()) {
        end = *last;
    }
    for (seq, entry) in entries {
        let Entry::Event { room, event, sender, target, state } = entry else { continue };
        if rooms.binary_search(&room).is_err() && target != Some(reader.user) {
            continue;
        }
        if !state && !ignored.is_empty() {
            let id = user::id(view, sender)?;
            if ignored.iter().any(|i| i == id.as_str()) {
                continue;
            }
        }
        if order.len() == EVENTS_MAX {
            end = Seq(seq.0.saturating_sub(1));
            break;
        }
        order.push((seq, room));
        by_room.entry(room).or_default().push((seq, event::load(view, event)?));
    }
    let mut written: BTreeMap<Seq, String> = BTreeMap::new();
    for (room, events) in by_room {
        let gate = Gate::new(view, room, reader.user, reader.id)?;
        let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?;
        for (seq, stored) in events {
            let own = stored.is_state("m.room.member")
                && stored.row.state_key.as_deref() == Some(reader.id.as_str());
            if own || gate.sees(&stored, seq)? {
                let mut one = Out::with_capacity(1024);
                writer.write(&mut one, &stored)?;
                written.insert(seq, one.finish());
            }
        }
    }
    let mut out = begin(from);
    for text in written.values() {
        out.raw(text);
    }
    let empty = written.is_empty() && end >= view.head();
    Ok(Answer { body: finish(out, end), empty, rooms })
}

fn begin(from: Seq) -> Out {
    let mut out = Out::with_capacity(4096);
    out.open().key("start").text(&Token::at(from).to_string()).key("chunk").open_array();
    out
}

fn finish(mut out: Out, end: Seq) -> String {
    out.close_array().key("end").text(&Token::at(end).to_string()).close();
    out.finish()
}
