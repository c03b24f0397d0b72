//! `GET /rooms/{roomId}/messages`: paging through history; and `GET …/event/{eventId}`.

use std::collections::BTreeSet;

use base::{Error, Reply, Seq, User};
use ruma::{EventId, RoomId, UserId};
use store::{Direction, View, event, room, user};

use crate::{
    access,
    client_event::{Writer, ignored},
    filter::RoomEvents,
    gate::Gate,
    json::Out,
    timeline::Query,
    token::Token,
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
    if let Some(end) = end
        && (span.more || page.direction == Direction::Forward)
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
        let senders: BTreeSet<User> = span.events.iter().map(|(_, e)| e.row.sender).collect();
        if let Some((_, newest)) = span.events.iter().max_by_key(|(seq, _)| *seq) {
            for sender in senders {
                let id = user::id(view, sender)?;
                let root = newest.row.after;
                if let Some(member) = room::state(view, root, "m.room.member", id.as_str())? {
                    writer.write(&mut out, &member)?;
                }
            }
        }
        out.close_array();
    }
    out.close();
    Ok(out.finish())
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
    let missing = || Error::not_found("no such event, or you may not see it");
    let room = room::find(view, room_id)?.ok_or_else(missing)?;
    let stored = event::load_id(view, event_id)?.ok_or_else(missing)?;
    let order = event::order(view, stored.event)?.ok_or_else(missing)?;
    let gate = Gate::new(view, room, reader.user, reader.id)?;
    if !gate.sees(&stored, order)? {
        return Err(missing());
    }
    let mut out = Out::with_capacity(1024);
    Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?.write(&mut out, &stored)?;
    Ok(out.finish())
}
