//! Why an event is in its room, or why it should not be: every verdict made again from what is stored.
//!
//! The checks are those on receipt of an event (spec: Server-Server API, "Checks performed on receipt of a PDU", 4 to 6).

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use base::{Error, Event, Reply, Seq, UnixMs};
use protocol::{
    Pdu, Rule, Verdict,
    auth::{AuthEvent, Lookup, StateEvent, check_auth_events, decide, select_auth_events},
};
use ruma::{EventId, OwnedEventId, OwnedUserId, RoomVersionId};
use store::{
    View, event, room,
    schema::{AUTHORITIES, RoomInfo},
    state::{self, Root},
};

use crate::{
    authority,
    ground::{self, Ground},
};

/// An event, and what the rules say of it.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The event's id.
    pub id: OwnedEventId,
    /// Its type.
    pub kind: String,
    /// Its state key, if it is a state event.
    pub state_key: Option<String>,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// The room's id.
    pub room: String,
    /// The room's version.
    pub version: RoomVersionId,
    /// Its depth, as its server claims.
    pub depth: u64,
    /// When its server says that it was sent.
    pub sent_at: UnixMs,
    /// Its place in the log, if it has one.
    pub order: Option<Seq>,
    /// The redaction that took its content: what is judged is what is left of it.
    pub redacted_by: Option<OwnedEventId>,
    /// It was marked as rejected when it came in.
    pub marked_rejected: bool,
    /// The checks, in the order of the spec.
    pub checks: Vec<Check>,
}

/// One check of an event.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was asked.
    pub question: Question,
    /// The answer.
    pub verdict: Verdict,
    /// The rule that allows it, where one does. (Of the rules on auth events none allows; they refuse or say nothing.)
    pub allowed_by: Option<Rule>,
    /// The state events that it was judged by, as far as they are there.
    pub state: Vec<Witness>,
    /// The sender's power level in that state, as text.
    pub power: Option<String>,
}

/// What a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// May its auth events authorise it?
    AuthEvents,
    /// Do its auth events allow it?
    ByAuthEvents,
    /// Does the state before it allow it?
    StateBefore,
    /// Does the room's state now allow it? (If not, it would be soft-failed if it came now.)
    StateNow,
}

/// A state event that the rules look at.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Its type.
    pub kind: String,
    /// Its state key.
    pub state_key: String,
    /// Its id and sender; `None`: the state has no such event.
    pub event: Option<(OwnedEventId, OwnedUserId)>,
    /// The membership or join rule that it sets.
    pub says: Option<String>,
}

impl Explanation {
    /// The verdict by which the event stands or falls: that of the first check on receipt that does not accept it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let decides = |check: &&Check| check.question != Question::StateNow;
        let mut verdicts = self.checks.iter().filter(decides).map(|check| &check.verdict);
        verdicts.find(|verdict| !verdict.is_accept()).cloned().unwrap_or(Verdict::Accept)
    }
}

/// Judges a stored event again.
///
/// # Errors
/// 404 `M_NOT_FOUND` if it is not here.
pub fn explain(view: &View, id: &EventId) -> Reply<Explanation> {
    let not_here = || Error::not_found("there is no such event here");
    let stored = event::load_id(view, id)?.ok_or_else(not_here)?;
    let info = room::info(view, stored.row.room)?;
    let version = ground::version(&info)?;
    let pdu = authority::pdu(view, stored.event)?;
    let case = Case { view, info: &info, version: &version, pdu: &pdu };
    let now = room::head(view, stored.row.room)?.state;
    let redacted_by = stored.row.redacted_by.map(|event| ground::event_id(view, event));
    let authority = view.get(&AUTHORITIES, (stored.event,))?;
    Ok(Explanation {
        order: event::order(view, stored.event)?,
        redacted_by: redacted_by.transpose()?,
        marked_rejected: authority.is_some_and(|authority| authority.rejected),
        checks: vec![
            case.auth_events()?,
            case.by_auth_events()?,
            case.by_state(Question::StateBefore, stored.row.before)?,
            case.by_state(Question::StateNow, now)?,
        ],
        id: pdu.event_id,
        kind: pdu.kind,
        state_key: pdu.state_key,
        sender: pdu.sender,
        room: info.id.clone(),
        depth: pdu.depth,
        sent_at: stored.row.sent_at,
        version,
    })
}

