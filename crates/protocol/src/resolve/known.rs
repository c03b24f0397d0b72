//! What the machine has been told, and what it still has to ask.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use base::Event;

use crate::auth::StateEvent;
use crate::pdu::Pdu;

/// An event, as resolving needs it.
#[derive(Clone, Debug)]
pub struct Known {
    /// The event. It is a state event.
    pub pdu: Arc<Pdu>,
    /// The numbers of its `auth_events`, in their order.
    pub auth: Vec<Event>,
    /// One more than the largest rank of its auth events, 0 if it has none. Computed by who stores the event and never
    /// taken from what its server claims.
    pub rank: u64,
    /// Whether it was rejected on receipt.
    pub rejected: bool,
}

/// What the machine must be told to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Events, by number.
    pub events: Vec<Event>,
    /// Types and state keys: which event do *all* states have there? (None, if they differ.)
    pub slots: Vec<(String, String)>,
    /// Events of which to say whether they are settled: in the auth chain of an event that all states have.
    pub settled: Vec<Event>,
}

impl Missing {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.slots.is_empty() && self.settled.is_empty()
    }
}

/// A type and state key, numbered as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot(usize);

#[derive(Debug)]
pub(super) struct Fact {
    pub(super) known: Known,
    pub(super) slot: Slot,
    state: OnceLock<Arc<StateEvent>>,
}

impl Fact {
    /// The event as the rules look it up.
    pub(super) fn state(&self) -> Arc<StateEvent> {
        self.state.get_or_init(|| Arc::new(StateEvent::from(&*self.known.pdu))).clone()
    }

    pub(super) fn is_power_levels(&self) -> bool {
        let pdu = &self.known.pdu;
        pdu.kind == "m.room.power_levels" && pdu.state_key.as_deref() == Some("")
    }
}

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) create: Event,
    /// Whether the iterative auth checks begin with no state rather than the unconflicted one (version 12).
    pub(super) empty_base: bool,
    events: HashMap<Event, Fact>,
    numbers: HashMap<Box<str>, HashMap<Box<str>, Slot>>,
    names: Vec<(Box<str>, Box<str>)>,
    conflicted: HashSet<Slot>,
    unconflicted: HashMap<Slot, Option<Event>>,
    settled: HashMap<Event, bool>,
    ask_events: BTreeSet<Event>,
    ask_slots: BTreeSet<Slot>,
    ask_settled: BTreeSet<Event>,
}

impl Facts {
    pub(super) fn new(create: Event, empty_base: bool) -> Facts {
        Facts {
            create,
            empty_base,
            events: HashMap::new(),
            numbers: HashMap::new(),
            names: Vec::new(),
            conflicted: HashSet::new(),
            unconflicted: HashMap::new(),
            settled: HashMap::new(),
            ask_events: BTreeSet::new(),
            ask_slots: BTreeSet::new(),
            ask_settled: BTreeSet::new(),
        }
    }

    pub(super) fn slot(&mut self, kind: &str, state_key: &str) -> Slot {
        if let Some(slot) = self.slot_of(kind, state_key) {
            return slot;
        }
        let slot = Slot(self.names.len());
        self.names.push((kind.into(), state_key.into()));
        self.numbers.entry(kind.into()).or_default().insert(state_key.into(), slot);
        slot
    }

    /// The number of a type and state key that has one.
    pub(super) fn slot_of(&self, kind: &str, state_key: &str) -> Option<Slot> {
        self.numbers.get(kind)?.get(state_key).copied()
    }

    pub(super) fn learn(&mut self, event: Event, known: Known) {
        let key = known.pdu.state_key.clone().unwrap_or_default();
        let slot = self.slot(&known.pdu.kind, &key);
        self.events.insert(event, Fact { known, slot, state: OnceLock::new() });
    }

    pub(super) fn learn_unconflicted(&mut self, kind: &str, key: &str, event: Option<Event>) {
        let slot = self.slot(kind, key);
        self.unconflicted.insert(slot, event);
    }

    pub(super) fn learn_settled(&mut self, event: Event, settled: bool) {
        self.settled.insert(event, settled);
    }

    /// Says that the states differ where this event is: there is no unconflicted event there.
    pub(super) fn mark_conflicted(&mut self, event: Event) {
        if let Some(fact) = self.events.get(&event) {
            self.conflicted.insert(fact.slot);
        }
    }

    /// What is known of an event already.
    pub(super) fn get(&self, event: Event) -> Option<&Fact> {
        self.events.get(&event)
    }

    /// What is known of an event; if nothing, it is asked for.
    pub(super) fn event(&mut self, event: Event) -> Option<&Fact> {
        if !self.events.contains_key(&event) {
            self.ask_events.insert(event);
        }
        self.events.get(&event)
    }

    /// Whether an event is settled; `None`: it is asked.
    pub(super) fn settled(&mut self, event: Event) -> Option<bool> {
        let settled = self.settled.get(&event).copied();
        if settled.is_none() {
            self.ask_settled.insert(event);
        }
        settled
    }

    /// The event that all states have in a place, as far as is known: the outer `None` means unknown.
    pub(super) fn unconflicted(&self, slot: Slot) -> Option<Option<Event>> {
        if self.conflicted.contains(&slot) {
            return Some(None);
        }
        self.unconflicted.get(&slot).copied()
    }

    pub(super) fn ask_slot(&mut self, slot: Slot) {
        self.ask_slots.insert(slot);
    }

    pub(super) fn ask_event(&mut self, event: Event) {
        self.ask_events.insert(event);
    }

    /// The power levels event that an event names as its authority: `None` if it, or one of its auth events, is unknown
    /// and has been asked for.
    pub(super) fn power_levels_of(&mut self, event: Event) -> Option<Option<Event>> {
        let auth = self.event(event)?.known.auth.clone();
        let mut found = None;
        let mut open = false;
        for id in auth {
            match self.event(id) {
                Some(fact) if found.is_none() && fact.is_power_levels() => found = Some(id),
                Some(_) => {}
                None => open = true,
            }
        }
        (!open).then_some(found)
    }

    /// Drops what was chosen where all states agree: there they win. False: something has been asked.
    pub(super) fn overlay(&mut self, chosen: &mut BTreeMap<Slot, Event>) -> bool {
        let unknown: Vec<Slot> =
            chosen.keys().copied().filter(|slot| self.unconflicted(*slot).is_none()).collect();
        if !unknown.is_empty() {
            self.ask_slots.extend(unknown);
            return false;
        }
        chosen.retain(|slot, _| self.unconflicted(*slot) == Some(None));
        true
    }

    /// What has been asked since the last time and is not answered.
    pub(super) fn take_missing(&mut self) -> Missing {
        let slots = std::mem::take(&mut self.ask_slots);
        let name = |slot: Slot| {
            self.names.get(slot.0).map(|(kind, key)| (kind.to_string(), key.to_string()))
        };
        Missing {
            slots: slots.into_iter().filter_map(name).collect(),
            events: std::mem::take(&mut self.ask_events).into_iter().collect(),
            settled: std::mem::take(&mut self.ask_settled).into_iter().collect(),
        }
    }
}
