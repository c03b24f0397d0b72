//! When something last happened in a room: what lists of rooms are sorted by (MSC4186, "Activity ordering").
//!
//! Each event writes one small row in its own commit, a message and a state change into different places, so that
//! nothing has to be read for it. Rooms without such rows are asked for their newest event.

use base::{Reply, Room, Seq};

use crate::{
    room,
    schema::ACTIVITY,
    view::{Announced, Tx, View},
};

/// Events that count as something going on in a room (MSC4186, `bump_stamp`), under their stable and unstable names.
const BUMPS: [&str; 9] = [
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "org.matrix.msc3381.poll.start",
    "m.beacon_info",
    "org.matrix.msc3672.beacon_info",
];

/// Rows by what an event was.
const OTHER: u8 = 0;
const BUMP: u8 = 1;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// The newest event.
    pub last: Seq,
    /// The newest event that people would call activity.
    pub bump: Seq,
}

/// Takes down that an event of this type was announced. For whoever gives an event its place in a timeline.
pub fn note(tx: &mut Tx, room: Room, kind: &str, at: Announced) {
    let what = if BUMPS.contains(&kind) { BUMP } else { OTHER };
    tx.put_at(&ACTIVITY, at, move |seq| ((room, what), seq));
}

/// The activity of rooms, in the order asked.
pub fn of(view: &View, rooms: &[Room]) -> Reply<Vec<Activity>> {
    let keys = rooms.iter().flat_map(|room| [(*room, OTHER), (*room, BUMP)]);
    let rows = view.get_many(&ACTIVITY, keys)?;
    let mut found = Vec::with_capacity(rooms.len());
    for (room, pair) in rooms.iter().zip(rows.chunks(2)) {
        let at = |what: u8| pair.get(usize::from(what)).copied().flatten();
        let (other, bump) = (at(OTHER), at(BUMP));
        let last = match other.max(bump) {
            Some(last) => last,
            None => room::last_at(view, *room, view.head())?.map_or(Seq::ZERO, |(seq, _)| seq),
        };
        found.push(Activity { last, bump: bump.unwrap_or(last) });
    }
    Ok(found)
}
