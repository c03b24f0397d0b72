//! `GET /rooms/{roomId}/context/{eventId}`: an event and what stands around it.

use std::collections::BTreeSet;

use base::{Error, Reply, Seq, User};
use ruma::{EventId, RoomId};
use store::{
    Direction, View, event, room,
    state::{self, Part},
    user,
};

use crate::{
    client_event::{Writer, ignored},
    filter::RoomEvents,
    gate::Gate,
    json::Out,
    messages::Reader,
    timeline::Query,
    token::Token,
};

/// The JSON body. `limit` counts the events around it, on both sides together.
///
/// # Errors
/// 404 `M_NOT_FOUND` if the event is not there for the reader.
pub fn context(
    view: &View,
    reader: &Reader<'_>,
    room_id: &RoomId,
    event_id: &EventId,
    limit: usize,
    filter: &RoomEvents,
) -> Reply<String> {
    let missing = || Error::not_found("no such event, or you may not see it");
    let room = room::find(view, room_id)?.ok_or_else(missing)?;
    let stored = event::load_id(view, event_id)?.ok_or_else(missing)?;
    let order = event::order(view, stored.event)?.ok_or_else(missing)?;
    let gate = Gate::new(view, room, reader.user, reader.id)?;
    if !gate.sees(&stored, order)? {
        return Err(missing());
    }
    let ignored = ignored(view, reader.user)?;
    let span = |after: Seq, upto: Seq, direction, limit| {
        let ignored = &ignored;
        let stop_at_hidden_state = false;
        Query { view, room, gate: &gate, filter, ignored, after, upto, stop_at_hidden_state }
            .read(direction, limit)
    };
    let limit = limit.min(base::limits::PAGE_EVENTS_MAX);
    let before =
        span(Seq::ZERO, Seq(order.0.saturating_sub(1)), Direction::Backward, limit.div_ceil(2))?;
    let after = span(order, view.head(), Direction::Forward, limit / 2)?;

    let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?;
    let mut out = Out::with_capacity(1024 * (2 + limit));
    let start = before.reached.unwrap_or(order);
    out.open().key("start").text(&Token::at(Seq(start.0.saturating_sub(1))).to_string());
    out.key("end").text(&Token::at(after.reached.unwrap_or(order)).to_string());
    out.key("event");
    writer.write(&mut out, &stored)?;
    for (key, events) in [("events_before", &before.events), ("events_after", &after.events)] {
        out.key(key).open_array();
        for (_, event) in events {
            writer.write(&mut out, event)?;
        }
        out.close_array();
    }

    // The state at the last event returned.
    let last = after.events.last().map_or(&stored, |(_, e)| e);
    let root = last.row.after;
    let whole = gate.sees_state(last)?;
    out.key("state").open_array();
    let part = if filter.lazy_members { Part::Except("m.room.member") } else { Part::All };
    for event in state::list(view, root, part)? {
        let stored = event::load(view, event)?;
        if whole || gate.shows(&stored)? {
            writer.write(&mut out, &stored)?;
        }
    }
    if filter.lazy_members {
        let around = before.events.iter().chain(&after.events).map(|(_, e)| e.row.sender);
        let senders: BTreeSet<User> = around.chain([stored.row.sender]).collect();
        for sender in senders {
            let id = user::id(view, sender)?;
            if let Some(member) = room::state(view, root, "m.room.member", id.as_str())? {
                writer.write(&mut out, &member)?;
            }
        }
    }
    out.close_array().close();
    Ok(out.finish())
}
