//! The full conflicted set: the conflicted events, the auth difference, and since version 12 the conflicted state
//! subgraph.
//!
//! The walk goes down the auth chains of the conflicted events and ends at events that are settled. Those, and all that
//! they rest on, are in the auth chain of every state; what is not settled is in the auth chains of just those
//! states from whose conflicted events the walk came there.

use std::collections::{BTreeSet, HashMap, HashSet};

use base::Event;

use super::known::Facts;

/// A set of states, one bit each.
type States = u128;

#[derive(Debug)]
pub(super) struct Gather {
    /// Whether the conflicted state subgraph counts.
    subgraph: bool,
    /// The conflicted events, with the states that have them. Empty until they are known.
    conflicted: HashMap<Event, States>,
    all: States,
    /// The smallest rank of a conflicted event: nothing below leads to one.
    lowest: u64,
    /// Where the walk has been.
    seen: HashSet<Event>,
    /// Where it has not been able to go on.
    waiting: Vec<Event>,
}

impl Gather {
    pub(super) fn new(subgraph: bool) -> Gather {
        Gather {
            subgraph,
            conflicted: HashMap::new(),
            all: 0,
            lowest: 0,
            seen: HashSet::new(),
            waiting: Vec::new(),
        }
    }

    /// The full conflicted set; `None`: something has been asked.
    pub(super) fn run(
        &mut self,
        facts: &mut Facts,
        slots: &[Vec<Option<Event>>],
    ) -> Option<BTreeSet<Event>> {
        if self.conflicted.is_empty() {
            self.begin(facts, slots)?;
        }
        self.walk(facts)?;
        let mut full: BTreeSet<Event> = self.conflicted.keys().copied().collect();
        let mut order: Vec<Event> = self.seen.iter().copied().collect();
        order.sort_by_key(|event| facts.get(*event).map(|fact| fact.known.rank));
        full.extend(self.difference(facts, &order));
        if self.subgraph {
            full.extend(self.between(facts, &order));
        }
        Some(full)
    }

    /// Takes in the conflicted events, when they and the create event are known.
    fn begin(&mut self, facts: &mut Facts, slots: &[Vec<Option<Event>>]) -> Option<()> {
        let mut conflicted: HashMap<Event, States> = HashMap::new();
        for slot in slots {
            for (state, event) in slot.iter().enumerate() {
                self.all |= 1 << state;
                if let Some(event) = event {
                    *conflicted.entry(*event).or_default() |= 1 << state;
                }
            }
        }
        let mut open = facts.event(facts.create).is_none();
        for event in conflicted.keys() {
            open |= facts.event(*event).is_none();
        }
        if open {
            return None;
        }
        let rank = |event: &Event| facts.get(*event).map(|fact| fact.known.rank);
        self.lowest = conflicted.keys().filter_map(rank).min().unwrap_or_default();
        for event in conflicted.keys() {
            facts.mark_conflicted(*event);
        }
        self.waiting.extend(conflicted.keys());
        self.seen.extend(conflicted.keys());
        self.conflicted = conflicted;
        Some(())
    }

    /// Goes as far as it can; `None`: it waits.
    fn walk(&mut self, facts: &mut Facts) -> Option<()> {
        let mut stuck = Vec::new();
        while let Some(event) = self.waiting.pop() {
            match self.leads_on(facts, event) {
                None => stuck.push(event),
                Some(false) => {}
                Some(true) => {
                    let auth = facts.get(event).map(|fact| fact.known.auth.clone());
                    for next in auth.unwrap_or_default() {
                        if self.seen.insert(next) {
                            self.waiting.push(next);
                        }
                    }
                }
            }
        }
        self.waiting = stuck;
        self.waiting.is_empty().then_some(())
    }

    /// Whether the walk goes on from an event to its auth events; `None`: something has been asked.
    ///
    /// The create event counts as settled: what is conflicted is never decided by whether it is applied once more.
    fn leads_on(&self, facts: &mut Facts, event: Event) -> Option<bool> {
        if event == facts.create {
            return Some(false);
        }
        if self.conflicted.contains_key(&event) {
            return Some(true);
        }
        let settled = facts.settled(event);
        let rank = facts.event(event)?.known.rank;
        Some(!settled? || (self.subgraph && rank > self.lowest))
    }

    /// The events that are in the auth chain of some states, but not of all. `order` goes from the bottom up.
    fn difference(&self, facts: &mut Facts, order: &[Event]) -> Vec<Event> {
        let mut below: HashMap<Event, States> = HashMap::new();
        let mut found = Vec::new();
        for event in order.iter().rev() {
            let reached = below.get(event).copied().unwrap_or_default();
            let states = match self.conflicted.get(event) {
                Some(own) => reached | own,
                None if *event == facts.create || facts.settled(*event) != Some(false) => continue,
                None => {
                    if reached != self.all {
                        found.push(*event);
                    }
                    reached
                }
            };
            for next in facts.get(*event).iter().flat_map(|fact| &fact.known.auth) {
                *below.entry(*next).or_default() |= states;
            }
        }
        found
    }

    /// The events on the paths from one conflicted event to another, without those on no path.
    fn between(&self, facts: &Facts, order: &[Event]) -> Vec<Event> {
        let mut leading: HashSet<Event> = HashSet::new();
        for event in order {
            let auth = facts.get(*event).map(|fact| fact.known.auth.as_slice());
            let leads = |next: &Event| leading.contains(next);
            if self.conflicted.contains_key(event) || auth.unwrap_or_default().iter().any(leads) {
                leading.insert(*event);
            }
        }
        leading.into_iter().collect()
    }
}
