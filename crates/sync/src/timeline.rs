//! Reading a span of a room's timeline through gate and filter.

use std::sync::Arc;

use base::{Event, Reply, Room, Seq};
use store::{
    Direction, View,
    event::{self, Stored},
    schema::{RELATIONS, Relation, TIMELINE},
};

use crate::{filter::RoomEvents, gate::Gate};

/// Rows looked at to fill one page: a filter that nothing passes must not read a whole room. The page then ends
/// early with a token to go on from.
const SCAN_MAX: usize = 5_000;
/// Children of one event looked at for a filter: times the rows of a page, some tenths of a second at worst.
const CHILDREN_MAX: usize = 100;
/// Rows read at once.
const CHUNK_MAX: usize = 256;

/// A span of a timeline.
pub(crate) struct Span {
    /// Events in the order in which they were read.
    pub(crate) events: Vec<(Seq, Arc<Stored>)>,
    /// Is there more (or might there be: the scan was cut)?
    pub(crate) more: bool,
    /// The position of the last row that was looked at.
    pub(crate) reached: Option<Seq>,
}

/// Events with `after < position <= upto` that gate and filter let through, at most `limit`, in `direction`.
pub(crate) struct Query<'a> {
    pub(crate) view: &'a View,
    pub(crate) room: Room,
    pub(crate) gate: &'a Gate<'a>,
    pub(crate) filter: &'a RoomEvents,
    pub(crate) ignored: &'a [String],
    pub(crate) after: Seq,
    pub(crate) upto: Seq,
    /// Ends the span at a state event that the viewer may not see: what a client makes of a state and the events after
    /// it is only right if no change of the state is missing among them.
    pub(crate) stop_at_hidden_state: bool,
}

impl Query<'_> {
    pub(crate) fn read(&self, direction: Direction, limit: usize) -> Reply<Span> {
        let mut span = Span { events: Vec::new(), more: false, reached: None };
        let (mut from, mut to) = (self.after.next(), self.upto.next());
        let mut scanned = 0;
        while from < to {
            // One more than wanted, to know whether there is more.
            let many = (limit + 1 - span.events.len()).clamp(1, CHUNK_MAX);
            let rows: Vec<((Room, Seq), Event)> =
                self.view.range(&TIMELINE, (self.room, from), (self.room, to), direction, many)?;
            let read = rows.len();
            for ((_, seq), event) in rows {
                let stored = event::load(self.view, event)?;
                let seen = self.gate.sees(&stored, seq)?;
                if !seen && self.stop_at_hidden_state && stored.row.state_key.is_some() {
                    span.more = true;
                    return Ok(span);
                }
                if seen && self.passes(&stored)? {
                    if span.events.len() == limit {
                        span.more = true;
                        return Ok(span);
                    }
                    span.events.push((seq, stored));
                }
                span.reached = Some(seq);
                match direction {
                    Direction::Forward => from = seq.next(),
                    Direction::Backward => to = seq,
                }
            }
            if read < many {
                return Ok(span);
            }
            scanned += read;
            if scanned >= SCAN_MAX {
                span.more = true;
                return Ok(span);
            }
        }
        Ok(span)
    }

    fn passes(&self, stored: &Stored) -> Reply<bool> {
        if self.filter.all && self.ignored.is_empty() {
            return Ok(true);
        }
        let sender = store::user::id(self.view, stored.row.sender)?;
        if stored.row.state_key.is_none() && self.ignored.iter().any(|i| i == sender.as_str()) {
            return Ok(false);
        }
        if self.filter.all {
            return Ok(true);
        }
        Ok(passes(self.filter, stored, sender.as_str()) && self.is_related(stored)?)
    }

    /// Does the filter's `related_by_senders` and `related_by_rel_types` hold: is there an event that relates to this one,
    /// sent by one of those and in one of those ways (spec: "Threading")? One that the viewer may not see is none.
    fn is_related(&self, stored: &Stored) -> Reply<bool> {
        let Some(by) = self.filter.matcher.related_by() else { return Ok(true) };
        let children: Vec<((Event, Seq), Relation)> =
            self.view.under(&RELATIONS, (stored.event,), CHILDREN_MAX)?;
        for ((_, order), child) in children {
            if !by.rel_types.is_empty() && !by.rel_types.contains(&child.rel_type) {
                continue;
            }
            let sender = store::user::id(self.view, child.sender)?;
            if !by.senders.is_empty() && !by.senders.contains(&sender) {
                continue;
            }
            let child = event::load(self.view, child.child)?;
            if child.row.redacted_by.is_none() && self.gate.sees(&child, order)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Does a filter let an event of an allowed room through?
pub(crate) fn passes(filter: &RoomEvents, stored: &Stored, sender: &str) -> bool {
    let rel_type = || protocol::relation::relation(stored.content()).map(|r| r.rel_type);
    filter.matcher.matches(&stored.row.kind, sender, None, || {
        protocol::relation::contains_url(stored.content())
    }) && filter.matcher.relates(rel_type)
}
