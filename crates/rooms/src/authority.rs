//! What authorises what, among the state events of a room: written with each of them, read by state resolution.

use std::{collections::BTreeMap, sync::Arc};

use base::{Error, Event, Reply, Room};
use protocol::{Pdu, resolve::Known};
use ruma::{EventId, OwnedEventId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    CacheSpace, Direction, Kind, Tx, View,
    event::{self, Stored},
    room,
    schema::{AUTHORITIES, Authority, CITATIONS},
    state::Slot,
    user,
};

static KNOWN: CacheSpace = CacheSpace { tag: 35, owned: Some(Kind::Event) };

/// What a decoded event costs beside its content: its ids and the map they lie in.
const KNOWN_OVERHEAD: usize = 1024;
/// From so many events on, they are read together, even if some are in the cache: where reading costs a trip, that is
/// worth more.
const MANY: usize = 8;
/// Events read in one trip, each some kilobytes decoded.
const BATCH: usize = 1_000;
/// Citations read at once: mostly the first few tell.
const PAGE: usize = 32;

/// Writes down what authorises a new state event, and whether it was rejected. What a rejected one names and is no state event
/// is left out.
///
/// # Errors
/// A fault if one of its auth events is not here.
pub(crate) fn record(
    tx: &mut Tx,
    room: Room,
    event: Event,
    pdu: &Pdu,
    rejected: bool,
) -> Reply<()> {
    let Some(state_key) = &pdu.state_key else { return Ok(()) };
    let mut authority = Authority { rejected, ..Authority::default() };
    let named = pdu.auth_events.iter().map(|id| number(tx, id)).collect::<Reply<Vec<_>>>()?;
    let above = tx.get_many(&AUTHORITIES, named.iter().map(|event| (*event,)))?;
    for (event, above) in named.into_iter().zip(above) {
        let Some(above) = above else {
            // Whoever made it may name what they like.
            if rejected {
                continue;
            }
            return Err(Error::fault("an auth event is no state event"));
        };
        authority.auth.push(event);
        authority.rank = authority.rank.max(above.rank + 1);
    }
    if !authority.auth.is_empty() {
        let create = room::info(tx, room)?.create;
        let slot = Slot::of(&pdu.kind, state_key);
        for cited in authority.auth.iter().filter(|cited| **cited != create) {
            tx.put_new(&CITATIONS, (*cited, event), &slot);
        }
    }
    tx.put_new(&AUTHORITIES, (event,), &authority);
    Ok(())
}

/// Writes down whether a state event that is here is rejected. Its own row is written with it, by which others see the change.
///
/// # Errors
/// Faults.
pub(crate) fn reject(tx: &mut Tx, event: Event, rejected: bool) -> Reply<()> {
    let Some(authority) = tx.get(&AUTHORITIES, (event,))? else { return Ok(()) };
    if authority.rejected != rejected {
        tx.put(&AUTHORITIES, (event,), &Authority { rejected, ..authority });
    }
    Ok(())
}

fn number(view: &View, id: &EventId) -> Reply<Event> {
    event::find(view, id)?.ok_or_else(|| Error::fault(format!("auth event {id} is missing")))
}

/// The state events that one authorises, with their places, newest first and a page at a time: those before `before`.
pub(crate) fn citations(view: &View, event: Event, before: Event) -> Reply<Vec<(Event, Slot)>> {
    let (from, to) = ((event, Event(0)), (event, before));
    let rows = view.range(&CITATIONS, from, to, Direction::Backward, PAGE)?;
    Ok(rows.into_iter().map(|((_, citing), slot)| (citing, slot)).collect())
}

/// A state event as state resolution needs it.
///
/// # Errors
/// A fault if it is not here, or no state event.
pub(crate) fn known(view: &View, event: Event) -> Reply<Arc<Known>> {
    let load = |view: &View| {
        let mut read = read(view, &[event])?;
        read.pop().ok_or_else(|| Error::fault(format!("event {event} is missing")))
    };
    view.cached(&KNOWN, u128::from(event.0), load)
}

