//! `GET /rooms/{roomId}/relations/{eventId}[/{relType}[/{eventType}]]`: the children of an event.

use std::{collections::BTreeMap, sync::Arc};

use base::{Error, Event, Reply, Seq};
use ruma::{EventId, RoomId};
use store::{
    Direction, View,
    event::{self, Stored},
    room,
    schema::{RELATIONS, Relation},
};

use crate::{client_event::Writer, gate::Gate, json::Out, messages::Reader, token::Token};

/// Generations followed with `recurse` (spec: at least three).
const DEPTH_MAX: u64 = 3;
/// Children gathered over all generations: a bound for one request.
const CHILDREN_MAX: usize = 5_000;

/// What is asked.
pub struct Ask<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// The parent.
    pub event_id: &'a EventId,
    /// Only relations of this type.
    pub rel_type: Option<&'a str>,
    /// Only children of this type.
    pub event_type: Option<&'a str>,
    /// From where.
    pub from: Option<Token>,
    /// Where to stop.
    pub to: Option<Token>,
    /// Which way.
    pub direction: Direction,
    /// At most how many.
    pub limit: usize,
    /// Also children's children.
    pub recurse: bool,
}

/// The JSON body.
///
/// # Errors
/// 404 `M_NOT_FOUND` if the parent is not there for the reader.
pub fn relations(view: &View, reader: &Reader<'_>, ask: &Ask<'_>) -> Reply<String> {
    let missing = || Error::not_found("no such event, or you may not see it");
    let room = room::find(view, ask.room_id)?.ok_or_else(missing)?;
    let parent = event::load_id(view, ask.event_id)?.ok_or_else(missing)?;
    let order = event::order(view, parent.event)?.ok_or_else(missing)?;
    let gate = Gate::new(view, room, reader.user, reader.id)?;
    if !gate.sees(&parent, order)? {
        return Err(missing());
    }
    let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?;
    let mut found = BTreeMap::new();
    let depth = gather(view, &gate, &writer, &parent, ask, &mut found)?;

    let from = ask.from.map(|t| t.seq);
    let to = ask.to.map(|t| t.seq);
    let (after, upto) = match ask.direction {
        Direction::Backward => (to.unwrap_or(Seq::ZERO), from.unwrap_or(Seq::MAX)),
        Direction::Forward => (from.unwrap_or(Seq::ZERO), to.unwrap_or(Seq::MAX)),
    };
    let inside = found.into_iter().filter(|(seq, _)| *seq > after && *seq <= upto);
    let mut page: Vec<(Seq, Arc<Stored>)> = inside.collect();
    if ask.direction == Direction::Backward {
        page.reverse();
    }
    let limit = ask.limit.clamp(1, base::limits::PAGE_EVENTS_MAX);
    let more = page.len() > limit;
    page.truncate(limit);

    let mut out = Out::with_capacity(1024 * (1 + page.len()));
    out.open().key("chunk").open_array();
    for (_, stored) in &page {
        writer.write(&mut out, stored)?;
    }
    out.close_array();
    if let Some((last, _)) = page.last()
        && more
    {
        let next = match ask.direction {
            Direction::Backward => Seq(last.0.saturating_sub(1)),
            Direction::Forward => *last,
        };
        out.key("next_batch").text(&Token::at(next).to_string());
    }
    if let Some(from) = from {
        out.key("prev_batch").text(&Token::at(from).to_string());
    }
    if ask.recurse {
        out.key("recursion_depth").number(depth);
    }
    out.close();
    Ok(out.finish())
}

fn gather(
    view: &View,
    gate: &Gate<'_>,
    writer: &Writer<'_>,
    parent: &Stored,
    ask: &Ask<'_>,
    found: &mut BTreeMap<Seq, Arc<Stored>>,
) -> Reply<u64> {
    let mut generation = vec![parent.event];
    let deepest = if ask.recurse { DEPTH_MAX } else { 1 };
    let mut depth = 0;
    let mut looked_at = 0;
    while depth < deepest && !generation.is_empty() {
        depth += 1;
        let mut next = Vec::new();
        for of in generation {
            let room_left = CHILDREN_MAX.saturating_sub(looked_at);
            let children: Vec<((Event, Seq), Relation)> =
                view.under(&RELATIONS, (of,), room_left)?;
            looked_at += children.len();
            for ((_, order), relation) in children {
                next.push(relation.child);
                let wanted = ask.rel_type.is_none_or(|t| t == relation.rel_type)
                    && ask.event_type.is_none_or(|t| t == relation.kind);
                if !wanted {
                    continue;
                }
                let child = event::load(view, relation.child)?;
                let there = child.row.room == parent.row.room && child.row.redacted_by.is_none();
                let ignored = child.row.state_key.is_none() && writer.ignores(relation.sender)?;
                if there && !ignored && gate.sees(&child, order)? {
                    found.insert(order, child);
                }
            }
        }
        generation = next;
    }
    Ok(depth)
}
