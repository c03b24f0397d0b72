//! Events that are known without their place in the room: state of before this server came, and what authorised it.

use base::{Error, Event, Reply, Room};
use protocol::Pdu;
use store::{
    Tx, event,
    schema::{AUTHORITIES, JUDGED, Judged, Why},
    state::Root,
    user,
};

use super::{
    Missing, Outcome,
    judge::{self, Case},
};
use crate::{
    authority,
    record::{self, Standing},
};

/// Keeps events without their place in the room (auth chains, state): judged by their auth events, which must come first
/// or be here. The outcomes are in the order of the events.
///
/// # Errors
/// Faults.
pub fn learn(tx: &mut Tx, room: Room, pdus: &[Pdu]) -> Reply<Vec<Outcome>> {
    pdus.iter().map(|pdu| learn_one(tx, room, pdu)).collect()
}

fn learn_one(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Outcome> {
    let known = event::find(tx, &pdu.event_id)?;
    // Of an invite that another server told, nobody has looked at the auth events yet.
    if let Some(event) = known
        && (!pdu.is_state() || tx.has(&AUTHORITIES, (event,))?)
    {
        return Ok(Outcome::Known(event));
    }
    if pdu.kind == "m.room.create" {
        let text = "a second create event";
        return Ok(Outcome::Rejected(Event(0), text.to_owned()));
    }
    let case = Case::new(tx, room, pdu)?;
    if !case.missing.is_empty() {
        return Ok(Outcome::Missing(Missing { auth: case.missing, prev: Vec::new() }));
    }
    let refused = judge::refusal(case.by_auth_events()?)?;
    let event = match known {
        None => keep(tx, room, pdu, refused.is_some())?,
        Some(event) => {
            authority::record(tx, room, event, pdu, refused.is_some())?;
            event
        }
    };
    Ok(match refused {
        None => Outcome::Accepted(event),
        Some(rule) => {
            let judged = Judged { why: Why::AuthEvents, rule: rule.clone() };
            tx.put(&JUDGED, (event,), &judged);
            Outcome::Rejected(event, rule)
        }
    })
}

/// Stores an event without its place.
pub(super) fn keep(tx: &mut Tx, room: Room, pdu: &Pdu, rejected: bool) -> Reply<Event> {
    let sender = user::intern(tx, &pdu.sender)?;
    let standing = Standing {
        pdu,
        sender,
        before: Root::default(),
        after: Root::default(),
        joined: 0,
        related: None,
        rejected,
    };
    let event = record::number(tx)?;
    record::keep(tx, room, event, false, &standing)?;
    Ok(event)
}

/// The number of an event that was learned.
pub(super) fn must_find(tx: &Tx, id: &ruma::EventId) -> Reply<Event> {
    event::find(tx, id)?.ok_or_else(|| Error::fault(format!("event {id} was not learned")))
}