/// Several of them, in the order asked; many in one trip.
///
/// # Errors
/// As [`known`].
pub(crate) fn known_all(view: &View, events: &[Event]) -> Reply<Vec<Arc<Known>>> {
    if events.len() < MANY {
        return events.iter().map(|event| known(view, *event)).collect();
    }
    let mut found = Vec::with_capacity(events.len());
    for events in events.chunks(BATCH) {
        for (event, read) in events.iter().zip(read(view, events)?) {
            found.push(view.cached(&KNOWN, u128::from(event.0), |_| Ok(read))?);
        }
    }
    Ok(found)
}

/// The events with what they weigh in the cache.
fn read(view: &View, events: &[Event]) -> Reply<Vec<(Known, usize)>> {
    let authorities = view.get_many(&AUTHORITIES, events.iter().map(|event| (*event,)))?;
    let known = |((stored, rest), authority): ((Stored, String), Option<Authority>)| {
        let authority = authority
            .ok_or_else(|| Error::fault(format!("event {} is no state event", stored.event)))?;
        let pdu = pdu_of(view, &stored, &rest)?;
        let bytes = pdu.content.get().len() + KNOWN_OVERHEAD;
        let Authority { auth, rank, rejected } = authority;
        Ok((Known { pdu: Arc::new(pdu), auth, rank, rejected }, bytes))
    };
    event::whole(view, events)?.into_iter().zip(authorities).map(known).collect()
}

/// The part of a stored event that only servers need, as far as the rules ask for it.
#[derive(Deserialize)]
struct Rest {
    prev_events: Vec<Named>,
    auth_events: Vec<Named>,
    signatures: Box<RawValue>,
}

/// How an event names another: by its id, or in versions 1 and 2 by its id and hash.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Id(OwnedEventId),
    Hashed(OwnedEventId, serde::de::IgnoredAny),
}

fn ids(named: Vec<Named>) -> Vec<OwnedEventId> {
    let id = |named| match named {
        Named::Id(id) | Named::Hashed(id, _) => id,
    };
    named.into_iter().map(id).collect()
}

/// An event as the authorisation rules judge it. It is not whole: hashes and unknown fields are left out.
///
/// # Errors
/// A fault if it is not here.
pub(crate) fn pdu(view: &View, event: Event) -> Reply<Pdu> {
    pdu_of(view, &*event::load(view, event)?, &event::rest(view, event)?)
}

fn pdu_of(view: &View, stored: &Stored, rest: &str) -> Reply<Pdu> {
    let event = stored.event;
    let broken = |e: serde_json::Error| Error::fault(format!("event {event} is broken: {e}"));
    let rest: Rest = serde_json::from_str(rest).map_err(broken)?;
    let content = RawValue::from_string(stored.content().to_owned()).map_err(broken)?;
    Ok(Pdu {
        event_id: stored.id.clone(),
        room_id: room::id(view, stored.row.room)?,
        sender: user::id(view, stored.row.sender)?,
        kind: stored.row.kind.clone(),
        state_key: stored.row.state_key.clone(),
        content,
        origin_server_ts: stored.row.sent_at.0,
        depth: stored.row.depth,
        prev_events: ids(rest.prev_events),
        auth_events: ids(rest.auth_events),
        redacts: redacts(stored.client()),
        hashes: "{}".to_owned(),
        signatures: rest.signatures.get().to_owned(),
        extra: BTreeMap::new(),
    })
}

/// What an event redacts, beside its content or in it.
fn redacts(client: &str) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Client {
        redacts: Option<OwnedEventId>,
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        redacts: Option<OwnedEventId>,
    }
    let client: Client = serde_json::from_str(client).ok()?;
    client.redacts.or(client.content.redacts)
}
