//! `GET /rooms/{roomId}/messages`: paging through history; and single events (`GET …/event/{eventId}`,
//! `GET /events/{eventId}`).

use std::collections::BTreeSet;

use base::{Error, Reply, Room, Seq, User};
use ruma::{EventId, RoomId, UserId};
use store::{
    Direction, View,
    event::{self, Stored},
    room, user,
};

use crate::{
    access,
    client_event::{Writer, ignored},
    filter::RoomEvents,
    gate::Gate,
    json::Out,
    timeline::{Query, Span},
    token::Token,
    told::Paged,
};

/// Who reads.
pub struct Reader<'a> {
    /// Their number.
    pub user: User,
    /// Their id.
    pub id: &'a UserId,
    /// Their device.
    pub device: &'a str,
}

/// One page asked for.
pub struct Page<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// From where; none: from the end of the room in this direction.
    pub from: Option<Token>,
    /// Where to stop.
    pub to: Option<Token>,
    /// Which way.
    pub direction: Direction,
    /// At most how many events.
    pub limit: usize,
    /// Which events.
    pub filter: &'a RoomEvents,
}

/// A page of a room's history: the JSON body.
///
/// # Errors
/// 403 `M_FORBIDDEN` if the reader may not read the room.
pub fn messages(view: &View, reader: &Reader<'_>, page: &Page<'_>) -> Reply<String> {
    Ok(read(view, reader, page)?.body)
}

/// A page, and what of the room's timeline it covers.
pub struct Read {
    /// The JSON body.
    pub body: String,
    /// The room.
    pub room: Room,
    /// The positions that were looked at: behind the first, up to the second. With nothing more to come backward, the first
    /// is zero.
    pub span: (Seq, Seq),
}

/// The same, with what it covers.
///
/// # Errors
/// As [`messages`].
pub fn read(view: &View, reader: &Reader<'_>, page: &Page<'_>) -> Reply<Read> {
    let access = access::of(view, page.room_id, reader.user)?;
    let gate = Gate::new(view, access.room, reader.user, reader.id)?;
    let from = page.from.map(|t| t.seq);
    let to = page.to.map(|t| t.seq);
    let (after, upto) = match page.direction {
        Direction::Backward => (to.unwrap_or(Seq::ZERO), from.unwrap_or(Seq::MAX)),
        Direction::Forward => (from.unwrap_or(Seq::ZERO), to.unwrap_or(Seq::MAX)),
    };
    let upto = upto.min(access.upto);
    let ignored = ignored(view, reader.user)?;
    let query = Query {
        view,
        room: access.room,
        gate: &gate,
        filter: page.filter,
        ignored: &ignored,
        after,
        upto,
        stop_at_hidden_state: false,
    };
    let limit = page.limit.min(base::limits::PAGE_EVENTS_MAX);
    let span = query.read(page.direction, limit)?;
    let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(access.room)?;

    let mut out = Out::with_capacity(1024 * (1 + span.events.len()));
    let start = match page.direction {
        Direction::Backward => from.unwrap_or(upto),
        Direction::Forward => from.unwrap_or(after),
    };
    out.open().key("start").text(&Token::at(start).to_string());
    let end = match page.direction {
        Direction::Backward => span.reached.map(|r| Seq(r.0.saturating_sub(1))),
        Direction::Forward => span.reached,
    };
    let more = span.more || page.direction == Direction::Forward;
    if let Some(end) = end
        && more
    {
        out.key("end").text(&Token::at(end).to_string());
    }
    out.key("chunk").open_array();
    for (_, stored) in &span.events {
        writer.write(&mut out, stored)?;
    }
    out.close_array();
    if page.filter.lazy_members {
        out.key("state").open_array();
        let end = if more { end } else { None };
        members(&mut out, &writer, view, reader, page, &span, end)?;
        out.close_array();
    }
    out.close();
    let low = match page.direction {
        Direction::Backward if span.more => end.unwrap_or(after),
        _ => after,
    };
    Ok(Read { body: out.finish(), room: access.room, span: (low, upto) })
}

/// The member events of those who speak in a page, but for those that the pages before it had.
fn members(
    out: &mut Out,
    writer: &Writer<'_>,
    view: &View,
    reader: &Reader<'_>,
    page: &Page<'_>,
    span: &Span,
    end: Option<Seq>,
) -> Reply<()> {
    let Some((_, newest)) = span.events.iter().max_by_key(|(seq, _)| *seq) else { return Ok(()) };
    let (root, room) = (newest.row.after, newest.row.room);
    let from = page.from.map(|t| t.seq);
    let paged = Paged::begin(view, reader.user, (reader.device, room), from, page.direction);
    let senders: BTreeSet<User> = span.events.iter().map(|(_, e)| e.row.sender).collect();
    let mut told = Vec::new();
    for sender in senders {
        let id = user::id(view, sender)?;
        let Some(member) = room::state(view, root, "m.room.member", id.as_str())? else { continue };
        if page.filter.redundant_members || !paged.knows(member.event) {
            writer.write(out, &member)?;
            told.push(member.event);
        }
    }
    paged.finish(view, end, page.direction, told);
    Ok(())
}

/// One event, if the reader may see it: the JSON body.
///
/// # Errors
/// 404 `M_NOT_FOUND` otherwise, whatever the reason.
pub fn event(
    view: &View,
    reader: &Reader<'_>,
    room_id: &RoomId,
    event_id: &EventId,
) -> Reply<String> {
    let room = room::find(view, room_id)?.ok_or_else(missing)?;
    let stored = event::load_id(view, event_id)?.ok_or_else(missing)?;
    one(view, reader, room, &stored)
}

/// One event of whatever room (`GET /events/{eventId}`): the JSON body.
///
/// # Errors
/// 404 `M_NOT_FOUND` if it is not there for the reader.
pub fn event_anywhere(view: &View, reader: &Reader<'_>, event_id: &EventId) -> Reply<String> {
    let stored = event::load_id(view, event_id)?.ok_or_else(missing)?;
    one(view, reader, stored.row.room, &stored)
}

fn one(view: &View, reader: &Reader<'_>, room: Room, stored: &Stored) -> Reply<String> {
    let order = event::order(view, stored.event)?.ok_or_else(missing)?;
    let gate = Gate::new(view, room, reader.user, reader.id)?;
    if !gate.sees(stored, order)? {
        return Err(missing());
    }
    let mut out = Out::with_capacity(1024);
    Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?.write(&mut out, stored)?;
    Ok(out.finish())
}

fn missing() -> Error {
    Error::not_found("no such event, or you may not see it")
}
