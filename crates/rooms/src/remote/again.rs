//! Events that were judged by part of a room's state, judged by all of it.

use std::collections::{HashMap, HashSet};

use base::{Event, Reply, Room, Seq};
use protocol::Pdu;
use store::{
    Tx, event,
    schema::{EVENTS, JUDGED, Judged, Why},
    state::{self, Edit, Root},
};

use super::{
    judge::{self, Case},
    states,
};
use crate::authority;

/// The events since a join, each put right after those that it follows.
pub(super) struct Again {
    room: Room,
    /// The join, where it stands, and the state before it.
    join: Event,
    from: Seq,
    full: Root,
    /// What was missing. Where an event stands on what another server told, it is put to that, unless something else is
    /// there: it was there all the time.
    added: Vec<Edit>,
    completed: HashMap<Root, Root>,
    done: HashSet<Event>,
}

impl Again {
    /// `full`: the state before the join.
    pub(super) fn new(
        tx: &mut Tx,
        room: Room,
        (join, from): (Event, Seq),
        full: Root,
    ) -> Reply<Again> {
        let part = event::load(tx, join)?.row.before;
        let changes = state::diff(tx, part, full)?;
        let added = changes.into_iter().filter(|change| change.before.is_none());
        let added = added.map(|change| (change.slot, change.after)).collect();
        let (completed, done) = (HashMap::new(), HashSet::new());
        Ok(Again { room, join, from, full, added, completed, done })
    }

    /// Puts an event right, and before it those that it follows.
    pub(super) fn judge(&mut self, tx: &mut Tx, event: Event) -> Reply<()> {
        let (mut open, mut seen) = (vec![event], HashSet::new());
        while let Some(event) = open.last().copied() {
            if self.done.contains(&event) {
                open.pop();
                continue;
            }
            let pdu = authority::pdu(tx, event)?;
            let prev = self.previous(tx, &pdu)?;
            let mut waits = Vec::new();
            for prev in prev.iter().flatten() {
                if !self.done.contains(prev) && self.is_since(tx, *prev)? {
                    waits.push(*prev);
                }
            }
            // The second time, what is still open follows the event itself: old versions do not rule that out.
            if seen.insert(event) && !waits.is_empty() {
                open.extend(waits);
                continue;
            }
            self.put_right(tx, event, &pdu, prev.as_deref())?;
            self.done.insert(event);
            open.pop();
        }
        Ok(())
    }

    /// Is it in the room, and not rejected?
    pub(super) fn counts(&self, tx: &Tx, event: Event) -> Reply<bool> {
        Ok(!tx.get(&JUDGED, (event,))?.is_some_and(|judged| judged.rejected()))
    }

    /// The events that it follows, if the state after each is known.
    fn previous(&self, tx: &Tx, pdu: &Pdu) -> Reply<Option<Vec<Event>>> {
        let mut found = Vec::with_capacity(pdu.prev_events.len());
        for id in &pdu.prev_events {
            let Some(event) = event::find(tx, id)? else { return Ok(None) };
            let row = &event::load(tx, event)?.row;
            if row.room != self.room || !event::is_founded(tx, row, event)? {
                return Ok(None);
            }
            found.push(event);
        }
        Ok(Some(found))
    }

    /// Did it come after the join? What was not shown counts as well: it may stand between others.
    fn is_since(&self, tx: &Tx, event: Event) -> Reply<bool> {
        Ok(event::order(tx, event)?.is_none_or(|at| at >= self.from))
    }

    fn put_right(
        &mut self,
        tx: &mut Tx,
        event: Event,
        pdu: &Pdu,
        prev: Option<&[Event]>,
    ) -> Reply<()> {
        let Some(mut row) = tx.get(&EVENTS, (event,))? else { return Ok(()) };
        row.before = match prev {
            // What was before it in an earlier stay is older than what its server says.
            _ if event == self.join => self.full,
            Some(prev) if !prev.is_empty() => {
                let mut roots = Vec::with_capacity(prev.len());
                for event in prev {
                    roots.push(event::load(tx, *event)?.row.after);
                }
                states::resolved(tx, self.room, roots)?
            }
            _ => self.completed(tx, row.before)?,
        };
        let rejected = self.is_rejected(tx, event, pdu, row.before)?;
        row.after = match &pdu.state_key {
            Some(key) if !rejected => {
                row.replaces = state::get(tx, row.before, &pdu.kind, key)?;
                state::set(tx, row.before, &pdu.kind, key, event)?
            }
            _ => row.before,
        };
        tx.put(&EVENTS, (event,), &row);
        authority::reject(tx, event, rejected)
    }

    /// Checks an event by the state before it, and writes down what that says now.
    fn is_rejected(&self, tx: &mut Tx, event: Event, pdu: &Pdu, before: Root) -> Reply<bool> {
        let was = tx.get(&JUDGED, (event,))?;
        if was.as_ref().is_some_and(|was| was.why == Why::AuthEvents) {
            return Ok(true);
        }
        let refused = judge::refusal(Case::new(tx, self.room, pdu)?.by_state(before)?)?;
        match (refused, was) {
            (Some(rule), _) => {
                tx.put(&JUDGED, (event,), &Judged { why: Why::State, rule });
                Ok(true)
            }
            // It has not been shown, and what follows it was not taken for an end.
            (None, Some(was)) if was.why == Why::State => {
                tx.put(&JUDGED, (event,), &Judged { why: Why::Now, ..was });
                Ok(false)
            }
            (None, _) => Ok(false),
        }
    }

    /// A version of the state, with what was missing in it.
    fn completed(&mut self, tx: &mut Tx, root: Root) -> Reply<Root> {
        if let Some(completed) = self.completed.get(&root) {
            return Ok(*completed);
        }
        let mut edits = Vec::with_capacity(self.added.len());
        for (slot, event) in &self.added {
            if state::get_at(tx, root, *slot)?.is_none() {
                edits.push((*slot, *event));
            }
        }
        let completed = state::apply(tx, root, edits)?;
        self.completed.insert(root, completed);
        // What is whole already stays as it is.
        self.completed.insert(completed, completed);
        Ok(completed)
    }
}
