//! The algorithm of room version 1: conflicts over power levels first, then join rules, then members, then the rest.
//!
//! The spec's text treats the members as one list; its algorithm, as the rooms of this version have lived by it, takes
//! each pair of type and state key by itself, and within a pass none sees what another was resolved to.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use base::Event;
use ruma::room_version_rules::AuthorizationRules;
use sha1::{Digest, Sha1};

use super::iterate::{Open, prepare};
use super::known::{Fact, Facts, Slot};
use crate::auth::{Lookup, StateEvent, Verdict, authorize};

/// The types that are resolved in passes of their own, in this order; all others follow together.
const PASSES: [&str; 3] = ["m.room.power_levels", "m.room.join_rules", "m.room.member"];

#[derive(Debug, Default)]
pub(super) struct Passes {
    /// Conflicts with their events by ascending depth, then descending SHA-1 of the id; `None` until they are known.
    conflicts: Option<Vec<(Slot, Vec<Event>)>>,
    /// The pass.
    pass: usize,
    /// How many conflicts this pass has looked at.
    done: usize,
    /// What this pass has chosen.
    found: Vec<(Slot, Event)>,
}

impl Passes {
    /// Does what is left; false: something has been asked.
    pub(super) fn run(
        &mut self,
        facts: &mut Facts,
        rules: &AuthorizationRules,
        slots: &[Vec<Option<Event>>],
        chosen: &mut BTreeMap<Slot, Event>,
    ) -> bool {
        if self.conflicts.is_none() {
            let Some(conflicts) = begin(facts, slots, chosen) else { return false };
            let all: Vec<Event> = conflicts.iter().flat_map(|(_, events)| events.clone()).collect();
            self.conflicts = Some(conflicts);
            if prepare(facts, &all) {
                return false;
            }
        }
        let Some(conflicts) = &self.conflicts else { return false };
        while self.pass <= PASSES.len() {
            while let Some((slot, events)) = conflicts.get(self.done) {
                if pass_of(facts, events) == self.pass {
                    let pick = if self.pass < PASSES.len() { first_run } else { last_allowed };
                    let state = Agreed { facts, chosen, over: None, open: RefCell::default() };
                    let (found, open) = pick(state, rules, *slot, events);
                    if open.ask(facts) {
                        return false;
                    }
                    self.found.extend(found.map(|event| (*slot, event)));
                }
                self.done += 1;
            }
            chosen.extend(self.found.drain(..));
            (self.pass, self.done) = (self.pass + 1, 0);
        }
        true
    }
}

/// Sorts out what is a conflict: different events in one place. What only some states have is taken as it is.
fn begin(
    facts: &mut Facts,
    slots: &[Vec<Option<Event>>],
    chosen: &mut BTreeMap<Slot, Event>,
) -> Option<Vec<(Slot, Vec<Event>)>> {
    let mut open = facts.event(facts.create).is_none();
    for event in slots.iter().flatten().flatten() {
        open |= facts.event(*event).is_none();
    }
    if open {
        return None;
    }
    let mut conflicts = Vec::new();
    for events in slots {
        let key = |event: &Event| {
            let fact = facts.get(*event)?;
            let hash: [u8; 20] = Sha1::digest(fact.known.pdu.event_id.as_str()).into();
            Some((fact.known.pdu.depth, Reverse(hash), *event, fact.slot))
        };
        let mut keys: Vec<_> = events.iter().flatten().filter_map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let Some((.., first, slot)) = keys.first().copied() else { continue };
        facts.mark_conflicted(first);
        if keys.len() == 1 {
            chosen.insert(slot, first);
        } else {
            conflicts.push((slot, keys.into_iter().map(|(.., event, _)| event).collect()));
        }
    }
    Some(conflicts)
}

/// The pass in which a conflict is resolved.
fn pass_of(facts: &Facts, events: &[Event]) -> usize {
    let fact = events.first().and_then(|event| facts.get(*event));
    let kind = fact.map_or("", |fact| fact.known.pdu.kind.as_str());
    PASSES.iter().position(|pass| *pass == kind).unwrap_or(PASSES.len())
}

/// The first event, then each next as long as the one before allows it.
fn first_run(
    mut state: Agreed<'_>,
    rules: &AuthorizationRules,
    slot: Slot,
    events: &[Event],
) -> (Option<Event>, Open) {
    let mut events = events.iter().copied();
    let mut found = events.next();
    for event in events {
        state.over = found.map(|found| (slot, found));
        if !state.allows(rules, event) {
            break;
        }
        found = Some(event);
    }
    (found, state.open.into_inner())
}

/// The deepest event that is allowed.
fn last_allowed(
    state: Agreed<'_>,
    rules: &AuthorizationRules,
    _: Slot,
    events: &[Event],
) -> (Option<Event>, Open) {
    let found = events.iter().rev().copied().find(|event| state.allows(rules, *event));
    (found, state.open.into_inner())
}

/// The result so far.
struct Agreed<'a> {
    facts: &'a Facts,
    chosen: &'a BTreeMap<Slot, Event>,
    /// What stands in the place that is being resolved.
    over: Option<(Slot, Event)>,
    open: RefCell<Open>,
}

impl Agreed<'_> {
    fn allows(&self, rules: &AuthorizationRules, event: Event) -> bool {
        let fact = self.facts.get(event);
        fact.is_some_and(|fact| authorize(rules, self, &fact.known.pdu) == Verdict::Accept)
    }
}

impl Lookup for Agreed<'_> {
    fn get(&self, kind: &str, state_key: &str) -> Option<Arc<StateEvent>> {
        let slot = self.facts.slot_of(kind, state_key);
        let over = self.over.filter(|(place, _)| slot == Some(*place)).map(|(_, event)| event);
        let chosen = || slot.and_then(|slot| self.chosen.get(&slot)).copied();
        let event = match over.or_else(chosen) {
            Some(event) => event,
            None => match slot.and_then(|slot| self.facts.unconflicted(slot)) {
                Some(found) => found?,
                None => {
                    self.open.borrow_mut().missing_slot(kind, state_key);
                    return None;
                }
            },
        };
        let fact = self.facts.get(event);
        if fact.is_none() {
            self.open.borrow_mut().missing_event(event);
        }
        fact.map(Fact::state)
    }
}
