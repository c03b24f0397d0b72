//! Two other ways to resolve: ruma's for version 2 and later, and the spec's text on version 1, word for word.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base::Event;
use protocol::Pdu;
use protocol::auth::{StateEvent, authorize};
use ruma::events::{StateEventType, TimelineEventType};
use ruma::room_version_rules::StateResolutionVersion;
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, UInt, UserId};
use ruma_state_res::StateMap;
use serde_json::value::RawValue;
use sha1::{Digest as _, Sha1};

use super::dag::{Room, State, pair, split};

/// An event as ruma wants it.
#[derive(Clone)]
struct Theirs {
    pdu: Arc<Pdu>,
    kind: TimelineEventType,
    rejected: bool,
}

impl ruma_state_res::Event for Theirs {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.pdu.event_id
    }
    fn room_id(&self) -> Option<&RoomId> {
        Some(&self.pdu.room_id)
    }
    fn sender(&self) -> &UserId {
        &self.pdu.sender
    }
    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::try_from(self.pdu.origin_server_ts).unwrap())
    }
    fn event_type(&self) -> &TimelineEventType {
        &self.kind
    }
    fn content(&self) -> &RawValue {
        &self.pdu.content
    }
    fn state_key(&self) -> Option<&str> {
        self.pdu.state_key.as_deref()
    }
    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.pdu.prev_events.iter())
    }
    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.pdu.auth_events.iter())
    }
    fn redacts(&self) -> Option<&OwnedEventId> {
        None
    }
    fn rejected(&self) -> bool {
        self.rejected
    }
}

/// What ruma resolves these states to.
pub(crate) fn ruma(room: &Room, states: &[State]) -> State {
    let StateResolutionVersion::V2(rules) = room.rules.state_res else { panic!("not version 2") };
    let mut numbers: HashMap<OwnedEventId, Event> = HashMap::new();
    let mut events: HashMap<OwnedEventId, Theirs> = HashMap::new();
    for (n, made) in room.events.iter().enumerate() {
        let pdu = made.known.pdu.clone();
        let kind = TimelineEventType::from(pdu.kind.as_str());
        numbers.insert(pdu.event_id.clone(), Event(n as u64));
        events.insert(pdu.event_id.clone(), Theirs { pdu, kind, rejected: made.known.rejected });
    }
    let id = |event: &Event| room.get(*event).known.pdu.event_id.clone();
    let maps: Vec<StateMap<OwnedEventId>> = states
        .iter()
        .map(|state| {
            let entry = |((kind, key), event): (&(String, String), &Event)| {
                ((StateEventType::from(kind.as_str()), key.clone()), id(event))
            };
            state.iter().map(entry).collect()
        })
        .collect();
    let chains =
        states.iter().map(|state| room.chain(state.values().copied()).iter().map(id).collect());
    let between = |conflicted: &StateMap<Vec<OwnedEventId>>| {
        let conflicted: HashSet<Event> =
            conflicted.values().flatten().map(|id| numbers[id]).collect();
        Some(subgraph(room, &conflicted).iter().map(id).collect())
    };
    let resolved = ruma_state_res::resolve(
        &room.rules.authorization,
        &rules,
        &maps,
        chains.collect(),
        |id: &EventId| events.get(id).cloned(),
        between,
    );
    let entry = |((kind, key), id): ((StateEventType, String), OwnedEventId)| {
        ((kind.to_string(), key), numbers[&id])
    };
    resolved.unwrap().into_iter().map(entry).collect()
}

/// The conflicted state subgraph: every event below one conflicted event and above another, and both ends.
fn subgraph(room: &Room, conflicted: &HashSet<Event>) -> HashSet<Event> {
    let below = room.chain(conflicted.iter().copied());
    let leads = |event: &Event| {
        let chain = room.chain([*event].into_iter());
        conflicted.contains(event) || chain.iter().any(|e| conflicted.contains(e))
    };
    let from = |event: &Event| below.contains(event) || conflicted.contains(event);
    let all = (0..room.events.len() as u64).map(Event);
    all.filter(|event| from(event) && leads(event)).collect()
}

/// What version 1's text resolves these states to.
pub(crate) fn version_1(room: &Room, states: &[State]) -> State {
    let (mut result, differing) = split(states);
    let mut conflicts: BTreeMap<(String, String), Vec<Event>> = BTreeMap::new();
    for (place, events) in differing {
        let mut events: Vec<Event> = events.into_iter().flatten().collect();
        events.sort_by_key(|event| {
            let pdu = &room.get(*event).known.pdu;
            let hash: [u8; 20] = Sha1::digest(pdu.event_id.as_bytes()).into();
            (pdu.depth, hash.map(|byte| 255 - byte))
        });
        events.dedup();
        if events.len() == 1 {
            result.insert(place, events[0]);
        } else {
            conflicts.insert(place, events);
        }
    }
    let allowed = |result: &State, event: Event| {
        let lookup = |kind: &str, key: &str| {
            let event = result.get(&pair(kind, key))?;
            Some(Arc::new(StateEvent::from(&*room.get(*event).known.pdu)))
        };
        let pdu = &room.get(event).known.pdu;
        authorize(&room.rules.authorization, &lookup, pdu).is_accept()
    };
    for kind in ["m.room.power_levels", "m.room.join_rules", "m.room.member"] {
        let before = result.clone();
        for (place, events) in conflicts.iter().filter(|((k, _), _)| k == kind) {
            let mut here = before.clone();
            here.insert(place.clone(), events[0]);
            for event in &events[1..] {
                if !allowed(&here, *event) {
                    break;
                }
                here.insert(place.clone(), *event);
            }
            result.insert(place.clone(), here[place]);
        }
        conflicts.retain(|(k, _), _| k != kind);
    }
    let before = result.clone();
    for (place, events) in conflicts {
        if let Some(event) = events.iter().rev().find(|event| allowed(&before, **event)) {
            result.insert(place, *event);
        }
    }
    result
}
