//! Storing an event with all that is indexed by it: one way for those that are made here and those that come from other
//! servers.

use base::{Event, Reply, Room, UnixMs, User};
use protocol::{Pdu, pdu::split};
use store::{
    Tx, activity, event, log,
    schema::{AUTHORITIES, EventRow, TURNS, Turn},
    state::{self, Root},
};

use crate::{
    authority, ground,
    relate::{self, Related},
    sticky,
};

/// An event and where it stands.
pub(crate) struct Standing<'a> {
    pub(crate) pdu: &'a Pdu,
    pub(crate) sender: User,
    /// The state before it in the graph; of an outlier, none.
    pub(crate) before: Root,
    /// The state after it in the graph; of an outlier, none.
    pub(crate) after: Root,
    /// How many are joined to the room with it.
    pub(crate) joined: u64,
    pub(crate) related: Option<&'a Related>,
    /// It must not count in state resolution.
    pub(crate) rejected: bool,
}

/// The number of a new event.
pub(crate) fn number(tx: &Tx) -> Reply<Event> {
    tx.fresh().map(Event)
}

/// Stores an event under its number, and for a state event what authorises it. `known`: it is here already, without its
/// place in the room.
pub(crate) fn keep(
    tx: &mut Tx,
    room: Room,
    event: Event,
    known: bool,
    standing: &Standing<'_>,
) -> Reply<()> {
    let pdu = standing.pdu;
    let replaces = match &pdu.state_key {
        Some(key) if standing.after != Root::default() => {
            state::get(tx, standing.before, &pdu.kind, key)?
        }
        _ => None,
    };
    let row = EventRow {
        room,
        sender: standing.sender,
        kind: pdu.kind.clone(),
        state_key: pdu.state_key.clone(),
        sent_at: UnixMs(pdu.origin_server_ts),
        depth: pdu.depth,
        before: standing.before,
        after: standing.after,
        relates: standing.related.map(|r| (r.parent, r.rel_type.clone())),
        replaces,
        redacted_by: None,
        joined: standing.joined,
        client: Vec::new(),
        rest: Vec::new(),
    };
    if known {
        if pdu.is_state() && !tx.has(&AUTHORITIES, (event,))? {
            authority::record(tx, room, event, pdu, standing.rejected)?;
        }
        authority::reject(tx, event, standing.rejected)?;
        return event::settle(tx, event, row);
    }
    let halves = split(pdu);
    event::insert(tx, event, &pdu.event_id, row, &halves.client, &halves.rest);
    authority::record(tx, room, event, pdu, standing.rejected)?;
    ground::remember_id(tx, event, &pdu.event_id)
}

/// Stores an event of which nothing is known but itself, not even what authorises it.
pub(crate) fn keep_bare(
    tx: &mut Tx,
    room: Room,
    event: Event,
    pdu: &Pdu,
    sender: User,
) -> Reply<()> {
    let row = EventRow {
        room,
        sender,
        kind: pdu.kind.clone(),
        state_key: pdu.state_key.clone(),
        sent_at: UnixMs(pdu.origin_server_ts),
        depth: pdu.depth,
        before: Root::default(),
        after: Root::default(),
        relates: None,
        replaces: None,
        redacted_by: None,
        joined: 0,
        client: Vec::new(),
        rest: Vec::new(),
    };
    let halves = split(pdu);
    event::insert(tx, event, &pdu.event_id, row, &halves.client, &halves.rest);
    ground::remember_id(tx, event, &pdu.event_id)
}

/// Puts an event at the end of its room's timeline and announces it. `turn`: the room's state around it, where that is not
/// the state around the event in the graph.
pub(crate) fn show(
    tx: &mut Tx,
    room: Room,
    event: Event,
    standing: &Standing<'_>,
    target: Option<User>,
    turn: Option<Turn>,
) -> Reply<()> {
    let (pdu, sender) = (standing.pdu, standing.sender);
    let state = pdu.is_state();
    let at = tx.announce(log::Entry::Event { room, event, sender, target, state });
    event::place(tx, room, event, UnixMs(pdu.origin_server_ts), at);
    if let Some(turn) = turn {
        tx.put_at(&TURNS, at, move |seq| ((room, seq), turn));
    }
    activity::note(tx, room, &pdu.kind, at);
    sticky::index(tx, room, event, pdu, at)?;
    if let Some(related) = standing.related {
        let relation = related.child(event, &pdu.kind, sender);
        relate::index(tx, room, related, relation, relate::At::Announced(at))?;
    }
    Ok(())
}
