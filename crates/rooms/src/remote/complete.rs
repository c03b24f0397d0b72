//! All of a room's state, when only part of it came with the join (spec: Server-Server API, "PUT send_join", `omit_members`).
//!
//! What has happened since is judged once more: part of the state allowed what all of it may forbid, and the ends of a fork
//! come to something else.

use std::collections::HashSet;

use base::{Error, Event, Reply, Room, Seq};
use store::{
    Direction, Tx, event, log, room,
    schema::{ASIDE, COMPLETED, HEADS, PARTIAL, TIMELINE, TURNS, Turn},
    state,
};

use super::{again::Again, parting, states};
use crate::{authority, member_rows};

/// Events since the join that are put right: a room is completed within minutes.
const SINCE_MAX: usize = 50_000;

/// All of the state before the join by which this server came in is here: what has come since is put right by it, and the
/// room is not partial any more. An event that turns out to be forbidden counts for nothing from now on; those who were told
/// of it were told.
///
/// # Errors
/// Faults.
pub fn complete(tx: &mut Tx, room: Room, before: &[Event]) -> Reply<()> {
    let Some(partial) = tx.get(&PARTIAL, (room,))? else { return Ok(()) };
    // From here on all of the state judges.
    tx.delete(&PARTIAL, (room,));
    let full = states::of_events(tx, room, before)?;
    let from = event::order(tx, partial.join)?
        .ok_or_else(|| Error::fault(format!("room {room} was joined nowhere")))?;
    let mut again = Again::new(tx, room, (partial.join, from), full)?;
    let rows: Vec<((Room, Seq), Event)> =
        tx.range(&TIMELINE, (room, from), (room, Seq::MAX), Direction::Forward, SINCE_MAX)?;
    for (_, event) in &rows {
        again.judge(tx, *event)?;
    }
    let aside: Vec<((Room, Event), Event)> = tx.under(&ASIDE, (room,), SINCE_MAX)?;
    for ((_, event), _) in aside.into_iter().filter(|(_, join)| *join == partial.join) {
        again.judge(tx, event)?;
        tx.delete(&ASIDE, (room, event));
    }
    let mut head = room::head(tx, room)?;
    for end in head.extremities.clone() {
        again.judge(tx, end)?;
    }
    let was = head.state;
    let left = parting::unheard(tx, room, from, full, partial.join)?;
    let mut ends =
        Ends { room, events: left.into_iter().map(|(left, _)| left).collect(), state: full };
    let told = told(tx, &again, &rows, &head.extremities)?;
    for ((_, at), event) in rows {
        let before = ends.state;
        if again.counts(tx, event)? && told.contains(&event) {
            ends.follow(tx, event)?;
        }
        turn(tx, (room, at), event, Turn { before, after: ends.state })?;
    }
    head.extremities = ends.events;
    head.state = ends.state;
    let changed = member_rows::follow(tx, room, &mut head, (was, ends.state), None)?;
    tx.put(&HEADS, (room,), &head);
    let at = tx.announce(log::Entry::State { room, target: None });
    tx.put_at(&COMPLETED, at, move |seq| ((room,), seq));
    for user in changed {
        let id = store::user::id(tx, user)?;
        if store::user::is_local(tx, &id) {
            tx.announce(log::Entry::State { room, target: Some(user) });
        }
    }
    Ok(())
}

/// Those of the events that led up to the ends, or would have without what is rejected. The others were put into the past of the room:
/// the state now does not come from them.
fn told(
    tx: &Tx,
    again: &Again,
    rows: &[((Room, Seq), Event)],
    ends: &[Event],
) -> Reply<HashSet<Event>> {
    let mut told: HashSet<Event> = ends.iter().copied().collect();
    for (_, event) in rows.iter().rev() {
        if told.contains(event) || !again.counts(tx, *event)? {
            for id in authority::pdu(tx, *event)?.prev_events {
                told.extend(event::find(tx, &id)?);
            }
        }
    }
    Ok(told)
}

/// The ends of the graph as events come, and the state that they come to.
struct Ends {
    room: Room,
    events: Vec<Event>,
    state: state::Root,
}

impl Ends {
    fn follow(&mut self, tx: &mut Tx, event: Event) -> Reply<()> {
        for id in authority::pdu(tx, event)?.prev_events {
            let prev = event::find(tx, &id)?;
            self.events.retain(|end| Some(*end) != prev);
        }
        self.events.push(event);
        let mut roots = Vec::with_capacity(self.events.len());
        for end in &self.events {
            roots.push(event::load(tx, *end)?.row.after);
        }
        self.state = states::resolved(tx, self.room, roots)?;
        Ok(())
    }
}

/// Writes down the room's state around a position where it is not that around the event.
fn turn(tx: &mut Tx, place: (Room, Seq), event: Event, turn: Turn) -> Reply<()> {
    let row = &event::load(tx, event)?.row;
    if (turn.before, turn.after) != (row.before, row.after) {
        tx.put(&TURNS, place, &turn);
    } else if tx.has(&TURNS, place)? {
        tx.delete(&TURNS, place);
    }
    Ok(())
}
