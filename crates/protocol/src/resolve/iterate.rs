//! The iterative auth checks: one event after the other is applied if the state so far allows it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use base::Event;
use ruma::room_version_rules::AuthorizationRules;

use super::known::{Fact, Facts, Slot};
use crate::auth::{Lookup, StateEvent, Verdict, authorize};

#[derive(Debug)]
pub(super) struct Iterate {
    events: Vec<Event>,
    /// How many are done.
    done: usize,
    /// Whether what most of them will look up has been asked for.
    prepared: bool,
}

impl Iterate {
    pub(super) fn new(events: Vec<Event>) -> Iterate {
        Iterate { events, done: 0, prepared: false }
    }

    /// Applies what is left; false: something has been asked.
    pub(super) fn run(
        &mut self,
        facts: &mut Facts,
        rules: &AuthorizationRules,
        chosen: &mut BTreeMap<Slot, Event>,
    ) -> bool {
        if !std::mem::replace(&mut self.prepared, true)
            && !facts.empty_base
            && prepare(facts, &self.events)
        {
            return false;
        }
        while let Some(event) = self.events.get(self.done).copied() {
            let Some(fact) = facts.get(event) else {
                facts.ask_event(event);
                return false;
            };
            let slot = fact.slot;
            let state = Partial { facts, chosen, fact, open: RefCell::default() };
            let allowed = authorize(rules, &state, &fact.known.pdu) == Verdict::Accept;
            let open = state.open.into_inner();
            if open.ask(facts) {
                return false;
            }
            if allowed {
                chosen.insert(slot, event);
            }
            self.done += 1;
        }
        true
    }
}

/// Asks for what the rules look up for nearly every event, all at once. True: something has been asked.
pub(super) fn prepare(facts: &mut Facts, events: &[Event]) -> bool {
    let mut slots = Vec::with_capacity(events.len() * 2);
    slots.push(facts.slot("m.room.create", ""));
    slots.push(facts.slot("m.room.power_levels", ""));
    slots.push(facts.slot("m.room.join_rules", ""));
    for event in events {
        let Some(pdu) = facts.get(*event).map(|fact| fact.known.pdu.clone()) else { continue };
        slots.push(facts.slot("m.room.member", pdu.sender.as_str()));
        if let Some(target) = pdu.state_key.as_deref().filter(|_| pdu.kind == "m.room.member") {
            slots.push(facts.slot("m.room.member", target));
        }
    }
    let mut asked = false;
    for slot in slots {
        if facts.unconflicted(slot).is_none() {
            facts.ask_slot(slot);
            asked = true;
        }
    }
    asked
}

/// What a lookup could not answer.
#[derive(Debug, Default)]
pub(super) struct Open {
    slots: Vec<(String, String)>,
    events: Vec<Event>,
}

impl Open {
    pub(super) fn missing_slot(&mut self, kind: &str, state_key: &str) {
        self.slots.push((kind.to_owned(), state_key.to_owned()));
    }

    pub(super) fn missing_event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Asks for it. False: there is nothing to ask.
    pub(super) fn ask(self, facts: &mut Facts) -> bool {
        let some = !(self.slots.is_empty() && self.events.is_empty());
        for (kind, key) in self.slots {
            let slot = facts.slot(&kind, &key);
            facts.ask_slot(slot);
        }
        for event in self.events {
            facts.ask_event(event);
        }
        some
    }
}

/// The state so far, as one event's check sees it: what is chosen, else what all agree on (before version 12), else what
/// the event itself names, unless that was rejected.
struct Partial<'a> {
    facts: &'a Facts,
    chosen: &'a BTreeMap<Slot, Event>,
    fact: &'a Fact,
    open: RefCell<Open>,
}

impl Partial<'_> {
    /// The event that a state has in a place; the outer `None`: not known.
    fn in_state(&self, kind: &str, state_key: &str) -> Option<Option<Event>> {
        let slot = self.facts.slot_of(kind, state_key);
        if let Some(event) = slot.and_then(|slot| self.chosen.get(&slot)) {
            return Some(Some(*event));
        }
        if self.facts.empty_base {
            return Some(None);
        }
        slot.and_then(|slot| self.facts.unconflicted(slot))
    }

    /// The event that this one names in a place; since version 12 each names the create event by its room id.
    fn named(&self, kind: &str, state_key: &str) -> Option<&Fact> {
        let slot = self.facts.slot_of(kind, state_key)?;
        let implied = (kind == "m.room.create").then_some(self.facts.create);
        let named = self.fact.known.auth.iter().copied().chain(implied);
        let mut named = named.filter_map(|event| self.facts.get(event));
        named.find(|fact| fact.slot == slot && !fact.known.rejected)
    }
}

impl Lookup for Partial<'_> {
    fn get(&self, kind: &str, state_key: &str) -> Option<Arc<StateEvent>> {
        let Some(found) = self.in_state(kind, state_key) else {
            self.open.borrow_mut().missing_slot(kind, state_key);
            return None;
        };
        let Some(event) = found else { return self.named(kind, state_key).map(Fact::state) };
        let fact = self.facts.get(event);
        if fact.is_none() {
            self.open.borrow_mut().missing_event(event);
        }
        fact.map(Fact::state)
    }
}
