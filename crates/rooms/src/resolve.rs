//! State resolution of stored rooms: which version of the state stands where several come together.
//!
//! The versions are compared by their roots, at the cost of their difference; `protocol::resolve` says what it needs to
//! know, and is told it from here. [`resolve`] reads only, so that a long resolution can be computed against a view and its
//! [`Resolved`] be written by a transaction that relies on the same heads.

use std::collections::{BTreeMap, HashMap, HashSet};

use base::{Error, Event, Reply, Room};
use protocol::resolve::{Conflict, Resolution, STATES_MAX, Step};
use store::{
    Tx, View, room,
    state::{self, Edit, Root, Slot},
};

use crate::{authority, ground};

/// What states resolve to: a version of the state, and the changes to make of it.
#[derive(Clone, Debug)]
pub struct Resolved {
    from: Root,
    edits: Vec<Edit>,
}

impl Resolved {
    /// Writes the resolved state.
    ///
    /// # Errors
    /// Faults of the store.
    pub fn write(self, tx: &mut Tx) -> Reply<Root> {
        if self.edits.is_empty() {
            return Ok(self.from);
        }
        state::apply(tx, self.from, self.edits)
    }
}

/// What versions of a room's state resolve to (spec: Room Versions, "State resolution"). Their order does not matter.
///
/// # Errors
/// Faults: no states, more than [`STATES_MAX`] different ones, or an event that is not here.
pub fn resolve(view: &View, room: Room, states: &[Root]) -> Reply<Resolved> {
    let mut roots: Vec<Root> = Vec::new();
    for root in states {
        if !roots.contains(root) {
            roots.push(*root);
        }
    }
    let from = *roots.first().ok_or_else(|| Error::fault("no states to resolve"))?;
    if roots.len() > STATES_MAX {
        return Err(Error::fault(format!("room {room} has {} states to resolve", roots.len())));
    }
    let differing = differing(view, &roots)?;
    if differing.is_empty() {
        return Ok(Resolved { from, edits: Vec::new() });
    }
    let info = room::info(view, room)?;
    let rules = ground::version(&info)?;
    let rules = protocol::rules(&rules)
        .ok_or_else(|| Error::fault(format!("room {room} is of an unknown version")))?;
    let slots: Vec<Slot> = differing.keys().copied().collect();
    let conflict = Conflict {
        create: info.create,
        states: roots.len(),
        slots: differing.into_values().collect(),
    };
    let machine = Resolution::new(rules, conflict)?;
    let mut agreed = Agreed {
        view,
        root: from,
        differing: slots.iter().copied().collect(),
        settled: HashMap::new(),
    };
    let found = drive(view, machine, &mut agreed)?;
    let mut edits: Vec<Edit> = slots.into_iter().map(|slot| (slot, None)).collect();
    for event in found {
        let known = authority::known(view, event)?;
        let key = known.pdu.state_key.as_deref().unwrap_or_default();
        edits.push((Slot::of(&known.pdu.kind, key), Some(event)));
    }
    Ok(Resolved { from, edits })
}

/// The places in which the versions differ, with the event that each has there.
fn differing(view: &View, roots: &[Root]) -> Reply<BTreeMap<Slot, Vec<Option<Event>>>> {
    let mut found: BTreeMap<Slot, Vec<Option<Event>>> = BTreeMap::new();
    let Some((first, others)) = roots.split_first() else { return Ok(found) };
    for (n, other) in others.iter().enumerate() {
        for change in state::diff(view, *first, *other)? {
            let events =
                found.entry(change.slot).or_insert_with(|| vec![change.before; roots.len()]);
            if let Some(event) = events.get_mut(n + 1) {
                *event = change.after;
            }
        }
    }
    Ok(found)
}

/// Tells the machine what it asks until it is done.
fn drive(view: &View, mut machine: Resolution, agreed: &mut Agreed<'_>) -> Reply<Vec<Event>> {
    loop {
        let missing = match machine.step() {
            Step::Done(found) => return Ok(found),
            Step::Missing(missing) => missing,
        };
        let known = authority::known_all(view, &missing.events)?;
        for (event, known) in missing.events.into_iter().zip(known) {
            machine.tell_event(event, (*known).clone());
        }
        for (kind, key) in missing.slots {
            let event = agreed.get(Slot::of(&kind, &key))?;
            machine.tell_slot(&kind, &key, event);
        }
        for event in missing.settled {
            machine.tell_settled(event, agreed.settles(event)?);
        }
    }
}

/// The state that all versions agree on.
struct Agreed<'a> {
    view: &'a View,
    /// Any of the versions.
    root: Root,
    /// The places in which they differ.
    differing: HashSet<Slot>,
    /// Events whose answer is known.
    settled: HashMap<Event, bool>,
}

impl Agreed<'_> {
    fn get(&self, slot: Slot) -> Reply<Option<Event>> {
        if self.differing.contains(&slot) {
            return Ok(None);
        }
        state::get_at(self.view, self.root, slot)
    }

    /// Whether an event is in the auth chain of this state: it, or something that it authorises, authorises one of the
    /// state's events. The search goes up; what is still in force was mostly cited lately, so the newest come first.
    fn settles(&mut self, asked: Event) -> Reply<bool> {
        let mut seen = HashSet::from([asked]);
        let mut waiting = vec![asked];
        while let Some(event) = waiting.pop() {
            match self.settled.get(&event) {
                Some(true) => return Ok(self.answer(&[asked], true)),
                Some(false) => continue,
                None => {}
            }
            let mut before = Event(u64::MAX);
            loop {
                let page = authority::citations(self.view, event, before)?;
                let Some((oldest, _)) = page.last() else { break };
                before = *oldest;
                for (citing, slot) in page {
                    if self.get(slot)? == Some(citing) {
                        return Ok(self.answer(&[asked, event], true));
                    }
                    if seen.insert(citing) {
                        waiting.push(citing);
                    }
                }
            }
        }
        let seen: Vec<Event> = seen.into_iter().collect();
        Ok(self.answer(&seen, false))
    }

    fn answer(&mut self, events: &[Event], settled: bool) -> bool {
        for event in events {
            self.settled.insert(*event, settled);
        }
        settled
    }
}

#[cfg(test)]
mod tests;
