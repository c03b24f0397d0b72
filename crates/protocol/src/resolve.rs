//! State resolution (spec: Room Versions 1, 2 and 12, "State resolution"): which state a room has where its history
//! comes together again.
//!
//! [`Resolution`] is a machine that is asked for its next [`Step`]: it answers with what it needs to know and is asked
//! again, until it is done. It deals in the caller's numbers of events, and what it asks for grows with the conflict, not
//! with the room: of the state that all agree on it asks for the few pairs that the rules look up, and of the auth
//! chains only for what lies above the state that all agree on.
//!
//! Two things make that exact rather than likely. [`Known::rank`] orders the graph of `auth_events` by what the caller
//! has computed itself, where the `depth` of an event is only claimed by its server. And an event is
//! [settled](Missing::settled) if it is in the auth chain of the state that all agree on: it and all before it are then in
//! every auth chain, and the walk ends there.
//!
//! The result is a function of the events alone. Where the numbers of events or the order of the states could show,
//! everything is sorted by what the spec names.

mod gather;
mod iterate;
mod known;
mod mainline;
mod power;
mod v1;

use std::collections::{BTreeMap, BTreeSet};

use base::{Error, Event, Reply};
use ruma::room_version_rules::{AuthorizationRules, RoomVersionRules, StateResolutionVersion};

use self::gather::Gather;
use self::iterate::Iterate;
use self::known::{Facts, Slot};
pub use self::known::{Known, Missing};
use self::mainline::Mainline;
use self::v1::Passes;

/// The most states that are resolved at once: far more than the 20 `prev_events` of one event, for rooms whose history has
/// come apart into many ends.
pub const STATES_MAX: usize = 128;

/// Where some states of a room differ.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The room's create event.
    pub create: Event,
    /// How many states there are.
    pub states: usize,
    /// Each pair of type and state key on which they do not all agree: the event that each state has there.
    pub slots: Vec<Vec<Option<Event>>>,
}

/// What comes of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The machine waits for this: tell it, and step again.
    Missing(Missing),
    /// The events that the resolved state has where the states differ, in the order of their numbers. A pair of type and
    /// state key of the conflict that none of them has is not in the resolved state. Everywhere else the state is what
    /// all agree on.
    Done(Vec<Event>),
}

/// The resolution of one conflict. See the module.
#[derive(Debug)]
pub struct Resolution {
    rules: AuthorizationRules,
    conflict: Conflict,
    facts: Facts,
    /// What is chosen so far, by pair of type and state key.
    chosen: BTreeMap<Slot, Event>,
    stage: Stage,
}

/// How far it has come, in the order of the algorithm.
#[derive(Debug)]
enum Stage {
    /// Version 1 is done in passes.
    Passes(Passes),
    /// Finding the full conflicted set.
    Gather(Gather),
    /// Iterative auth checks of the power events and what they rest on.
    Power(Iterate, BTreeSet<Event>),
    /// Ordering the rest by the mainline.
    Order(Mainline),
    /// Iterative auth checks of the rest.
    Rest(Iterate),
    /// The unconflicted state over what was chosen.
    Overlay,
}

impl Resolution {
    /// The resolution of a conflict in a room of a version with these rules.
    ///
    /// # Errors
    /// A fault if there are more than [`STATES_MAX`] states, or if the version's algorithm is unknown here.
    pub fn new(rules: &RoomVersionRules, conflict: Conflict) -> Reply<Resolution> {
        if conflict.states > STATES_MAX {
            return Err(Error::fault(format!("{} states to resolve", conflict.states)));
        }
        let (stage, empty_base) = match rules.state_res {
            StateResolutionVersion::V1 => (Stage::Passes(Passes::default()), false),
            StateResolutionVersion::V2(v2) => (
                Stage::Gather(Gather::new(v2.consider_conflicted_state_subgraph)),
                v2.begin_iterative_auth_checks_with_empty_state_map,
            ),
            _ => return Err(Error::fault("a state resolution of an unknown version")),
        };
        let facts = Facts::new(conflict.create, empty_base);
        let rules = rules.authorization.clone();
        Ok(Resolution { rules, conflict, facts, chosen: BTreeMap::new(), stage })
    }

    /// Tells of an event that was [missing](Missing::events).
    pub fn tell_event(&mut self, event: Event, known: Known) {
        self.facts.learn(event, known);
    }

    /// Tells which event, if any, all states have in a place that was [missing](Missing::slots).
    pub fn tell_slot(&mut self, kind: &str, state_key: &str, event: Option<Event>) {
        self.facts.learn_unconflicted(kind, state_key, event);
    }

    /// Tells whether an event is [settled](Missing::settled).
    pub fn tell_settled(&mut self, event: Event, settled: bool) {
        self.facts.learn_settled(event, settled);
    }

    /// Goes on until something is missing or all is done. Once done, it says so again.
    pub fn step(&mut self) -> Step {
        while !self.advance() {
            let missing = self.facts.take_missing();
            if !missing.is_empty() {
                return Step::Missing(missing);
            }
        }
        let mut chosen: Vec<Event> = self.chosen.values().copied().collect();
        chosen.sort_unstable();
        Step::Done(chosen)
    }

    /// Does what can be done of the present stage; true: nothing is left to do.
    fn advance(&mut self) -> bool {
        let (facts, rules) = (&mut self.facts, &self.rules);
        let next = match &mut self.stage {
            Stage::Passes(passes) => {
                if !passes.run(facts, rules, &self.conflict.slots, &mut self.chosen) {
                    return false;
                }
                return true;
            }
            Stage::Gather(gather) => {
                let Some(full) = gather.run(facts, &self.conflict.slots) else { return false };
                let first = power::sorted(facts, rules, &full);
                let rest = full.difference(&first.iter().copied().collect()).copied().collect();
                Stage::Power(Iterate::new(first), rest)
            }
            Stage::Power(iterate, rest) => {
                if !iterate.run(facts, rules, &mut self.chosen) {
                    return false;
                }
                Stage::Order(Mainline::new(std::mem::take(rest)))
            }
            Stage::Order(mainline) => {
                let Some(sorted) = mainline.run(facts, &self.chosen) else { return false };
                Stage::Rest(Iterate::new(sorted))
            }
            Stage::Rest(iterate) => {
                if !iterate.run(facts, rules, &mut self.chosen) {
                    return false;
                }
                Stage::Overlay
            }
            Stage::Overlay => return facts.overlay(&mut self.chosen),
        };
        self.stage = next;
        false
    }
}
