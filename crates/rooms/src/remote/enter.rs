//! Coming into a room that is elsewhere.

use base::{Error, Event, Reply, Room, Seq, User};
use protocol::Pdu;
use store::{
    Tx, event, log, room,
    schema::{ENTERED, GAPS, HEADS, Head, PARTIAL, Partial, Turn, UNFINISHED, Unfinished},
    state::{self, Root},
    user,
};

use super::{
    judge::{self, Case},
    learn::must_find,
    parting, states,
};
use crate::{
    member_rows::{self, Change, Said, Shown},
    record::{self, Standing},
};

/// This server comes into a room: the join, and the state before it as the server that let it in says; its events and
/// their auth events are here already ([`super::learn`]). `partial`: members are missing. The room's timeline begins (or
/// goes on) with the join.
///
/// # Errors
/// 403 `M_FORBIDDEN` if the state does not allow the join; faults.
pub fn enter(
    tx: &mut Tx,
    room: Room,
    join: &Pdu,
    before: &[Event],
    partial: Option<Partial>,
) -> Reply<Event> {
    let info = room::info(tx, room)?;
    let told = states::of_events(tx, room, before)?;
    let root = if partial.is_some() { parting::noted(tx, room, told)? } else { told };
    if state::get(tx, root, "m.room.create", "")? != Some(info.create) {
        return Err(Error::forbidden("the state of the room has another create event"));
    }
    let unfinished = begin(tx, room, partial.as_ref())?;
    let case = Case::new(tx, room, join)?;
    if let Some(rule) = judge::refusal(case.by_state(root)?)? {
        return Err(Error::forbidden(rule));
    }
    let known = event::find(tx, &join.event_id)?;
    let number = record::number(tx)?;
    let event = known.unwrap_or(number);
    let sender = user::intern(tx, &join.sender)?;
    let key = join.state_key.as_deref().unwrap_or_default();
    let after = state::set(tx, root, &join.kind, key, event)?;
    let mut standing = Standing {
        pdu: join,
        sender,
        before: root,
        after,
        joined: 0,
        related: None,
        rejected: false,
    };
    record::keep(tx, room, event, known.is_some(), &standing)?;
    let was = room::head(tx, room)?;
    let (old, mut head) = (was.state, Head { extremities: vec![event], depth: join.depth, ..was });
    head.state = after;
    // Where members are missing, that is looked for when they are here.
    if partial.is_none()
        && let Some((left, state)) = parting::unheard(tx, room, Seq::MAX, root, event)?
    {
        head.extremities.insert(0, left);
        head.state = state;
    }
    let others = follow(tx, room, &mut head, old, event, join)?;
    standing.joined = head.joined;
    record::keep(tx, room, event, true, &standing)?;
    if let Some(partial) = partial {
        tx.put(&PARTIAL, (room,), &Partial { join: event, ..partial });
    }
    tx.put(&HEADS, (room,), &head);
    tx.put(&ENTERED, (room,), &event);
    if let Some(from) = unfinished {
        tx.put(&UNFINISHED, (room,), &Unfinished { from, to: event });
    }
    tx.leap();
    let turned = head.state != after;
    let turn = turned.then_some(Turn { before: root, after: head.state });
    record::show(tx, room, event, &standing, Some(sender), turn)?;
    tx.announce(log::Entry::State { room, target: None });
    for other in others {
        let id = user::id(tx, other)?;
        if user::is_local(tx, &id) {
            tx.announce(log::Entry::State { room, target: Some(other) });
        }
    }
    note_gaps(tx, room, join, event)?;
    Ok(event)
}

/// Members are missing from now on, or none. Returns where the stays begin whose states are not whole, if this one is preceded by one.
fn begin(tx: &mut Tx, room: Room, partial: Option<&Partial>) -> Reply<Option<Event>> {
    let before = tx.get(&PARTIAL, (room,))?;
    match partial {
        Some(partial) => tx.put(&PARTIAL, (room,), partial),
        None => tx.delete(&PARTIAL, (room,)),
    }
    let Some(before) = before else { return Ok(None) };
    let earlier = tx.get(&UNFINISHED, (room,))?;
    Ok(Some(earlier.map_or(before.join, |stays| stays.from)))
}

/// What the join follows and is not here.
fn note_gaps(tx: &mut Tx, room: Room, join: &Pdu, event: Event) -> Reply<()> {
    for id in &join.prev_events {
        let here = event::find(tx, id)?.map(|event| event::load(tx, event)).transpose()?;
        if here.is_none_or(|stored| event::is_outlier(&stored.row)) {
            tx.put(&GAPS, (room, id.as_str().to_owned()), &event);
        }
    }
    Ok(())
}

/// The membership rows of everyone. Returns whose changed beside that of who joins.
fn follow(
    tx: &mut Tx,
    room: Room,
    head: &mut Head,
    old: Root,
    event: Event,
    join: &Pdu,
) -> Reply<Vec<User>> {
    let now = head.state;
    let others = member_rows::follow(tx, room, head, (old, now), Some(event))?;
    let change = Change::read(join).ok_or_else(|| Error::fault("a join that is none"))?;
    let sender = must_find(tx, &join.event_id).and_then(|e| event::load(tx, e))?.row.sender;
    let said = Said { event, sender, sender_id: &join.sender, content: join.content.get() };
    if state::get(tx, now, "m.room.member", change.target.as_str())? == Some(event) {
        member_rows::apply(tx, room, head, Shown::Of(now), &change, &said)?;
    }
    Ok(others)
}
