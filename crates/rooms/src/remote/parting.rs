//! How users of this server left a room at the end of an earlier stay, where the others have not heard of it.

use base::{Event, Reply, Room, Seq};
use store::{
    Direction, Tx, event,
    schema::{AUTHORITIES, JUDGED, TIMELINE},
    state::{self, Root},
    user,
};

/// Events looked at, the newest first: a stay ends with somebody leaving.
const LOOKED_AT_MAX: usize = 100;

/// The last membership that a user of this server brought about before a position, where a state that another server tells has
/// what it replaced. This server comes in by way of somebody who has not heard of it: it is an end of the graph still, or who
/// left would be in the room again. That of who `enters` is over.
pub(super) fn unheard(
    tx: &Tx,
    room: Room,
    before: Seq,
    told: Root,
    enters: Option<&str>,
) -> Reply<Option<Event>> {
    let (from, to) = ((room, Seq::ZERO), (room, before));
    let rows: Vec<((Room, Seq), Event)> =
        tx.range(&TIMELINE, from, to, Direction::Backward, LOOKED_AT_MAX)?;
    for (_, event) in rows {
        let stored = event::load(tx, event)?;
        let ours = user::is_local(tx, &user::id(tx, stored.row.sender)?);
        let Some(key) = stored.row.state_key.as_deref().filter(|_| ours) else { continue };
        let over = enters == Some(key) || tx.has(&JUDGED, (event,))?;
        if over || stored.row.kind != "m.room.member" {
            continue;
        }
        let theirs = state::get(tx, told, "m.room.member", key)?;
        let cites = tx.get(&AUTHORITIES, (event,))?.map(|authority| authority.auth);
        if theirs.is_some_and(|theirs| cites.is_some_and(|cites| cites.contains(&theirs))) {
            return Ok(Some(event));
        }
    }
    Ok(None)
}
