//! Taking an event into its room.

use base::{Error, Event, Reply, Room, User};
use protocol::Pdu;
use store::{
    Tx, event, log, room,
    schema::{ASIDE, GAPS, HEADS, Head, JUDGED, Judged, PARTIAL, Turn, Why},
    state::{self, Root},
    user,
};

use super::{
    Missing, Outcome,
    judge::{self, Case},
    states,
};
use crate::{
    delayed_rows,
    member_rows::{self, Change, Said, Shown},
    pending,
    policy_server::{self, Word},
    record::{self, Standing},
    relate,
};

/// Takes an event into its room, if the events before it are here: state before it (resolved over `prev_events`), checks 4
/// to 7, the room's new state and extremities, all indexes, the log. Also for events of users of this server that another
/// server had to sign or see first (made by [`crate::prepare`]).
///
/// # Errors
/// Faults.
pub fn receive(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Outcome> {
    take(tx, room, pdu, None, true)
}

/// The same, but that nobody is waited for: what the room's policy server should have signed and has not is
/// [`Outcome::Unsigned`].
///
/// # Errors
/// Faults.
pub fn receive_signed(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Outcome> {
    take(tx, room, pdu, None, false)
}

/// The same where events before it are missing: `before` are the state events before it, as another server says; they are
/// here already ([`super::learn`]). The missing ones become [`store::schema::GAPS`].
///
/// # Errors
/// Faults.
pub fn receive_at(tx: &mut Tx, room: Room, pdu: &Pdu, before: &[Event]) -> Reply<Outcome> {
    take(tx, room, pdu, Some(before), true)
}

/// What is known of an event already.
enum Before {
    /// Nothing, or only the event itself.
    New(Option<Event>),
    /// All there is to know.
    Done(Event),
}

fn known(tx: &Tx, room: Room, pdu: &Pdu) -> Reply<Before> {
    let Some(event) = event::find(tx, &pdu.event_id)? else { return Ok(Before::New(None)) };
    let stored = event::load(tx, event)?;
    let done =
        stored.row.room != room || !event::is_outlier(&stored.row) || tx.has(&JUDGED, (event,))?;
    Ok(if done { Before::Done(event) } else { Before::New(Some(event)) })
}

fn take(tx: &mut Tx, room: Room, pdu: &Pdu, said: Option<&[Event]>, ask: bool) -> Reply<Outcome> {
    if room::id(tx, room)? != pdu.room_id {
        return Err(Error::invalid_param("the event is of another room"));
    }
    let known = match known(tx, room, pdu)? {
        Before::Done(event) => return Ok(Outcome::Known(event)),
        Before::New(Some(event)) if pdu.kind == "m.room.create" => {
            return Ok(Outcome::Known(event));
        }
        Before::New(known) => known,
    };
    if pdu.kind == "m.room.create" || pdu.prev_events.is_empty() {
        return Err(Error::invalid_param("a room has one first event"));
    }
    let (prev, no_prev) = previous(tx, room, pdu)?;
    let case = Case::new(tx, room, pdu)?;
    if !case.missing.is_empty() || (!no_prev.is_empty() && said.is_none()) {
        let prev = if said.is_none() { no_prev } else { Vec::new() };
        return Ok(Outcome::Missing(Missing { prev, auth: case.missing }));
    }
    let by_auth = judge::refusal(case.by_auth_events()?)?;
    let before = state_before(tx, room, &prev, said)?;
    let case = Case::new(tx, room, pdu)?;
    let head = room::head(tx, room)?;
    let refused = match by_auth {
        Some(rule) => Some(Judged { why: Why::AuthEvents, rule }),
        None => match judge::refusal(case.by_state(before)?)? {
            Some(rule) => Some(Judged { why: Why::State, rule }),
            None => judge::refusal(case.by_state(head.state)?)?
                .map(|rule| Judged { why: Why::Now, rule }),
        },
    };
    let wanting = policy_server::wanting(tx, room, head.state, &case.version, pdu)?;
    let (mut signed, mut refused) = (None, refused);
    if let (None, Some(server)) = (&refused, wanting) {
        if !ask {
            return Ok(Outcome::Unsigned);
        }
        match policy_server::theirs(tx, &case.version, &server, pdu)? {
            Word::Signed(pdu) => signed = Some(pdu),
            Word::Refused(why) => refused = Some(not_recommended(&why)),
            Word::Awaited => return Err(Tx::patience()),
        }
    }
    let number = record::number(tx)?;
    let pdu = signed.as_deref().unwrap_or(pdu);
    let arrival = Arrival { room, pdu, event: known.unwrap_or(number), known: known.is_some() };
    match refused {
        Some(judged) => arrival.put_aside(tx, before, judged),
        None => arrival.admit(tx, head, before, &no_prev),
    }
}

/// Check 7 has failed (spec: "Validating Policy Server signatures").
fn not_recommended(why: &Error) -> Judged {
    let why = match why {
        Error::Refused(refusal) => refusal.message.as_str(),
        Error::Fault(_) => "a fault",
    };
    Judged { why: Why::Policy, rule: format!("not signed by the room's policy server: {why}") }
}

/// The events that it follows, as far as the state around them is known, and the others.
fn previous(tx: &Tx, room: Room, pdu: &Pdu) -> Reply<(Vec<Event>, Vec<ruma::OwnedEventId>)> {
    let (mut here, mut not) = (Vec::new(), Vec::new());
    for id in &pdu.prev_events {
        match event::find(tx, id)? {
            Some(event) => {
                let row = &event::load(tx, event)?.row;
                if row.room == room && event::is_founded(tx, row, event)? {
                    here.push(event);
                } else {
                    not.push(id.clone());
                }
            }
            None => not.push(id.clone()),
        }
    }
    Ok((here, not))
}

fn state_before(tx: &mut Tx, room: Room, prev: &[Event], said: Option<&[Event]>) -> Reply<Root> {
    let mut roots = Vec::with_capacity(prev.len() + 1);
    if let Some(said) = said {
        roots.push(states::of_events(tx, room, said)?);
    }
    for event in prev {
        roots.push(event::load(tx, *event)?.row.after);
    }
    states::resolved(tx, room, roots)
}

/// An event that is to be stored.
struct Arrival<'a> {
    room: Room,
    pdu: &'a Pdu,
    event: Event,
    /// It is here already, without its place.
    known: bool,
}

impl Arrival<'_> {
    fn standing(&self, sender: User, before: Root, after: Root) -> Standing<'_> {
        let (pdu, joined) = (self.pdu, 0);
        Standing { pdu, sender, before, after, joined, related: None, rejected: false }
    }

    fn state_after(&self, tx: &mut Tx, before: Root) -> Reply<Root> {
        match &self.pdu.state_key {
            Some(key) => state::set(tx, before, &self.pdu.kind, key, self.event),
            None => Ok(before),
        }
    }

    /// Keeps an event that is not shown. The state after a rejected one is the state before it; a soft-failed one counts for
    /// those that follow it.
    fn put_aside(&self, tx: &mut Tx, before: Root, judged: Judged) -> Reply<Outcome> {
        let sender = user::intern(tx, &self.pdu.sender)?;
        let rejected = judged.rejected();
        let after = if rejected { before } else { self.state_after(tx, before)? };
        let standing = Standing { rejected, ..self.standing(sender, before, after) };
        record::keep(tx, self.room, self.event, self.known, &standing)?;
        tx.put(&JUDGED, (self.event,), &judged);
        if let Some(partial) = tx.get(&PARTIAL, (self.room,))? {
            tx.put(&ASIDE, (self.room, self.event), &partial.join);
        }
        Ok(match rejected {
            true => Outcome::Rejected(self.event, judged.rule),
            false => Outcome::SoftFailed(self.event, judged.rule),
        })
    }

    /// Puts it into the room.
    fn admit(
        &self,
        tx: &mut Tx,
        mut head: Head,
        before: Root,
        missing: &[ruma::OwnedEventId],
    ) -> Reply<Outcome> {
        let (room, pdu, event) = (self.room, self.pdu, self.event);
        let sender = user::intern(tx, &pdu.sender)?;
        let after = self.state_after(tx, before)?;
        let content = pdu.content.get();
        let related = relate::read_theirs(tx, room, sender, &pdu.kind, content)?;
        // The row first: resolution reads it.
        let standing = self.standing(sender, before, after);
        record::keep(tx, room, event, self.known, &standing)?;
        let was = head.state;
        head.state = self.new_state(tx, &mut head, after)?;
        head.depth = head.depth.max(pdu.depth);
        let (target, others) = self.memberships(tx, &mut head, was, sender)?;
        if let Some(key) = &pdu.state_key {
            delayed_rows::overtake(tx, room, &pdu.kind, key, sender)?;
        }
        tx.put(&HEADS, (room,), &head);
        let standing = Standing { joined: head.joined, related: related.as_ref(), ..standing };
        record::keep(tx, room, event, true, &standing)?;
        let turn = Turn { before: was, after: head.state };
        let turned = was != before || head.state != after;
        if !missing.is_empty() {
            tx.leap();
        }
        record::show(tx, room, event, &standing, target, turned.then_some(turn))?;
        if turned {
            tx.announce(log::Entry::State { room, target: None });
        }
        for other in others {
            tx.announce(log::Entry::State { room, target: Some(other) });
        }
        self.close_gaps(tx, missing)?;
        pending::redact(tx, room, event, pdu)?;
        pending::settle(tx, room, event, pdu)?;
        Ok(Outcome::Accepted(event))
    }

    /// The ends of the graph with the event, and the state that they come to.
    fn new_state(&self, tx: &mut Tx, head: &mut Head, after: Root) -> Reply<Root> {
        let mut ends = Vec::with_capacity(head.extremities.len() + 1);
        for end in &head.extremities {
            let id = &event::load(tx, *end)?.id;
            if !self.pdu.prev_events.contains(id) {
                ends.push(*end);
            }
        }
        // Even if something here follows it: that may stand on a state that another server told without it.
        ends.push(self.event);
        head.extremities = ends;
        if let [_] = head.extremities.as_slice() {
            return Ok(after);
        }
        let mut roots = Vec::with_capacity(head.extremities.len());
        for end in &head.extremities {
            roots.push(event::load(tx, *end)?.row.after);
        }
        states::resolved(tx, self.room, roots)
    }

    /// Brings the membership rows up to the new state. Returns whose membership the event itself changed, and whose
    /// others changed with it.
    fn memberships(
        &self,
        tx: &mut Tx,
        head: &mut Head,
        was: Root,
        sender: User,
    ) -> Reply<(Option<User>, Vec<User>)> {
        let (pdu, event) = (self.pdu, self.event);
        let change = Change::read(pdu);
        let mut target = None;
        if let Some(change) = &change {
            let said = Said { event, sender, sender_id: &pdu.sender, content: pdu.content.get() };
            let key = change.target.as_str();
            target = Some(user::intern(tx, change.target)?);
            if state::get(tx, head.state, "m.room.member", key)? == Some(event) {
                member_rows::apply(tx, self.room, head, Shown::Of(was), change, &said)?;
            }
        }
        let now = head.state;
        let others = member_rows::follow(tx, self.room, head, (was, now), Some(event))?;
        Ok((target, others))
    }

    /// What it names and is not here is a gap, and where it was missing itself, there is none any more.
    fn close_gaps(&self, tx: &mut Tx, missing: &[ruma::OwnedEventId]) -> Reply<()> {
        let key = |id: &ruma::EventId| (self.room, id.as_str().to_owned());
        for id in missing {
            tx.put(&GAPS, key(id), &self.event);
        }
        if tx.has(&GAPS, key(&self.pdu.event_id))? {
            tx.delete(&GAPS, key(&self.pdu.event_id));
        }
        Ok(())
    }
}
