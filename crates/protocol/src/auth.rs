//! Authorisation (spec: Room Versions, "Authorization rules"; Server-Server API, "Authorization
//! rules").
//!
//! Two questions about an event, each answered with the number that the rule which decides has in
//! the room's version: [`check_auth_events`] asks whether the events it names as its authority may be
//! that (once, on receipt), and [`authorize`] whether a state of the room allows it (as often as there
//! are states to ask). An event of our own is made from the state's own events, so for it only the second
//! question is open.
//!
//! Neither reads a database: a [`Lookup`] is filled with what [`select_auth_events`] names, and the
//! create event, before asking.

mod levels;
mod member;
mod rule;
mod select;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use ruma::room_version_rules::AuthorizationRules;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

pub use self::rule::Rule;
use self::rule::{Check, Decision, refuse};
pub use self::select::select_auth_events;
use crate::pdu::Pdu;
use crate::power::{Levels, Power, PowerLevels};

/// What the rules say about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed.
    Accept,
    /// It is not, by this rule.
    Reject(Rule),
    /// These events are needed to tell.
    Missing(Vec<OwnedEventId>),
}

impl Verdict {
    /// Whether the event is allowed.
    #[must_use]
    pub fn is_accept(&self) -> bool {
        *self == Verdict::Accept
    }

    /// The verdict as the answer to a client that wants to send the event.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` with the rule; a fault if events are missing, as a local event has all it
    /// names.
    pub fn into_reply(self) -> base::Reply<()> {
        match self {
            Verdict::Accept => Ok(()),
            Verdict::Reject(rule) => Err(base::Error::forbidden(rule.to_string())),
            Verdict::Missing(ids) => Err(base::Error::fault(format!("missing events: {ids:?}"))),
        }
    }
}

/// A state event as the rules need it: cheap to share, with its power levels decoded once.
#[derive(Debug)]
pub struct StateEvent {
    /// The id of the event.
    pub event_id: OwnedEventId,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// Its content, a JSON object.
    pub content: Box<RawValue>,
    levels: OnceLock<Arc<Levels>>,
}

impl StateEvent {
    /// A state event of these parts.
    #[must_use]
    pub fn new(event_id: OwnedEventId, sender: OwnedUserId, content: Box<RawValue>) -> StateEvent {
        StateEvent { event_id, sender, content, levels: OnceLock::new() }
    }

    /// Reads the client half of a stored event (see [`split`](crate::pdu::split)).
    ///
    /// # Errors
    /// A fault if the text is not that.
    pub fn from_client(client: &str) -> base::Reply<StateEvent> {
        #[derive(Deserialize)]
        struct Client {
            event_id: OwnedEventId,
            sender: OwnedUserId,
            content: Box<RawValue>,
        }
        let event: Client = serde_json::from_str(client)
            .map_err(|error| base::Error::fault(format!("stored event: {error}")))?;
        Ok(StateEvent::new(event.event_id, event.sender, event.content))
    }

    /// The content read as `T`, or `None` if it has another shape.
    #[must_use]
    pub fn content_as<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.content.get()).ok()
    }

    /// The content as power levels. An accepted event's content is well formed; of a malformed one
    /// nothing is kept, so that it grants nothing.
    #[must_use]
    pub fn levels(&self, rules: &AuthorizationRules) -> Arc<Levels> {
        let read = || Levels::read(rules, self.content.get()).unwrap_or_default();
        self.levels.get_or_init(|| Arc::new(read())).clone()
    }

    /// The value of `membership` in the content.
    #[must_use]
    pub fn membership(&self) -> Option<String> {
        string_field(&self.content, "membership")
    }
}

impl From<&Pdu> for StateEvent {
    fn from(pdu: &Pdu) -> Self {
        StateEvent::new(pdu.event_id.clone(), pdu.sender.clone(), pdu.content.clone())
    }
}

/// The state of a room, or as much of it as one event's rules ask for: the pairs that
/// [`select_auth_events`] names, and `m.room.create` always. Any other pair is never asked for.
///
/// Closures `Fn(kind, state_key)` are lookups.
pub trait Lookup {
    /// The state event with this type and state key, if the state has one.
    fn get(&self, kind: &str, state_key: &str) -> Option<Arc<StateEvent>>;
}

impl<F: Fn(&str, &str) -> Option<Arc<StateEvent>>> Lookup for F {
    fn get(&self, kind: &str, state_key: &str) -> Option<Arc<StateEvent>> {
        self(kind, state_key)
    }
}

/// Whether a state of the room allows this event.
///
/// The signatures of the event must have been verified. The rules on `auth_events` are
/// [`check_auth_events`]'.
#[must_use]
pub fn authorize(rules: &AuthorizationRules, lookup: &dyn Lookup, pdu: &Pdu) -> Verdict {
    match decide(rules, lookup, pdu) {
        Ok(_) => Verdict::Accept,
        Err(rule) => Verdict::Reject(rule),
    }
}

