//! What came before events in a room's graph, for servers that miss it (spec: Server-Server API, "Backfilling and retrieving
//! missing events", "Retrieving events").
//!
//! What the asking server may not have whole is given redacted, see [`ServerGate::takes`]. Rejected events are passed over, not given.

use std::collections::{BinaryHeap, HashSet, VecDeque};

use base::{Error, Event, Reply};
use ruma::{EventId, OwnedEventId};
use store::{
    View,
    event::{self, Stored, is_outlier},
    pdu::{self, Wire},
    schema::JUDGED,
};

use crate::server_gate::ServerGate;

/// Events of one `GET /backfill`.
pub const BACKFILL_MAX: usize = 100;
/// Events of one `POST /get_missing_events`.
pub const MISSING_MAX: usize = 20;
/// Events that a request may begin from or end at; more ends of one graph are rare.
const NAMED_MAX: usize = 100;
/// Events looked at for one request: those that are not given count too.
const STEPS_MAX: usize = 1_000;

/// The events of these ids and those before them, deepest first, as federation JSON.
///
/// # Errors
/// Faults of the store.
pub fn backfill(
    view: &View,
    gate: &ServerGate<'_>,
    from: &[OwnedEventId],
    limit: usize,
) -> Reply<Vec<String>> {
    let walk = Walk::new(view, gate)?;
    let limit = limit.min(BACKFILL_MAX);
    let mut seen = HashSet::new();
    let mut ahead: BinaryHeap<(u64, Event)> = BinaryHeap::new();
    let mut reach = |ids: &[OwnedEventId], ahead: &mut BinaryHeap<(u64, Event)>| -> Reply<()> {
        for id in ids {
            if let Some((event, depth)) = walk.find(id)?
                && seen.insert(event)
            {
                ahead.push((depth, event));
            }
        }
        Ok(())
    };
    reach(from.get(..NAMED_MAX).unwrap_or(from), &mut ahead)?;
    let mut found = Vec::new();
    for _ in 0..STEPS_MAX {
        let Some((_, event)) = ahead.pop().filter(|_| found.len() < limit) else { break };
        let Some(step) = walk.step(event)? else { continue };
        found.extend(step.text);
        reach(&step.prev, &mut ahead)?;
    }
    Ok(found)
}

/// What is asked for of what is missing.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    /// Those that the server has: they are left out, with all before them.
    pub earliest: &'a [OwnedEventId],
    /// Those whose predecessors it misses; they themselves are left out.
    pub latest: &'a [OwnedEventId],
    /// At most how many.
    pub limit: usize,
    /// Those of a smaller depth are left out.
    pub min_depth: u64,
}

/// The events between those that a server has and those it was sent, oldest first, as federation JSON. Found breadth-first
/// from the latest.
///
/// # Errors
/// Faults of the store.
pub fn missing(view: &View, gate: &ServerGate<'_>, gap: &Gap<'_>) -> Reply<Vec<String>> {
    let walk = Walk::new(view, gate)?;
    let limit = gap.limit.min(MISSING_MAX);
    let mut seen: HashSet<Event> = HashSet::new();
    for id in gap.earliest.iter().take(NAMED_MAX) {
        seen.extend(walk.find(id)?.map(|(event, _)| event));
    }
    let mut ahead: VecDeque<Event> = VecDeque::new();
    let mut latest = Vec::new();
    for id in gap.latest.iter().take(NAMED_MAX) {
        if let Some((event, _)) = walk.find(id)?
            && seen.insert(event)
        {
            latest.push(event);
        }
    }
    let mut reach = |step: &Step, ahead: &mut VecDeque<Event>| -> Reply<()> {
        for id in &step.prev {
            if let Some((event, depth)) = walk.find(id)?
                && depth >= gap.min_depth
                && seen.insert(event)
            {
                ahead.push_back(event);
            }
        }
        Ok(())
    };
    for event in latest {
        if let Some(step) = walk.step(event)? {
            reach(&step, &mut ahead)?;
        }
    }
    let mut found = Vec::new();
    for _ in 0..STEPS_MAX {
        let Some(event) = ahead.pop_front().filter(|_| found.len() < limit) else { break };
        let Some(mut step) = walk.step(event)? else { continue };
        let text = step.text.take();
        found.extend(text.map(|text| (step.depth, event, text)));
        reach(&step, &mut ahead)?;
    }
    found.sort_by_key(|(depth, event, _)| (*depth, *event));
    Ok(found.into_iter().map(|(_, _, text)| text).collect())
}

/// One event for a server, as federation JSON.
///
/// # Errors
/// 404 `M_NOT_FOUND` if it is not here, or was rejected; 403 `M_FORBIDDEN` for a server that may not look into its room.
pub fn one(view: &View, server: &ruma::ServerName, id: &EventId) -> Reply<String> {
    let missing = || Error::not_found(format!("Could not find event {id}"));
    let stored = event::load_id(view, id)?.ok_or_else(missing)?;
    let gate = ServerGate::new(view, stored.row.room, server)?;
    if !gate.may_look()? {
        return Err(Error::forbidden("Your server is not in the room of this event."));
    }
    if is_rejected(view, stored.event)? {
        return Err(missing());
    }
    let rest = event::rest(view, stored.event)?;
    show(&gate, &Wire::of(view, stored.row.room)?, &stored, &rest)
}

/// Did the rules of its room refuse the event? Then it is nobody's.
///
/// # Errors
/// Faults of the store.
pub fn is_rejected(view: &View, event: Event) -> Reply<bool> {
    Ok(view.get(&JUDGED, (event,))?.is_some_and(|judged| judged.rejected()))
}

fn show(gate: &ServerGate<'_>, wire: &Wire, stored: &Stored, rest: &str) -> Reply<String> {
    if gate.takes(stored)? { wire.whole(stored, rest) } else { wire.pruned(stored, rest) }
}

struct Walk<'a> {
    view: &'a View,
    gate: &'a ServerGate<'a>,
    wire: Wire,
}

/// An event on the way.
struct Step {
    depth: u64,
    prev: Vec<OwnedEventId>,
    /// `None`: it is not given.
    text: Option<String>,
}

impl<'a> Walk<'a> {
    fn new(view: &'a View, gate: &'a ServerGate<'a>) -> Reply<Walk<'a>> {
        Ok(Walk { view, gate, wire: Wire::of(view, gate.room())? })
    }

    /// An event of the room, with its depth.
    fn find(&self, id: &EventId) -> Reply<Option<(Event, u64)>> {
        let stored = event::load_id(self.view, id)?;
        let stored = stored.filter(|stored| stored.row.room == self.gate.room());
        Ok(stored.map(|stored| (stored.event, stored.row.depth)))
    }

    /// `None`: it has no place in the room.
    fn step(&self, event: Event) -> Reply<Option<Step>> {
        let stored = event::load(self.view, event)?;
        let rejected = is_rejected(self.view, event)?;
        if is_outlier(&stored.row) && !rejected {
            return Ok(None);
        }
        let rest = event::rest(self.view, event)?;
        let text = match rejected {
            true => None,
            false => Some(show(self.gate, &self.wire, &stored, &rest)?),
        };
        Ok(Some(Step { depth: stored.row.depth, prev: pdu::named(&rest)?.prev, text }))
    }
}