/// An event that is judged.
struct Case<'a> {
    view: &'a View,
    info: &'a RoomInfo,
    version: &'a RoomVersionId,
    pdu: &'a Pdu,
}

impl Case<'_> {
    fn auth_events(&self) -> Reply<Check> {
        let fault = RefCell::new(None);
        let fetch = |id: &EventId| {
            self.auth_event(id).unwrap_or_else(|error| {
                fault.replace(Some(error));
                None
            })
        };
        let verdict = check_auth_events(self.version, self.pdu, &fetch);
        fault.into_inner().map_or(Ok(()), Err)?;
        let (question, state) = (Question::AuthEvents, Vec::new());
        Ok(Check { question, verdict, allowed_by: None, state, power: None })
    }

    fn auth_event(&self, id: &EventId) -> Reply<Option<AuthEvent>> {
        let Some(stored) = event::load_id(self.view, id)? else { return Ok(None) };
        let authority = self.view.get(&AUTHORITIES, (stored.event,))?;
        Ok(Some(AuthEvent {
            room_id: room::id(self.view, stored.row.room)?,
            kind: stored.row.kind.clone(),
            state_key: stored.row.state_key.clone(),
            rejected: authority.is_some_and(|authority| authority.rejected),
        }))
    }

    /// The events that it names, and since version 12 the create event, taken as a state.
    fn by_auth_events(&self) -> Reply<Check> {
        let mut named: BTreeMap<(String, String), Arc<StateEvent>> = BTreeMap::new();
        let mut add = |event: Event| -> Reply<()> {
            let stored = event::load(self.view, event)?;
            if let Some(key) = &stored.row.state_key {
                let place = (stored.row.kind.clone(), key.clone());
                named.insert(place, ground::state_event(self.view, event)?);
            }
            Ok(())
        };
        if protocol::version::room_id_is_create_id(self.version) {
            add(self.info.create)?;
        }
        for id in &self.pdu.auth_events {
            if let Some(event) = event::find(self.view, id)? {
                add(event)?;
            }
        }
        let lookup = |kind: &str, key: &str| named.get(&(kind.to_owned(), key.to_owned())).cloned();
        self.judged(Question::ByAuthEvents, &lookup)
    }

    fn by_state(&self, question: Question, root: Root) -> Reply<Check> {
        let state = Ground::new(self.view, root);
        let mut check = self.judged(question, &state)?;
        state.settle()?;
        if state::len(self.view, root)? > 0 {
            let power = ground::power(self.view, self.info, root)?;
            check.power = Some(power.user(&self.pdu.sender).to_string());
        }
        Ok(check)
    }

    /// What the rules say of the event in a state.
    fn judged(&self, question: Question, state: &dyn Lookup) -> Reply<Check> {
        let (verdict, allowed_by) = match decide(ground::rules(self.version)?, state, self.pdu) {
            Ok(rule) => (Verdict::Accept, Some(rule)),
            Err(rule) => (Verdict::Reject(rule), None),
        };
        Ok(Check { question, verdict, allowed_by, state: self.witnesses(state), power: None })
    }

    /// The events of a state that the rules look at.
    fn witnesses(&self, state: &dyn Lookup) -> Vec<Witness> {
        let pdu = self.pdu;
        let key = pdu.state_key.as_deref();
        let mut pairs = select_auth_events(self.version, &pdu.kind, &pdu.sender, key, &pdu.content);
        if pdu.kind != "m.room.create" && !pairs.iter().any(|(kind, _)| *kind == "m.room.create") {
            pairs.insert(0, ("m.room.create", String::new()));
        }
        let witness = |(kind, state_key): (&str, String)| {
            let event = state.get(kind, &state_key);
            let says = event.as_ref().and_then(|event| match kind {
                "m.room.member" => event.membership(),
                "m.room.join_rules" => join_rule(event),
                _ => None,
            });
            let event = event.map(|event| (event.event_id.clone(), event.sender.clone()));
            Witness { kind: kind.to_owned(), state_key, event, says }
        };
        pairs.into_iter().map(witness).collect()
    }
}

