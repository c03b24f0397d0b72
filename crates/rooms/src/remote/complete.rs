//! All of a room's state, when only part of it came with the join (spec: Server-Server API, "PUT send_join", `omit_members`).

use std::collections::HashMap;

use base::{Error, Event, Reply, Room, Seq};
use store::{
    Direction, Tx, event, log, room,
    schema::{EVENTS, HEADS, PARTIAL, TIMELINE, TURNS, Turn},
    state::{self, Edit, Root},
};

use super::states;
use crate::member_rows;

/// Events since the join that are put right: a room is completed within minutes.
const SINCE_MAX: usize = 50_000;

/// All of the state before the join by which this server came in is here: what is known of the states since is completed by
/// it, and the room is not partial any more.
///
/// # Errors
/// Faults.
pub fn complete(tx: &mut Tx, room: Room, before: &[Event]) -> Reply<()> {
    let Some(partial) = tx.get(&PARTIAL, (room,))? else { return Ok(()) };
    let full = states::of_events(tx, room, before)?;
    let part = event::load(tx, partial.join)?.row.before;
    let changes = state::diff(tx, part, full)?;
    let added = changes.into_iter().filter(|change| change.before.is_none());
    let added: Vec<Edit> = added.map(|change| (change.slot, change.after)).collect();
    let mut whole = Whole { added, known: HashMap::new() };

    let from = event::order(tx, partial.join)?
        .ok_or_else(|| Error::fault(format!("room {room} was joined nowhere")))?;
    let rows: Vec<((Room, Seq), Event)> =
        tx.range(&TIMELINE, (room, from), (room, Seq::MAX), Direction::Forward, SINCE_MAX)?;
    for ((_, at), event) in rows {
        whole.mend(tx, room, at, event)?;
    }
    let mut head = room::head(tx, room)?;
    let was = head.state;
    head.state = whole.of(tx, was)?;
    for end in head.extremities.clone() {
        // An end that was not shown stands behind events that were.
        whole.mend_row(tx, end)?;
    }
    let now = head.state;
    let changed = member_rows::follow(tx, room, &mut head, (was, now), None)?;
    tx.put(&HEADS, (room,), &head);
    tx.delete(&PARTIAL, (room,));
    tx.announce(log::Entry::State { room, target: None });
    for user in changed {
        let id = store::user::id(tx, user)?;
        if store::user::is_local(tx, &id) {
            tx.announce(log::Entry::State { room, target: Some(user) });
        }
    }
    Ok(())
}

/// Completes versions of the state.
struct Whole {
    /// What was missing: it was there all the time, unless something else took its place.
    added: Vec<Edit>,
    known: HashMap<Root, Root>,
}

impl Whole {
    fn of(&mut self, tx: &mut Tx, root: Root) -> Reply<Root> {
        if let Some(whole) = self.known.get(&root) {
            return Ok(*whole);
        }
        let mut edits = Vec::with_capacity(self.added.len());
        for (slot, event) in &self.added {
            if state::get_at(tx, root, *slot)?.is_none() {
                edits.push((*slot, *event));
            }
        }
        let whole = state::apply(tx, root, edits)?;
        self.known.insert(root, whole);
        // What is whole already stays as it is.
        self.known.insert(whole, whole);
        Ok(whole)
    }

    fn mend(&mut self, tx: &mut Tx, room: Room, at: Seq, event: Event) -> Reply<()> {
        self.mend_row(tx, event)?;
        if let Some(turn) = tx.get(&TURNS, (room, at))? {
            let (before, after) = (self.of(tx, turn.before)?, self.of(tx, turn.after)?);
            tx.put(&TURNS, (room, at), &Turn { before, after });
        }
        Ok(())
    }

    fn mend_row(&mut self, tx: &mut Tx, event: Event) -> Reply<()> {
        let Some(mut row) = tx.get(&EVENTS, (event,))? else { return Ok(()) };
        row.before = self.of(tx, row.before)?;
        row.after = self.of(tx, row.after)?;
        tx.put(&EVENTS, (event,), &row);
        Ok(())
    }
}
