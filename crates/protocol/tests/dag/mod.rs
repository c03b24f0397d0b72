//! Rooms made of synthetic events, for tests and benches of state resolution: who may see them is not asked, nothing
//! is signed.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use base::Event;
use protocol::Pdu;
use protocol::auth::{StateEvent, authorize, select_auth_events};
use protocol::resolve::{Conflict, Known, Resolution, Step};
use ruma::room_version_rules::RoomVersionRules;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId};
use serde_json::{Value, json, value::to_raw_value};

/// The state of a room.
pub(crate) type State = BTreeMap<(String, String), Event>;

/// The places in which states differ, with what each has there.
pub(crate) type Differing = BTreeMap<(String, String), Vec<Option<Event>>>;

/// An event with its place in the graphs.
pub(crate) struct Made {
    pub(crate) known: Known,
    pub(crate) prev: Vec<Event>,
    /// The state after it, where that is kept.
    pub(crate) after: State,
}

/// A room. Events are numbered as they come.
pub(crate) struct Room {
    pub(crate) version: RoomVersionId,
    pub(crate) rules: RoomVersionRules,
    pub(crate) id: OwnedRoomId,
    pub(crate) events: Vec<Made>,
}

/// What an event says, before it is placed.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) sender: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) content: Value,
    pub(crate) ts: u64,
    pub(crate) id: String,
}

/// How a resolution went.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) events: usize,
    pub(crate) slots: usize,
    pub(crate) settled: usize,
    pub(crate) steps: usize,
}

pub(crate) const CREATE: Event = Event(0);

pub(crate) fn pair(kind: &str, key: &str) -> (String, String) {
    (kind.to_owned(), key.to_owned())
}

impl Room {
    /// A room with its create event, by `@a:x`.
    pub(crate) fn new(version: RoomVersionId, create_id: &str) -> Room {
        let rules = protocol::rules(&version).unwrap().clone();
        let named = rules.authorization.room_create_event_id_as_room_id;
        let id = if named { format!("!{create_id}") } else { "!room:x".to_owned() };
        let id = OwnedRoomId::try_from(id).unwrap();
        let mut room = Room { version, rules, id, events: Vec::new() };
        let content = json!({ "creator": "@a:x", "room_version": room.version });
        let id = create_id.to_owned();
        let create =
            Says { sender: "@a:x", kind: "m.room.create", key: String::new(), content, ts: 0, id };
        assert_eq!(room.place(&create, &[], Vec::new()), CREATE);
        room.events[0].after.insert(pair("m.room.create", ""), CREATE);
        room
    }

    pub(crate) fn get(&self, event: Event) -> &Made {
        &self.events[usize::try_from(event.0).unwrap()]
    }

    pub(crate) fn slot(&self, event: Event) -> (String, String) {
        let pdu = &self.get(event).known.pdu;
        (pdu.kind.clone(), pdu.state_key.clone().unwrap())
    }

    /// The event with its auth events, and no state.
    pub(crate) fn place(&mut self, says: &Says, prev: &[Event], auth: Vec<Event>) -> Event {
        let number = Event(self.events.len() as u64);
        let ids = |events: &[Event]| -> Vec<OwnedEventId> {
            events.iter().map(|e| self.get(*e).known.pdu.event_id.clone()).collect()
        };
        let depth = prev.iter().map(|e| self.get(*e).known.pdu.depth + 1).max().unwrap_or(1);
        let rank = auth.iter().map(|e| self.get(*e).known.rank + 1).max().unwrap_or(0);
        let pdu = Pdu {
            event_id: OwnedEventId::try_from(format!("${}", says.id)).unwrap(),
            room_id: self.id.clone(),
            sender: OwnedUserId::try_from(says.sender).unwrap(),
            kind: says.kind.to_owned(),
            state_key: Some(says.key.clone()),
            content: to_raw_value(&says.content).unwrap(),
            origin_server_ts: says.ts,
            depth,
            prev_events: ids(prev),
            auth_events: ids(&auth),
            redacts: None,
            hashes: "{}".to_owned(),
            signatures: "{}".to_owned(),
            extra: BTreeMap::new(),
        };
        let known = Known { pdu: Arc::new(pdu), auth, rank, rejected: false };
        self.events.push(Made { known, prev: prev.to_vec(), after: State::new() });
        number
    }

    /// The events of a state that authorise what is said.
    pub(crate) fn selected(&self, says: &Says, state: &State) -> Vec<Event> {
        let sender = OwnedUserId::try_from(says.sender).unwrap();
        let content = to_raw_value(&says.content).unwrap();
        let pairs =
            select_auth_events(&self.version, says.kind, &sender, Some(&says.key), &content);
        pairs.iter().filter_map(|(kind, key)| state.get(&pair(kind, key)).copied()).collect()
    }

