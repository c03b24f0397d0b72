//! The power events and what they rest on, in reverse topological power ordering.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use base::Event;
use ruma::EventId;
use ruma::room_version_rules::AuthorizationRules;

use super::known::{Fact, Facts};
use crate::auth::creators;
use crate::pdu::Pdu;
use crate::power::{Power, PowerLevels};

/// The power events of a full conflicted set with those of their auth chains that are in it, from earliest to latest.
///
/// The auth chain is followed within the set only, as every implementation does: the spec's words would also let it
/// lead through events that are not in the set and back.
pub(super) fn sorted(
    facts: &Facts,
    rules: &AuthorizationRules,
    full: &BTreeSet<Event>,
) -> Vec<Event> {
    let is_power =
        |event: &&Event| facts.get(**event).is_some_and(|f| is_power_event(&f.known.pdu));
    let mut found: BTreeSet<Event> = full.iter().filter(is_power).copied().collect();
    let mut waiting: Vec<Event> = found.iter().copied().collect();
    while let Some(event) = waiting.pop() {
        for next in rests_on(facts, full, event) {
            if found.insert(next) {
                waiting.push(next);
            }
        }
    }
    kahn(facts, rules, &found)
}

/// The auth events of an event that are in a set, each once.
fn rests_on(facts: &Facts, set: &BTreeSet<Event>, event: Event) -> BTreeSet<Event> {
    let auth = facts.get(event).into_iter().flat_map(|fact| &fact.known.auth);
    auth.copied().filter(|next| set.contains(next)).collect()
}

/// Whether an event might take away someone's ability to do something.
fn is_power_event(pdu: &Pdu) -> bool {
    match pdu.kind.as_str() {
        "m.room.power_levels" | "m.room.join_rules" => pdu.state_key.as_deref() == Some(""),
        "m.room.member" => {
            #[derive(serde::Deserialize)]
            struct Content<'a> {
                #[serde(borrow)]
                membership: std::borrow::Cow<'a, str>,
            }
            let by_other = pdu.state_key.as_deref() != Some(pdu.sender.as_str());
            let content = pdu.content_as::<Content<'_>>().filter(|_| by_other);
            content.is_some_and(|content| matches!(&*content.membership, "leave" | "ban"))
        }
        _ => false,
    }
}

/// What decides between events of which none rests on another: the first is applied first.
type Key<'a> = (Reverse<Power>, u64, &'a EventId, Event);

fn kahn(facts: &Facts, rules: &AuthorizationRules, set: &BTreeSet<Event>) -> Vec<Event> {
    let mut powers = Powers::new(facts, rules);
    let mut open: HashMap<Event, usize> = HashMap::new();
    let mut above: HashMap<Event, Vec<Event>> = HashMap::new();
    let mut ready: BinaryHeap<Reverse<Key<'_>>> = BinaryHeap::new();
    let mut key = |event: Event| {
        let fact = facts.get(event)?;
        let pdu = &fact.known.pdu;
        let power = powers.of_sender(fact);
        Some(Reverse((Reverse(power), pdu.origin_server_ts, &*pdu.event_id, event)))
    };
    for event in set {
        let below = rests_on(facts, set, *event);
        if below.is_empty() {
            ready.extend(key(*event));
        }
        open.insert(*event, below.len());
        for next in below {
            above.entry(next).or_default().push(*event);
        }
    }
    let mut sorted = Vec::with_capacity(set.len());
    while let Some(Reverse((.., event))) = ready.pop() {
        sorted.push(event);
        for next in above.get(&event).into_iter().flatten() {
            let Some(left) = open.get_mut(next) else { continue };
            *left -= 1;
            if *left == 0 {
                ready.extend(key(*next));
            }
        }
    }
    sorted
}

/// The power of senders, by the power levels event that their event names.
struct Powers<'a> {
    facts: &'a Facts,
    rules: &'a AuthorizationRules,
    decoded: HashMap<Option<Event>, PowerLevels>,
}

impl<'a> Powers<'a> {
    fn new(facts: &'a Facts, rules: &'a AuthorizationRules) -> Powers<'a> {
        Powers { facts, rules, decoded: HashMap::new() }
    }

    fn of_sender(&mut self, fact: &Fact) -> Power {
        let named = |event: &Event| self.facts.get(*event).is_some_and(Fact::is_power_levels);
        let event = fact.known.auth.iter().copied().find(named);
        let (facts, rules) = (self.facts, self.rules);
        let decode = || {
            let levels = event.and_then(|event| facts.get(event));
            let levels = levels.map(|fact| fact.state().levels(rules));
            let create = facts.get(facts.create);
            let creators = create.map(|fact| creators(rules, &fact.state()));
            PowerLevels::new(rules, levels, creators.unwrap_or_default())
        };
        self.decoded.entry(event).or_insert_with(decode).user(&fact.known.pdu.sender)
    }
}