/// The rule that allows the event in this state, or the one that refuses it: [`authorize`] with the
/// reason of both answers.
///
/// # Errors
/// The rule that refuses it.
pub fn decide(rules: &AuthorizationRules, lookup: &dyn Lookup, pdu: &Pdu) -> Result<Rule, Rule> {
    let found = match pdu.kind.as_str() {
        "m.room.create" => create(rules, pdu),
        _ => against_state(rules, lookup, pdu),
    };
    found.map(|rule| rule.for_version(rules)).map_err(|rule| rule.for_version(rules))
}

/// What [`check_auth_events`] needs to know of an event that another one names.
#[derive(Clone, Debug)]
pub struct AuthEvent {
    /// The room it is in.
    pub room_id: OwnedRoomId,
    /// Its type.
    pub kind: String,
    /// Its state key, if it is a state event.
    pub state_key: Option<String>,
    /// Whether it was itself rejected on receipt.
    pub rejected: bool,
}

/// Whether the `auth_events` an event names may authorise it (rules 2 and 3 of version 12, rule 2
/// before).
///
/// `fetch` gives the events we have; those that it does not are answered as [`Verdict::Missing`].
#[must_use]
pub fn check_auth_events(
    version: &RoomVersionId,
    pdu: &Pdu,
    fetch: &dyn Fn(&EventId) -> Option<AuthEvent>,
) -> Verdict {
    let Some(rules) = crate::version::rules(version) else {
        return Verdict::Reject(rule::CREATE_VERSION.for_version(&AuthorizationRules::V12));
    };
    let rules = &rules.authorization;
    if pdu.kind == "m.room.create" {
        return Verdict::Accept;
    }
    let mut named: Vec<OwnedEventId> = pdu.auth_events.clone();
    if rules.room_create_event_id_as_room_id {
        match OwnedEventId::try_from(pdu.room_id.as_str().replacen('!', "$", 1)) {
            Ok(id) => named.push(id),
            Err(_) => return Verdict::Reject(rule::ROOM_IS_CREATE.for_version(rules)),
        }
    }
    let events: Vec<Option<AuthEvent>> = named.iter().map(|id| fetch(id)).collect();
    let missing: Vec<OwnedEventId> = named
        .into_iter()
        .zip(&events)
        .filter(|(_, event)| event.is_none())
        .map(|(id, _)| id)
        .collect();
    if !missing.is_empty() {
        return Verdict::Missing(missing);
    }
    let mut events: Vec<AuthEvent> = events.into_iter().flatten().collect();
    let create = rules.room_create_event_id_as_room_id.then(|| events.pop()).flatten();
    let found = create.map_or(Ok(()), |create| {
        refuse(create.kind != "m.room.create" || create.rejected, &rule::ROOM_IS_CREATE)
    });
    match found.and_then(|()| auth_events(version, rules, pdu, &events)) {
        Ok(()) => Verdict::Accept,
        Err(rule) => Verdict::Reject(rule.for_version(rules)),
    }
}

fn auth_events(
    version: &RoomVersionId,
    rules: &AuthorizationRules,
    pdu: &Pdu,
    events: &[AuthEvent],
) -> Check {
    let state_key = pdu.state_key.as_deref();
    let expected = select_auth_events(version, &pdu.kind, &pdu.sender, state_key, &pdu.content);
    let mut seen: Vec<(&str, Option<&str>)> = Vec::with_capacity(events.len());
    for event in events {
        let pair = (event.kind.as_str(), event.state_key.as_deref());
        refuse(seen.contains(&pair), &rule::AUTH_DUPLICATE)?;
        seen.push(pair);
        let chosen = expected.iter().any(|(kind, key)| (*kind, Some(key.as_str())) == pair);
        refuse(!chosen, &rule::AUTH_UNEXPECTED)?;
        refuse(event.rejected, &rule::AUTH_REJECTED)?;
    }
    let has_create = seen.contains(&("m.room.create", Some("")));
    refuse(!has_create && !rules.room_create_event_id_as_room_id, &rule::AUTH_NO_CREATE)?;
    // MSC4307, which holds for all versions.
    refuse(events.iter().any(|event| event.room_id != pdu.room_id), &rule::AUTH_OTHER_ROOM)
}

/// Rule 1.
fn create(rules: &AuthorizationRules, pdu: &Pdu) -> Decision {
    refuse(!pdu.prev_events.is_empty(), &rule::CREATE_PREV)?;
    if rules.room_create_event_id_as_room_id {
        refuse(pdu.extra.contains_key("room_id"), &rule::CREATE_ROOM_ID)?;
    } else {
        let same = pdu.room_id.server_name() == Some(pdu.sender.server_name());
        refuse(!same, &rule::CREATE_DOMAIN)?;
    }
    let content: BTreeMap<String, Value> = pdu.content_as().unwrap_or_default();
    let version = content.get("room_version");
    let known = version.is_none_or(|value| {
        value
            .as_str()
            .is_some_and(|text| RoomVersionId::try_from(text).is_ok_and(|id| id.rules().is_some()))
    });
    refuse(!known, &rule::CREATE_VERSION)?;
    let anonymous = !rules.use_room_create_sender && !content.contains_key("creator");
    refuse(anonymous, &rule::CREATE_CREATOR)?;
    let additional = content.get("additional_creators").filter(|_| rules.additional_room_creators);
    let valid = additional
        .is_none_or(|value| serde_json::from_value::<Vec<OwnedUserId>>(value.clone()).is_ok());
    refuse(!valid, &rule::CREATE_ADDITIONAL)?;
    Ok(&rule::CREATE)
}

