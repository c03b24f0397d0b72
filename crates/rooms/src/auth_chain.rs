//! What authorises events, and what authorises that, down to the create event (spec: Server-Server API, "Retrieving event
//! authorization information").

use std::collections::HashSet;

use base::{Error, Event, Reply};
use store::{View, event, pdu, schema::AUTHORITIES};

/// Rows read in one trip.
const BATCH: usize = 1_000;
/// The longest chain that is given to another server: that of the state of a room of some 100,000 members.
pub const AUTH_CHAIN_MAX: usize = 500_000;

/// All that authorises these events, each once, in no particular order. The events themselves are among them only if they
/// authorise another one.
///
/// # Errors
/// 413 `M_TOO_LARGE` if there are more than `max`; faults of the store.
pub fn auth_chain(view: &View, events: &[Event], max: usize) -> Reply<Vec<Event>> {
    let mut chain: HashSet<Event> = HashSet::new();
    let mut followed: HashSet<Event> = events.iter().copied().collect();
    let mut ahead: Vec<Event> = followed.iter().copied().collect();
    while !ahead.is_empty() {
        let mut next = Vec::new();
        for batch in ahead.chunks(BATCH) {
            for (event, authorities) in batch.iter().zip(authorities(view, batch)?) {
                for above in match authorities {
                    Some(authorities) => authorities,
                    None => named(view, *event)?,
                } {
                    chain.insert(above);
                    if followed.insert(above) {
                        next.push(above);
                    }
                }
            }
        }
        if chain.len() > max {
            return Err(Error::too_large(format!("the auth chain has more than {max} events")));
        }
        ahead = next;
    }
    let mut chain: Vec<Event> = chain.into_iter().collect();
    chain.sort_unstable();
    Ok(chain)
}

/// What authorises state events; `None` for others.
fn authorities(view: &View, events: &[Event]) -> Reply<Vec<Option<Vec<Event>>>> {
    let rows = view.get_many(&AUTHORITIES, events.iter().map(|event| (*event,)))?;
    Ok(rows.into_iter().map(|row| row.map(|row| row.auth)).collect())
}

/// What an event names as its authority, as far as it is here.
fn named(view: &View, event: Event) -> Reply<Vec<Event>> {
    let mut found = Vec::new();
    for id in pdu::named(&event::rest(view, event)?)?.auth {
        found.extend(event::find(view, &id)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{World, refusal};

    #[test]
    fn a_chain_has_all_that_authorises_and_all_that_authorises_that_once() {
        let world = World::new();
        let alice = world.user("alice");
        let bob = world.user("bob");
        let room = world.public(alice);
        world.join(bob, &room).unwrap();
        let join = world.timeline(&room).last().unwrap().event;
        let said = world.number(&world.say(bob, &room, "hi"));
        let chain = world.read(|view| auth_chain(view, &[said], AUTH_CHAIN_MAX)).unwrap();
        let kinds: Vec<String> = chain
            .iter()
            .map(|e| world.read(|v| event::load(v, *e)).unwrap().row.kind.clone())
            .collect();
        assert!(chain.contains(&join), "{kinds:?}");
        assert!(!chain.contains(&said));
        // The create event of a version 12 room is nobody's auth event.
        let count = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
        let counted =
            (count("m.room.member"), count("m.room.power_levels"), count("m.room.join_rules"));
        assert_eq!(counted, (2, 1, 1), "{kinds:?}");
        // The chain of one in it is a part of it.
        let part = world.read(|view| auth_chain(view, &[join], AUTH_CHAIN_MAX)).unwrap();
        assert!(part.iter().all(|event| chain.contains(event)) && part.len() < chain.len());
    }

    #[test]
    fn a_chain_that_is_too_long_is_refused() {
        let world = World::new();
        let alice = world.user("alice");
        let room = world.create(alice, json!({})).unwrap();
        let said = world.number(&world.say(alice, &room, "hi"));
        let no = refusal(world.store.read_here(|view| auth_chain(view, &[said], 1)));
        assert_eq!(no.unwrap_err(), (413, "M_TOO_LARGE"));
    }
}