    /// Sends it after these events, if the state there allows it.
    pub(crate) fn send(&mut self, says: &Says, prev: &[Event]) -> Option<Event> {
        let before = self.state_after(prev);
        let auth = self.selected(says, &before);
        let event = self.place(says, prev, auth);
        let pdu = self.get(event).known.pdu.clone();
        let state = |kind: &str, key: &str| {
            let event = before.get(&pair(kind, key))?;
            Some(Arc::new(StateEvent::from(&*self.get(*event).known.pdu)))
        };
        if !authorize(&self.rules.authorization, &state, &pdu).is_accept() {
            self.events.pop();
            return None;
        }
        let mut after = before;
        after.insert(self.slot(event), event);
        self.events.last_mut().unwrap().after = after;
        Some(event)
    }

    pub(crate) fn state_after(&self, events: &[Event]) -> State {
        let states: Vec<State> = events.iter().map(|e| self.get(*e).after.clone()).collect();
        self.resolve(&states).0
    }

    /// What these states resolve to.
    pub(crate) fn resolve(&self, states: &[State]) -> (State, Cost) {
        let meeting = Meeting::new(self, states);
        let (found, cost) = meeting.resolve();
        let mut resolved = meeting.agreed;
        resolved.extend(found.into_iter().map(|event| (self.slot(event), event)));
        (resolved, cost)
    }

    /// The auth chain of some events.
    pub(crate) fn chain(&self, of: impl Iterator<Item = Event>) -> HashSet<Event> {
        let mut seen = HashSet::new();
        let mut waiting: Vec<Event> = of.collect();
        while let Some(event) = waiting.pop() {
            for next in &self.get(event).known.auth {
                if seen.insert(*next) {
                    waiting.push(*next);
                }
            }
        }
        seen
    }

    /// The state by the ids of its events, which do not depend on how they are numbered.
    pub(crate) fn ids(&self, state: &State) -> BTreeMap<(String, String), OwnedEventId> {
        let id = |event: &Event| self.get(*event).known.pdu.event_id.clone();
        state.iter().map(|(pair, event)| (pair.clone(), id(event))).collect()
    }

    /// The events that no other one follows.
    pub(crate) fn ends(&self) -> Vec<Event> {
        let followed: BTreeSet<Event> =
            self.events.iter().flat_map(|made| made.prev.clone()).collect();
        let all = (0..self.events.len() as u64).map(Event);
        all.filter(|event| !followed.contains(event)).collect()
    }
}

/// What states agree on, and where they differ.
pub(crate) fn split(states: &[State]) -> (State, Differing) {
    let pairs: BTreeSet<&(String, String)> = states.iter().flat_map(|s| s.keys()).collect();
    let (mut agreed, mut differing) = (State::new(), BTreeMap::new());
    for pair in pairs {
        let events: Vec<Option<Event>> = states.iter().map(|s| s.get(pair).copied()).collect();
        match events.first() {
            Some(Some(first)) if events.iter().all(|e| *e == Some(*first)) => {
                agreed.insert(pair.clone(), *first);
            }
            _ => {
                differing.insert(pair.clone(), events);
            }
        }
    }
    (agreed, differing)
}

/// States that come together, and what there is to know of them.
pub(crate) struct Meeting<'a> {
    room: &'a Room,
    agreed: State,
    conflict: Conflict,
    settled: OnceCell<HashSet<Event>>,
}

impl<'a> Meeting<'a> {
    pub(crate) fn new(room: &'a Room, states: &[State]) -> Meeting<'a> {
        let (agreed, conflict) = split(states);
        let slots = conflict.into_values().collect();
        let conflict = Conflict { create: CREATE, states: states.len(), slots };
        Meeting { room, agreed, conflict, settled: OnceCell::new() }
    }

    /// The events that are in the auth chain of what all agree on.
    pub(crate) fn settled(&self) -> &HashSet<Event> {
        self.settled.get_or_init(|| self.room.chain(self.agreed.values().copied()))
    }

    /// What is in the resolved state where the states differ.
    pub(crate) fn resolve(&self) -> (Vec<Event>, Cost) {
        let mut cost = Cost::default();
        if self.conflict.slots.is_empty() {
            return (Vec::new(), cost);
        }
        let mut machine = Resolution::new(&self.room.rules, self.conflict.clone()).unwrap();
        loop {
            cost.steps += 1;
            let missing = match machine.step() {
                Step::Done(found) => return (found, cost),
                Step::Missing(missing) => missing,
            };
            cost.events += missing.events.len();
            cost.slots += missing.slots.len();
            cost.settled += missing.settled.len();
            for event in missing.events {
                machine.tell_event(event, self.room.get(event).known.clone());
            }
            for (kind, key) in missing.slots {
                let event = self.agreed.get(&pair(&kind, &key)).copied();
                machine.tell_slot(&kind, &key, event);
            }
            for event in missing.settled {
                machine.tell_settled(event, self.settled().contains(&event));
            }
        }
    }
}