/// The rules behind those on `auth_events`.
fn against_state(rules: &AuthorizationRules, lookup: &dyn Lookup, pdu: &Pdu) -> Decision {
    let Some(create) = lookup.get("m.room.create", "") else {
        let absent = rules.room_create_event_id_as_room_id;
        return Err(if absent { &rule::ROOM_IS_CREATE } else { &rule::AUTH_NO_CREATE });
    };
    let foreign = create.sender.server_name() != pdu.sender.server_name();
    refuse(foreign && !federates(&create), &rule::NOT_FEDERATED)?;
    if rules.special_case_room_aliases && pdu.kind == "m.room.aliases" {
        let Some(server) = &pdu.state_key else { return Err(&rule::ALIASES_FORM) };
        refuse(server != pdu.sender.server_name().as_str(), &rule::ALIASES_DOMAIN)?;
        return Ok(&rule::ALIASES);
    }
    let room = Room { rules, lookup, pdu, create };
    if pdu.kind == "m.room.member" {
        return member::check(&room);
    }
    refuse(room.membership(pdu.sender.as_str()) != "join", &rule::SENDER_NOT_JOINED)?;
    let power = room.power();
    let sender = power.user(&pdu.sender);
    if pdu.kind == "m.room.third_party_invite" {
        refuse(sender < power.invite(), &rule::THIRD_PARTY_INVITE)?;
        return Ok(&rule::THIRD_PARTY_INVITE);
    }
    refuse(sender < power.event(&pdu.kind, pdu.is_state()), &rule::POWER)?;
    let others = |key: &str| key.starts_with('@') && key != pdu.sender.as_str();
    refuse(pdu.state_key.as_deref().is_some_and(others), &rule::OTHERS_STATE_KEY)?;
    match pdu.kind.as_str() {
        "m.room.power_levels" => levels::check(&room, &power),
        "m.room.redaction" if rules.special_case_room_redaction => redaction(pdu, sender, &power),
        _ => Ok(&rule::OTHERWISE),
    }
}

/// Rule 11 of versions 1 and 2.
fn redaction(pdu: &Pdu, sender: Power, power: &PowerLevels) -> Decision {
    if sender >= power.redact() {
        return Ok(&rule::REDACTION_POWER);
    }
    let theirs = pdu.redacts.as_ref().map(|id| id.server_name());
    refuse(theirs != Some(pdu.event_id.server_name()), &rule::REDACTION)?;
    Ok(&rule::REDACTION_DOMAIN)
}

/// An event, and the state that is asked about it.
struct Room<'a> {
    rules: &'a AuthorizationRules,
    lookup: &'a dyn Lookup,
    pdu: &'a Pdu,
    create: Arc<StateEvent>,
}

impl Room<'_> {
    /// The membership of a user; without an event, they have left.
    fn membership(&self, user: &str) -> String {
        let event = self.lookup.get("m.room.member", user);
        event.and_then(|event| event.membership()).unwrap_or_else(|| "leave".to_owned())
    }

    fn power(&self) -> PowerLevels {
        let levels = self.lookup.get("m.room.power_levels", "");
        let levels = levels.map(|event| event.levels(self.rules));
        PowerLevels::new(self.rules, levels, creators(self.rules, &self.create))
    }
}

/// The creators of a room: the sender of its create event and, since version 12,
/// `additional_creators`; before version 11 the `creator` in its content.
#[must_use]
pub fn creators(rules: &AuthorizationRules, create: &StateEvent) -> Vec<OwnedUserId> {
    #[derive(Deserialize)]
    struct Additional {
        #[serde(default)]
        additional_creators: Vec<OwnedUserId>,
    }
    if !rules.use_room_create_sender {
        let creator = string_field(&create.content, "creator");
        return creator.and_then(|id| OwnedUserId::try_from(id).ok()).into_iter().collect();
    }
    let mut creators = vec![create.sender.clone()];
    if rules.additional_room_creators
        && let Some(more) = create.content_as::<Additional>()
    {
        creators.extend(more.additional_creators);
    }
    creators
}

/// Whether servers other than the creator's may take part (`m.federate`).
#[must_use]
pub fn federates(create: &StateEvent) -> bool {
    #[derive(Deserialize)]
    struct Federate {
        #[serde(rename = "m.federate", default)]
        federate: Value,
    }
    create.content_as::<Federate>().is_none_or(|content| content.federate != Value::Bool(false))
}

/// A string in a content, if it is there and a string.
fn string_field(content: &RawValue, key: &str) -> Option<String> {
    let parts: BTreeMap<std::borrow::Cow<'_, str>, &RawValue> =
        serde_json::from_str(content.get()).ok()?;
    serde_json::from_str(parts.get(key)?.get()).ok()
}
