//! Versions of a room's state: as another server lists them, and where several come together.

use base::{Event, Reply, Room};
use protocol::resolve::STATES_MAX;
use store::{
    Tx, event,
    schema::AUTHORITIES,
    state::{self, Edit, Root, Slot},
};

use crate::resolve::resolve;

/// The state of these events. Rejected ones are left out.
pub(super) fn of_events(tx: &mut Tx, room: Room, events: &[Event]) -> Reply<Root> {
    let mut edits: Vec<Edit> = Vec::with_capacity(events.len());
    for event in events {
        let stored = event::load(tx, *event)?;
        let Some(key) = stored.row.state_key.as_deref().filter(|_| stored.row.room == room) else {
            continue;
        };
        let authority = tx.get(&AUTHORITIES, (*event,))?;
        if authority.is_some_and(|authority| !authority.rejected) {
            edits.push((Slot::of(&stored.row.kind, key), Some(*event)));
        }
    }
    state::apply(tx, Root::default(), edits)
}

/// What several versions come to. Of more than can be resolved, the last ones count.
pub(super) fn resolved(tx: &mut Tx, room: Room, mut states: Vec<Root>) -> Reply<Root> {
    let mut distinct = Vec::with_capacity(states.len());
    states.reverse();
    for root in states {
        if !distinct.contains(&root) && distinct.len() < STATES_MAX {
            distinct.push(root);
        }
    }
    match distinct.as_slice() {
        [only] => Ok(*only),
        several => resolve(tx, room, several)?.write(tx),
    }
}
