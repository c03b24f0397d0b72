//! How users of this server left a room at the end of an earlier stay, where the others have not heard of it.

use base::{Event, Reply, Room, Seq};
use store::{
    Direction, Tx, event, room,
    schema::{AUTHORITIES, JUDGED, Standing, TIMELINE},
    state::{self, Root, Slot},
    user,
};

use super::states;

/// Events looked at, the newest first: a stay ends with somebody leaving.
const LOOKED_AT_MAX: usize = 100;

/// A state that was told without members, with those users of this server who are known to be out: where nothing is told of
/// them, or what they left by replaced just that. Otherwise who is out, or what comes late of an earlier stay and goes by a
/// state in which they are joined, would change the room until all members are known.
pub(super) fn noted(tx: &mut Tx, room: Room, told: Root) -> Reply<Root> {
    let mut edits = Vec::new();
    for (who, member) in room::members(tx, room)? {
        if !matches!(member.standing, Standing::Leave | Standing::Ban) {
            continue;
        }
        let id = user::id(tx, who)?;
        let slot = Slot::of("m.room.member", id.as_str());
        if user::is_local(tx, &id) && is_news(tx, state::get_at(tx, told, slot)?, member.event)? {
            edits.push((slot, Some(member.event)));
        }
    }
    state::apply(tx, told, edits)
}

/// Has a server that tells this membership of somebody not heard of an event that this server knows? Where it has none at
/// all, it has not heard of what the event replaced either.
fn is_news(tx: &Tx, theirs: Option<Event>, event: Event) -> Reply<bool> {
    let Some(theirs) = theirs else { return Ok(true) };
    let cites = tx.get(&AUTHORITIES, (event,))?.map(|authority| authority.auth);
    Ok(cites.is_some_and(|cites| cites.contains(&theirs)))
}

/// The last membership that a user of this server brought about before a position, where a state that another server tells has
/// what it replaced. This server comes in by way of somebody who has not heard of it: it is an end of the graph still, or who
/// left would be in the room again. That of who enters is one too, unless it would undo their `join`.
/// With it, the state that both ends come to.
pub(super) fn unheard(
    tx: &mut Tx,
    room: Room,
    before: Seq,
    told: Root,
    join: Event,
) -> Reply<Option<(Event, Root)>> {
    let Some(left) = last(tx, room, before, told, None)? else { return Ok(None) };
    let join = event::load(tx, join)?;
    let key = join.row.state_key.as_deref().unwrap_or_default();
    let state = with(tx, room, left, &join)?;
    if state::get(tx, state, "m.room.member", key)? == Some(join.event) {
        return Ok(Some((left, state)));
    }
    let Some(left) = last(tx, room, before, told, Some(key))? else { return Ok(None) };
    Ok(Some((left, with(tx, room, left, &join)?)))
}

/// The state that an end and the join come to.
fn with(tx: &mut Tx, room: Room, left: Event, join: &event::Stored) -> Reply<Root> {
    let roots = vec![event::load(tx, left)?.row.after, join.row.after];
    states::resolved(tx, room, roots)
}

fn last(
    tx: &Tx,
    room: Room,
    before: Seq,
    told: Root,
    but_of: Option<&str>,
) -> Reply<Option<Event>> {
    let (from, to) = ((room, Seq::ZERO), (room, before));
    let rows: Vec<((Room, Seq), Event)> =
        tx.range(&TIMELINE, from, to, Direction::Backward, LOOKED_AT_MAX)?;
    for (_, event) in rows {
        let stored = event::load(tx, event)?;
        let ours = user::is_local(tx, &user::id(tx, stored.row.sender)?);
        let Some(key) = stored.row.state_key.as_deref().filter(|_| ours) else { continue };
        let over = but_of == Some(key) || tx.has(&JUDGED, (event,))?;
        if over || stored.row.kind != "m.room.member" {
            continue;
        }
        let theirs = state::get(tx, told, "m.room.member", key)?;
        if is_news(tx, theirs, event)? {
            return Ok(Some(event));
        }
    }
    Ok(None)
}
