//! The state that an event stands on: what the authorisation rules look up, each state event read once and kept
//! as long as nobody redacts it.
//!
//! All caches here are keyed by event, not by room: most events change nothing of what the rules ask for.

use std::{cell::RefCell, sync::Arc};

use base::{Error, Event, Reply};
use protocol::{
    auth::{Lookup, StateEvent, creators},
    power::PowerLevels,
};
use ruma::{OwnedEventId, RoomVersionId, room_version_rules::AuthorizationRules};
use serde_json::value::RawValue;
use store::{
    CacheSpace, Kind, View, event,
    schema::RoomInfo,
    state::{self, Root},
};

static STATE_EVENTS: CacheSpace = CacheSpace { tag: 60, owned: Some(Kind::Event) };
static POWER: CacheSpace = CacheSpace { tag: 61, owned: Some(Kind::Event) };
static EVENT_NAMES: CacheSpace = CacheSpace { tag: 62, owned: None };

/// What a decoded state event costs beside its content.
const STATE_EVENT_OVERHEAD: usize = 256;
/// What the name of an event costs.
const NAME_BYTES: usize = 64;

/// Type, state key, and the event there, if any.
type Found = (String, String, Option<Arc<StateEvent>>);

/// A version of a room's state as the rules see it.
pub(crate) struct Ground<'a> {
    view: &'a View,
    root: Root,
    /// What was found: the rules ask again for what `auth_events` were chosen from.
    found: RefCell<Vec<Found>>,
    /// A lookup cannot fail; what went wrong waits here for [`Ground::settle`].
    fault: RefCell<Option<Error>>,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(view: &'a View, root: Root) -> Ground<'a> {
        Ground { view, root, found: RefCell::default(), fault: RefCell::default() }
    }

    /// The state event with this type and state key.
    pub(crate) fn find(&self, kind: &str, state_key: &str) -> Reply<Option<Arc<StateEvent>>> {
        let known = |(k, s, _): &&Found| k == kind && s == state_key;
        if let Some((.., event)) = self.found.borrow().iter().find(known) {
            return Ok(event.clone());
        }
        let event = state::get(self.view, self.root, kind, state_key)?;
        let event = event.map(|event| state_event(self.view, event)).transpose()?;
        self.found.borrow_mut().push((kind.to_owned(), state_key.to_owned(), event.clone()));
        Ok(event)
    }

    /// Fails if any lookup did.
    pub(crate) fn settle(self) -> Reply<()> {
        self.fault.into_inner().map_or(Ok(()), Err)
    }
}

impl Lookup for Ground<'_> {
    fn get(&self, kind: &str, state_key: &str) -> Option<Arc<StateEvent>> {
        match self.find(kind, state_key) {
            Ok(found) => found,
            Err(error) => {
                self.fault.replace(Some(error));
                None
            }
        }
    }
}

/// A state event as the rules need it.
pub(crate) fn state_event(view: &View, event: Event) -> Reply<Arc<StateEvent>> {
    view.cached(&STATE_EVENTS, u128::from(event.0), |view| {
        let stored = event::load(view, event)?;
        let sender = store::user::id(view, stored.row.sender)?;
        let content = RawValue::from_string(stored.content().to_owned())
            .map_err(|e| Error::fault(format!("event {event} has bad content: {e}")))?;
        let bytes = content.get().len() + STATE_EVENT_OVERHEAD;
        Ok((StateEvent::new(stored.id.clone(), sender, content), bytes))
    })
}

/// The id of an event, without reading it if it was made or read here recently.
pub(crate) fn event_id(view: &View, event: Event) -> Reply<OwnedEventId> {
    let id = view.cached(&EVENT_NAMES, u128::from(event.0), |view| {
        Ok((event::load(view, event)?.id.clone(), NAME_BYTES))
    })?;
    Ok((*id).clone())
}

/// Keeps the id of a new event for the next one, whose `prev_events` it is.
pub(crate) fn remember_id(view: &View, event: Event, id: &OwnedEventId) -> Reply<()> {
    view.cached(&EVENT_NAMES, u128::from(event.0), |_| Ok((id.clone(), NAME_BYTES))).map(drop)
}

/// The version of a room.
pub(crate) fn version(info: &RoomInfo) -> Reply<RoomVersionId> {
    RoomVersionId::try_from(info.version.as_str())
        .map_err(|e| Error::fault(format!("room {} has a bad version: {e}", info.id)))
}

/// The authorisation rules of a room.
pub(crate) fn rules(version: &RoomVersionId) -> Reply<&'static AuthorizationRules> {
    protocol::rules(version)
        .map(|rules| &rules.authorization)
        .ok_or_else(|| Error::fault(format!("a room of unknown version {version}")))
}

/// The power levels in force in a version of a room's state.
///
/// # Errors
/// Faults of the store.
pub fn power(view: &View, info: &RoomInfo, root: Root) -> Reply<Arc<PowerLevels>> {
    let levels = state::get(view, root, "m.room.power_levels", "")?;
    // A power levels event belongs to one room, so it stands for the room's creators too.
    let key = levels.unwrap_or(info.create);
    view.cached(&POWER, u128::from(key.0), |view| {
        let version = version(info)?;
        let rules = rules(&version)?;
        let create = state_event(view, info.create)?;
        let levels = levels.map(|event| state_event(view, event)).transpose()?;
        let levels = levels.map(|event| event.levels(rules));
        let listed = levels.as_ref().map_or(0, |l| l.users.len() + l.events.len());
        let power = PowerLevels::new(rules, levels, creators(rules, &create));
        Ok((power, STATE_EVENT_OVERHEAD + listed * NAME_BYTES))
    })
}
