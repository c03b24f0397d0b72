//! Mainline ordering: by how new the power levels are that an event was sent under.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::Event;

use super::known::{Facts, Slot};

#[derive(Debug)]
pub(super) struct Mainline {
    events: BTreeSet<Event>,
    /// The power levels in force and, one after the other, those that they were set under; as far as they are needed.
    line: Vec<Event>,
    /// Their places in the line, and those of other power levels events: `None` is the end behind all.
    places: HashMap<Event, Option<usize>>,
    /// Whether the line has reached the room's first power levels.
    ended: bool,
}

impl Mainline {
    /// Orders these events.
    pub(super) fn new(events: BTreeSet<Event>) -> Mainline {
        Mainline { events, line: Vec::new(), places: HashMap::new(), ended: false }
    }

    /// The events from earliest to latest; `None`: something has been asked.
    pub(super) fn run(
        &mut self,
        facts: &mut Facts,
        chosen: &BTreeMap<Slot, Event>,
    ) -> Option<Vec<Event>> {
        if self.line.is_empty() && !self.ended && !self.events.is_empty() {
            match in_force(facts, chosen)? {
                Some(levels) => self.extend(levels),
                None => self.ended = true,
            }
        }
        let mut keys = Vec::with_capacity(self.events.len());
        let mut open = false;
        for event in self.events.clone() {
            match self.place_of(facts, event) {
                Some(place) => keys.push((event, place)),
                None => open = true,
            }
        }
        if open {
            return None;
        }
        let key = |(event, place): (Event, Option<usize>)| {
            let pdu = &facts.get(event)?.known.pdu;
            // The end behind all comes first, then the oldest of the line.
            let newness = place.map_or(0, |place| usize::MAX - place);
            Some((newness, pdu.origin_server_ts, &*pdu.event_id, event))
        };
        let mut keys: Vec<_> = keys.into_iter().filter_map(key).collect();
        keys.sort_unstable();
        Some(keys.into_iter().map(|(.., event)| event).collect())
    }

    fn extend(&mut self, levels: Event) {
        self.places.insert(levels, Some(self.line.len()));
        self.line.push(levels);
    }

    /// The mainline position of an event, where `Some(None)` is infinity; `None`: something has been asked.
    fn place_of(&mut self, facts: &mut Facts, event: Event) -> Option<Option<usize>> {
        if self.line.is_empty() {
            return Some(None);
        }
        let mut passed = Vec::new();
        let mut next = facts.power_levels_of(event)?;
        let place = loop {
            let Some(levels) = next else { break None };
            self.reach(facts, levels)?;
            if let Some(place) = self.places.get(&levels) {
                break *place;
            }
            passed.push(levels);
            next = facts.power_levels_of(levels)?;
        };
        self.places.extend(passed.into_iter().map(|levels| (levels, place)));
        Some(place)
    }

    /// Draws the line on until it is no higher than this event: if it has not met it then, it never will.
    fn reach(&mut self, facts: &mut Facts, levels: Event) -> Option<()> {
        let rank = facts.event(levels)?.known.rank;
        while let Some(last) = self.line.last().copied().filter(|_| !self.ended) {
            if facts.event(last)?.known.rank <= rank {
                break;
            }
            match facts.power_levels_of(last)? {
                Some(next) => self.extend(next),
                None => self.ended = true,
            }
        }
        Some(())
    }
}

/// The power levels event of the state that is resolved in part; `None`: something has been asked.
fn in_force(facts: &mut Facts, chosen: &BTreeMap<Slot, Event>) -> Option<Option<Event>> {
    let slot = facts.slot("m.room.power_levels", "");
    if let Some(event) = chosen.get(&slot) {
        return Some(Some(*event));
    }
    if facts.empty_base {
        return Some(None);
    }
    let found = facts.unconflicted(slot);
    if found.is_none() {
        facts.ask_slot(slot);
    }
    found
}
