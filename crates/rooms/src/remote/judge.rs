//! Checks 4 to 6 on an event (spec: Server-Server API, "Checks performed on receipt of a PDU").

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use base::{Error, Event, Reply, Room};
use protocol::{
    Pdu, Verdict,
    auth::{AuthEvent, Lookup, StateEvent, authorize, check_auth_events},
};
use ruma::{EventId, OwnedEventId, RoomVersionId};
use store::{
    View, event, room,
    schema::{AUTHORITIES, PARTIAL},
    state::Root,
};

use crate::ground::{self, Ground};

/// An event that is judged.
pub(super) struct Case<'a> {
    pub(super) view: &'a View,
    pub(super) version: RoomVersionId,
    pub(super) pdu: &'a Pdu,
    /// Its auth events, as far as they are here.
    auth: Vec<(OwnedEventId, Event)>,
    /// Its auth events that are not here, or only as they were told.
    pub(super) missing: Vec<OwnedEventId>,
    /// Not all members of the room are known: what an event says itself of its sender's membership is believed.
    partial: bool,
}

impl<'a> Case<'a> {
    pub(super) fn new(view: &'a View, room: Room, pdu: &'a Pdu) -> Reply<Case<'a>> {
        let info = room::info(view, room)?;
        let version = ground::version(&info)?;
        let (mut auth, mut missing) = (Vec::new(), Vec::new());
        for id in &pdu.auth_events {
            let Some(event) = event::find(view, id)? else {
                missing.push(id.clone());
                continue;
            };
            if is_only_told(view, event)? {
                missing.push(id.clone());
            }
            auth.push((id.clone(), event));
        }
        if protocol::version::room_id_is_create_id(&version)
            && info.create != Event(0)
            && let Ok(id) = OwnedEventId::try_from(info.id.replacen('!', "$", 1))
        {
            auth.push((id, info.create));
        }
        let partial = view.has(&PARTIAL, (room,))?;
        Ok(Case { view, version, pdu, auth, missing, partial })
    }

    /// Check 4: may its auth events authorise it, and do they allow it?
    pub(super) fn by_auth_events(&self) -> Reply<Verdict> {
        let fault = RefCell::new(None);
        let fetch = |id: &EventId| {
            self.auth_event(id).unwrap_or_else(|error| {
                fault.replace(Some(error));
                None
            })
        };
        let verdict = check_auth_events(&self.version, self.pdu, &fetch);
        fault.into_inner().map_or(Ok(()), Err)?;
        if !verdict.is_accept() {
            return Ok(verdict);
        }
        let named = self.named()?;
        let lookup = |kind: &str, key: &str| named.get(&(kind.to_owned(), key.to_owned())).cloned();
        Ok(authorize(ground::rules(&self.version)?, &lookup, self.pdu))
    }

    fn auth_event(&self, id: &EventId) -> Reply<Option<AuthEvent>> {
        let Some((_, event)) = self.auth.iter().find(|(known, _)| known == id) else {
            return Ok(None);
        };
        let stored = event::load(self.view, *event)?;
        let authority = self.view.get(&AUTHORITIES, (*event,))?;
        Ok(Some(AuthEvent {
            room_id: room::id(self.view, stored.row.room)?,
            kind: stored.row.kind.clone(),
            state_key: stored.row.state_key.clone(),
            rejected: authority.is_none_or(|authority| authority.rejected),
        }))
    }

    /// The auth events as a state.
    fn named(&self) -> Reply<BTreeMap<(String, String), Arc<StateEvent>>> {
        let mut named = BTreeMap::new();
        for (_, event) in &self.auth {
            let stored = event::load(self.view, *event)?;
            if let Some(key) = &stored.row.state_key {
                let place = (stored.row.kind.clone(), key.clone());
                named.insert(place, ground::state_event(self.view, *event)?);
            }
        }
        Ok(named)
    }

    /// Checks 5 and 6: does this state allow it?
    pub(super) fn by_state(&self, root: Root) -> Reply<Verdict> {
        let state = Ground::new(self.view, root);
        let rules = ground::rules(&self.version)?;
        let verdict = if self.partial {
            let named = self.named()?;
            let lookup = |kind: &str, key: &str| {
                let known = state.get(kind, key);
                if known.is_some() || kind != "m.room.member" {
                    return known;
                }
                named.get(&(kind.to_owned(), key.to_owned())).cloned()
            };
            authorize(rules, &lookup, self.pdu)
        } else {
            authorize(rules, &state, self.pdu)
        };
        state.settle()?;
        Ok(verdict)
    }
}

/// Is this a state event of which nobody has looked at what authorises it: an invite that another server told, or what
/// ended one ([`super::told`])?
fn is_only_told(view: &View, event: Event) -> Reply<bool> {
    Ok(!view.has(&AUTHORITIES, (event,))? && event::load(view, event)?.row.state_key.is_some())
}

/// What a verdict refuses by, in words.
pub(super) fn refusal(verdict: Verdict) -> Reply<Option<String>> {
    match verdict {
        Verdict::Accept => Ok(None),
        Verdict::Reject(rule) => Ok(Some(rule.to_string())),
        Verdict::Missing(ids) => Err(Error::fault(format!("known events are missing: {ids:?}"))),
    }
}