fn join_rule(event: &StateEvent) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Content {
        join_rule: String,
    }
    event.content_as::<Content>().map(|content| content.join_rule)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::schema::{HEADS, Head};

    use super::*;
    use crate::testing::World;

    fn explained(world: &World, id: &OwnedEventId) -> Explanation {
        world.read(|view| explain(view, id)).unwrap()
    }

    fn verdicts(explanation: &Explanation) -> Vec<String> {
        let told = |check: &Check| match &check.verdict {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Reject(rule) => rule.number.to_owned(),
            Verdict::Missing(ids) => format!("missing {ids:?}"),
        };
        explanation.checks.iter().map(told).collect()
    }

    #[test]
    fn an_accepted_event_shows_what_allowed_it() {
        let world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let room = world.public(alice);
        world.join(bob, &room).unwrap();
        let message = world.say(bob, &room, "hello");
        let explanation = explained(&world, &message);
        assert_eq!(explanation.verdict(), Verdict::Accept);
        assert_eq!(verdicts(&explanation), ["accept"; 4]);
        let allowed = explanation.checks.iter().map(|check| check.allowed_by.map(|r| r.number));
        assert_eq!(allowed.collect::<Vec<_>>(), [None, Some("11"), Some("11"), Some("11")]);
        let before = &explanation.checks[2];
        assert_eq!(before.power.as_deref(), Some("0"));
        let said: Vec<_> =
            before.state.iter().map(|w| (w.kind.as_str(), w.says.as_deref())).collect();
        let member = ("m.room.member", Some("join"));
        assert_eq!(said, [("m.room.create", None), ("m.room.power_levels", None), member]);
        assert!(before.state.iter().all(|witness| witness.event.is_some()));
    }

    #[test]
    fn what_the_room_would_not_take_today_is_told_by_its_rule() {
        let world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let room = world.public(alice);
        world.join(bob, &room).unwrap();
        let message = world.say(bob, &room, "hello");
        world.ban(alice, &room, bob).unwrap();
        let explanation = explained(&world, &message);
        // It was right when it was sent.
        assert_eq!(explanation.verdict(), Verdict::Accept);
        assert_eq!(verdicts(&explanation), ["accept", "accept", "accept", "6"]);
        assert_eq!(explanation.checks[3].state[2].says.as_deref(), Some("ban"));
    }

    #[test]
    fn an_event_that_the_state_before_it_forbids_is_rejected_by_the_rules_number() {
        let world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let room = world.public(alice);
        world.join(bob, &room).unwrap();
        let number = world.room(&room);
        let before: Head = world.read(|view| room::head(view, number)).unwrap();
        let topic = json!({ "topic": "mine" });
        let topic = world.set(alice, &room, "m.room.topic", "", topic).unwrap();
        // As if another server had sent it in Bob's name.
        let (event, row) = (world.number(&topic), world.event(&topic).row.clone());
        world
            .write(move |tx| {
                let mut row = store::schema::EventRow { sender: bob, ..row.clone() };
                let whole = tx.get(&store::schema::EVENTS, (event,))?.unwrap();
                (row.client, row.rest) = (whole.client, whole.rest);
                tx.put(&store::schema::EVENTS, (event,), &row);
                tx.put(&HEADS, (number,), &before);
                Ok(())
            })
            .unwrap();
        let explanation = explained(&world, &topic);
        assert_eq!(verdicts(&explanation)[2], "8");
        assert!(matches!(explanation.verdict(), Verdict::Reject(_)));
    }

    #[test]
    fn create_and_redacted_events_and_unknown_ones_are_explained_too() {
        let world = World::new();
        let alice = world.user("alice");
        let room = world.public(alice);
        let message = world.say(alice, &room, "hello");
        let redaction = world.redact(alice, &room, &message).unwrap();
        let explanation = explained(&world, &message);
        assert_eq!(explanation.redacted_by, Some(redaction));
        assert_eq!(verdicts(&explanation), ["accept"; 4]);
        let create = world.timeline(&room)[0].id.clone();
        let explanation = explained(&world, &create);
        assert_eq!(explanation.verdict(), Verdict::Accept);
        assert_eq!(explanation.checks[2].power, None);
        let unknown = EventId::parse("$nothing").unwrap();
        assert_eq!(world.read(|view| explain(view, &unknown)).unwrap_err(), (404, "M_NOT_FOUND"));
    }
}
