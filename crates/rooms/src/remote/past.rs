//! What happened in a room before this server knew of it, fetched later: it is put in front of what is here, in the free
//! positions there.

use base::{Error, Event, Reply, Room, Seq, UnixMs};
use protocol::Pdu;
use store::{
    Direction, Tx, event,
    schema::{GAPS, JUDGED, Judged, TIMELINE, Why},
    state::{self, Root},
    user,
};

use super::{
    judge::{self, Case},
    states,
};
use crate::{
    pending,
    record::{self, Standing},
    relate,
};

/// Puts events that happened before what is here into a room's past: `newest_first` as other servers tell them, `before` the
/// state before the oldest of them, whose events are here ([`super::learn`]). What does not lead up to a gap, is here, or has no
/// free position left is left out. Returns how many found a place.
///
/// # Errors
/// Faults.
pub fn look_back(tx: &mut Tx, room: Room, newest_first: &[Pdu], before: &[Event]) -> Reply<usize> {
    let Some(mut place) = Place::find(tx, room, newest_first)? else { return Ok(0) };
    let root = states::of_events(tx, room, before)?;
    let mut shown = Vec::with_capacity(newest_first.len());
    for pdu in newest_first.iter().rev() {
        if let Some(event) = settle(tx, room, pdu, root)? {
            shown.push((event, pdu));
        }
    }
    let mut placed = 0;
    for (event, pdu) in shown.into_iter().rev() {
        let Some(at) = place.next() else { break };
        show(tx, room, event, pdu, at)?;
        placed += 1;
    }
    Ok(placed)
}

/// Free positions, from the newest downward.
struct Place {
    /// The last that was taken.
    taken: Seq,
    /// The newest event before them, or where the log can begin.
    floor: Seq,
}

impl Place {
    /// Before the oldest event that names one of these and misses it.
    fn find(tx: &Tx, room: Room, pdus: &[Pdu]) -> Reply<Option<Place>> {
        let mut taken: Option<Seq> = None;
        for pdu in pdus {
            let Some(citing) = tx.get(&GAPS, (room, pdu.event_id.as_str().to_owned()))? else {
                continue;
            };
            if let Some(at) = event::order(tx, citing)? {
                taken = Some(taken.map_or(at, |before| before.min(at)));
            }
        }
        let Some(taken) = taken else { return Ok(None) };
        let (from, to) = ((room, Seq::ZERO), (room, taken));
        let rows: Vec<((Room, Seq), Event)> =
            tx.range(&TIMELINE, from, to, Direction::Backward, 1)?;
        let floor = rows.first().map_or(Seq::ZERO, |((_, at), _)| *at);
        Ok(Some(Place { taken, floor }))
    }

    fn next(&mut self) -> Option<Seq> {
        let at = Seq(self.taken.0.checked_sub(1)?);
        (at > self.floor).then(|| {
            self.taken = at;
            at
        })
    }
}

/// Finds the state around an event and judges it. Returns it if it is to be shown.
fn settle(tx: &mut Tx, room: Room, pdu: &Pdu, oldest: Root) -> Reply<Option<Event>> {
    let known = event::find(tx, &pdu.event_id)?;
    if let Some(event) = known {
        let stored = event::load(tx, event)?;
        if stored.row.room != room
            || !event::is_outlier(&stored.row)
            || tx.has(&JUDGED, (event,))?
        {
            return Ok(None);
        }
    }
    let case = Case::new(tx, room, pdu)?;
    if !case.missing.is_empty() && known.is_none() {
        return Ok(None);
    }
    let is_create = pdu.kind == "m.room.create";
    let by_auth =
        if is_create || known.is_some() { None } else { judge::refusal(case.by_auth_events()?)? };
    let before = if is_create { Root::default() } else { state_before(tx, room, pdu, oldest)? };
    let case = Case::new(tx, room, pdu)?;
    let judged = match by_auth {
        Some(rule) => Some(Judged { why: Why::AuthEvents, rule }),
        None => {
            judge::refusal(case.by_state(before)?)?.map(|rule| Judged { why: Why::State, rule })
        }
    };
    let number = record::number(tx)?;
    let event = known.unwrap_or(number);
    let sender = user::intern(tx, &pdu.sender)?;
    let after = match &pdu.state_key {
        Some(key) if judged.is_none() => state::set(tx, before, &pdu.kind, key, event)?,
        _ => before,
    };
    let related = relate::read_theirs(tx, room, sender, &pdu.kind, pdu.content.get())?;
    let standing = Standing {
        pdu,
        sender,
        before,
        after,
        joined: 0,
        related: related.as_ref(),
        rejected: judged.is_some(),
    };
    record::keep(tx, room, event, known.is_some(), &standing)?;
    if let Some(judged) = judged {
        tx.put(&JUDGED, (event,), &judged);
        return Ok(None);
    }
    Ok(Some(event))
}

/// The state before an event: after those that it follows, if they are here; else that before the oldest of all.
fn state_before(tx: &mut Tx, room: Room, pdu: &Pdu, oldest: Root) -> Reply<Root> {
    let mut roots = Vec::with_capacity(pdu.prev_events.len());
    for id in &pdu.prev_events {
        let Some(event) = event::find(tx, id)? else { return Ok(oldest) };
        let stored = event::load(tx, event)?;
        if stored.row.room != room || event::is_outlier(&stored.row) {
            return Ok(oldest);
        }
        roots.push(stored.row.after);
    }
    if roots.is_empty() {
        return Ok(oldest);
    }
    states::resolved(tx, room, roots)
}

fn show(tx: &mut Tx, room: Room, event: Event, pdu: &Pdu, at: Seq) -> Reply<()> {
    event::place_before(tx, room, event, UnixMs(pdu.origin_server_ts), at);
    let stored = event::load(tx, event)?;
    if let Some((parent, _)) = stored.row.relates.clone() {
        let sender = stored.row.sender;
        let related = relate::read_theirs(tx, room, sender, &pdu.kind, pdu.content.get())?;
        let related = related.ok_or_else(|| Error::fault(format!("{parent} is gone")))?;
        let child = related.child(event, &pdu.kind, sender);
        relate::index(tx, room, &related, child, relate::At::Past(at))?;
    }
    let key = |id: &ruma::EventId| (room, id.as_str().to_owned());
    tx.delete(&GAPS, key(&pdu.event_id));
    for id in &pdu.prev_events {
        let here = event::find(tx, id)?.map(|event| event::load(tx, event)).transpose()?;
        if here.is_none_or(|stored| event::is_outlier(&stored.row)) {
            tx.put(&GAPS, key(id), &event);
        }
    }
    pending::redact(tx, room, event, pdu)?;
    pending::settle(tx, room, event, pdu)
}
