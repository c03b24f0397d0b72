//! Power levels (spec: Client-Server API, `m.room.power_levels`; Room Versions, "Authorization
//! rules").
//!
//! [`Levels`] is the decoded content of the event, [`PowerLevels`] that content with the room's
//! creators, which since version 12 stand above every number.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::IntErrorKind;
use std::sync::Arc;

use ruma::room_version_rules::AuthorizationRules;
use ruma::{Int, OwnedUserId, UserId};
use serde_json::value::RawValue;

/// How much a user may do: a number, or more than any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// A level, larger is more.
    Level(i64),
    /// A creator's power in version 12 and later.
    Infinite,
}

impl From<i64> for Power {
    fn from(level: i64) -> Self {
        Power::Level(level)
    }
}

impl PartialEq<i64> for Power {
    fn eq(&self, level: &i64) -> bool {
        *self == Power::Level(*level)
    }
}

impl PartialOrd<i64> for Power {
    fn partial_cmp(&self, level: &i64) -> Option<std::cmp::Ordering> {
        Some(self.cmp(&Power::Level(*level)))
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Power::Level(level) => level.fmt(f),
            Power::Infinite => f.write_str("infinite"),
        }
    }
}

/// The single numbers of the content, in the order of the spec's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `users_default`: users not listed; 0.
    UsersDefault,
    /// `events_default`: message events not listed; 0.
    EventsDefault,
    /// `state_default`: state events not listed; 50.
    StateDefault,
    /// `ban`; 50.
    Ban,
    /// `redact`: redacting others' events; 50.
    Redact,
    /// `kick`; 50.
    Kick,
    /// `invite`; 0.
    Invite,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 7] = [
        Field::UsersDefault,
        Field::EventsDefault,
        Field::StateDefault,
        Field::Ban,
        Field::Redact,
        Field::Kick,
        Field::Invite,
    ];

    /// Its key in the content.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Field::UsersDefault => "users_default",
            Field::EventsDefault => "events_default",
            Field::StateDefault => "state_default",
            Field::Ban => "ban",
            Field::Redact => "redact",
            Field::Kick => "kick",
            Field::Invite => "invite",
        }
    }

    /// Its value where the content, or the event, is missing.
    #[must_use]
    pub fn default_level(self) -> i64 {
        match self {
            Field::UsersDefault | Field::EventsDefault | Field::Invite => 0,
            Field::StateDefault | Field::Ban | Field::Redact | Field::Kick => 50,
        }
    }
}

/// Which part of a power levels content is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The content is not an object, or one of the single numbers is not an integer.
    Number,
    /// `events` or `notifications` is not an object of integers.
    Map,
    /// `users` is not an object of user ids to integers.
    Users,
}

/// The decoded content of an `m.room.power_levels` event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    numbers: [Option<i64>; 7],
    /// The level an event type needs.
    pub events: BTreeMap<String, i64>,
    /// The level a kind of notification needs.
    pub notifications: BTreeMap<String, i64>,
    /// The levels of users.
    pub users: BTreeMap<OwnedUserId, i64>,
}

impl Levels {
    /// Reads a content. Before version 10 numbers may be strings, before version 6 floats too, and what
    /// makes no sense among the single numbers and in `events` and `notifications` counts as absent.
    ///
    /// # Errors
    /// What the authorisation rules of the version call malformed.
    pub fn read(rules: &AuthorizationRules, content: &str) -> Result<Levels, Malformed> {
        let strict = rules.integer_power_levels;
        let parts: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(content).map_err(|_| Malformed::Number)?;
        let mut levels = Levels::default();
        for (field, slot) in Field::ALL.iter().zip(&mut levels.numbers) {
            let Some(value) = parts.get(field.key()) else { continue };
            *slot = number(strict, value);
            if strict && slot.is_none() {
                return Err(Malformed::Number);
            }
        }
        for (key, map) in
            [("events", &mut levels.events), ("notifications", &mut levels.notifications)]
        {
            let Some(value) = parts.get(key) else { continue };
            *map = match strict {
                true => entries(strict, value).ok_or(Malformed::Map)?,
                false => sensible_entries(value),
            };
        }
        if let Some(value) = parts.get("users") {
            levels.users = entries(strict, value).ok_or(Malformed::Users)?;
        }
        Ok(levels)
    }

    /// The value of a single number, if the content has it.
    #[must_use]
    pub fn explicit(&self, field: Field) -> Option<i64> {
        self.numbers.get(field as usize).copied().flatten()
    }

    /// The value of a single number, or its default.
    #[must_use]
    pub fn level(&self, field: Field) -> i64 {
        self.explicit(field).unwrap_or_else(|| field.default_level())
    }
}

/// A level. Where it need not be an integer, it may be a string of one, or a float, whose integer
/// part counts (spec: Room Version 1, "Deprecated event content schemas"; version 6 refuses floats
/// as JSON). What is beyond 64 bits counts as the largest that fits.
pub(crate) fn number(strict: bool, value: &RawValue) -> Option<i64> {
    if strict {
        return serde_json::from_str::<Int>(value.get()).ok().map(i64::from);
    }
    if let Ok(text) = serde_json::from_str::<String>(value.get()) {
        return integer(text.trim());
    }
    integer(value.get()).or_else(|| float(value.get()))
}

/// Digits with at most one sign.
fn integer(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(value) => Some(value),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Some(i64::MAX),
            IntErrorKind::NegOverflow => Some(i64::MIN),
            _ => None,
        },
    }
}

/// The integer part of a float.
fn float(text: &str) -> Option<i64> {
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    // A float's display has no exponent.
    integer(&format!("{:.0}", value.trunc()))
}

fn entries<K>(strict: bool, value: &RawValue) -> Option<BTreeMap<K, i64>>
where
    K: serde::de::DeserializeOwned + Ord,
{
    let parts: BTreeMap<K, &RawValue> = serde_json::from_str(value.get()).ok()?;
    parts.into_iter().map(|(key, value)| Some((key, number(strict, value)?))).collect()
}

/// The entries that are levels. That the others are none must not take these away.
fn sensible_entries(value: &RawValue) -> BTreeMap<String, i64> {
    let parts: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    parts.into_iter().filter_map(|(key, value)| Some((key, number(false, value)?))).collect()
}

/// The power levels in force in a room.
#[derive(Clone, Debug)]
pub struct PowerLevels {
    /// `None` if the room has no power levels event.
    levels: Option<Arc<Levels>>,
    creators: Vec<OwnedUserId>,
    creators_are_infinite: bool,
}

impl PowerLevels {
    /// The levels of this content, or those of a room without a power levels event.
    ///
    /// `creators` are the sender of the create event and, since version 12, its
    /// `additional_creators` (see [`creators`](crate::auth::creators)).
    ///
    /// # Errors
    /// Which part is malformed; an accepted event never is.
    pub fn from_content(
        rules: &AuthorizationRules,
        content: Option<&str>,
        creators: Vec<OwnedUserId>,
    ) -> Result<PowerLevels, Malformed> {
        let levels = content.map(|content| Levels::read(rules, content).map(Arc::new));
        Ok(PowerLevels::new(rules, levels.transpose()?, creators))
    }

    /// The same from a content that is already decoded.
    #[must_use]
    pub fn new(
        rules: &AuthorizationRules,
        levels: Option<Arc<Levels>>,
        creators: Vec<OwnedUserId>,
    ) -> PowerLevels {
        let creators_are_infinite = rules.explicitly_privilege_room_creators;
        PowerLevels { levels, creators, creators_are_infinite }
    }

    /// The decoded content, if the room has a power levels event.
    #[must_use]
    pub fn levels(&self) -> Option<&Arc<Levels>> {
        self.levels.as_ref()
    }

    /// Whether this user is one of the room's creators.
    #[must_use]
    pub fn is_creator(&self, user: &UserId) -> bool {
        self.creators.iter().any(|creator| creator == user)
    }

    /// The power of a user.
    #[must_use]
    pub fn user(&self, user: &UserId) -> Power {
        let creator = self.is_creator(user);
        match &self.levels {
            _ if creator && self.creators_are_infinite => Power::Infinite,
            Some(levels) => {
                let listed = levels.users.get(user).copied();
                Power::Level(listed.unwrap_or_else(|| levels.level(Field::UsersDefault)))
            }
            None if creator => Power::Level(100),
            None => Power::Level(0),
        }
    }

    /// The level needed to send an event of this type. For membership the rules ask
    /// [`invite`](Self::invite), [`kick`](Self::kick) and [`ban`](Self::ban) instead.
    #[must_use]
    pub fn event(&self, kind: &str, is_state: bool) -> i64 {
        let listed = self.levels.as_ref().and_then(|levels| levels.events.get(kind).copied());
        let default = if is_state { Field::StateDefault } else { Field::EventsDefault };
        listed.unwrap_or_else(|| self.level(default))
    }

    /// The level a single number asks for.
    #[must_use]
    pub fn level(&self, field: Field) -> i64 {
        self.levels.as_ref().map_or_else(|| field.default_level(), |levels| levels.level(field))
    }

    /// The level needed to ban.
    #[must_use]
    pub fn ban(&self) -> i64 {
        self.level(Field::Ban)
    }

    /// The level needed to kick.
    #[must_use]
    pub fn kick(&self) -> i64 {
        self.level(Field::Kick)
    }

    /// The level needed to invite.
    #[must_use]
    pub fn invite(&self) -> i64 {
        self.level(Field::Invite)
    }

    /// The level needed to redact others' events.
    #[must_use]
    pub fn redact(&self) -> i64 {
        self.level(Field::Redact)
    }

    /// The level needed for this kind of notification: 50 for `room` if unset, `None` for other
    /// kinds.
    #[must_use]
    pub fn notification(&self, key: &str) -> Option<i64> {
        let listed = self.levels.as_ref().and_then(|levels| levels.notifications.get(key).copied());
        listed.or_else(|| (key == "room").then_some(50))
    }

    /// The level needed to notify the whole room (`@room`).
    #[must_use]
    pub fn notifications_room(&self) -> i64 {
        self.notification("room").unwrap_or(50)
    }

    /// Whether a user may send an event of this type (membership aside).
    #[must_use]
    pub fn may_send(&self, user: &UserId, kind: &str, is_state: bool) -> bool {
        self.user(user) >= self.event(kind, is_state)
    }

    /// Whether a redaction takes effect (spec: Room Versions, "Handling redactions"): its sender
    /// has the redact level, or is of the same server as the sender of the redacted event.
    #[must_use]
    pub fn may_redact(&self, sender: &UserId, sender_of_target: &UserId) -> bool {
        self.user(sender) >= self.redact() || sender.server_name() == sender_of_target.server_name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruma::user_id;

    const V11: AuthorizationRules = AuthorizationRules::V11;
    const V12: AuthorizationRules = AuthorizationRules::V12;

    fn of(rules: &AuthorizationRules, content: Option<&str>) -> PowerLevels {
        let creators = vec![user_id!("@creator:a").to_owned()];
        PowerLevels::from_content(rules, content, creators).unwrap()
    }

    #[test]
    fn without_an_event_the_creator_has_100_and_later_infinite_power() {
        assert_eq!(of(&V11, None).user(user_id!("@creator:a")), Power::Level(100));
        assert_eq!(of(&V12, None).user(user_id!("@creator:a")), Power::Infinite);
        assert_eq!(of(&V12, None).user(user_id!("@other:a")), Power::Level(0));
        let levels = of(&V11, None);
        assert_eq!(
            (levels.ban(), levels.kick(), levels.redact(), levels.invite()),
            (50, 50, 50, 0)
        );
        assert_eq!((levels.event("m.x", true), levels.event("m.x", false)), (50, 0));
        assert_eq!(levels.notifications_room(), 50);
    }

    #[test]
    fn infinite_power_is_above_every_number() {
        assert!(Power::Infinite > i64::MAX);
        assert!(Power::Infinite > Power::Level(i64::MAX));
        assert!(Power::Infinite >= Power::Infinite);
        assert!(Power::Level(50) >= 50 && Power::Level(49) < 50);
    }

    #[test]
    fn listed_values_win_over_defaults() {
        let content = r#"{"users":{"@creator:a":7,"@bob:b":-3},"users_default":2,"events":{"m.x":9},
            "events_default":11,"state_default":12,"ban":13,"kick":14,"redact":15,"invite":16,
            "notifications":{"room":17,"other":18}}"#;
        let levels = of(&V11, Some(content));
        assert_eq!(levels.user(user_id!("@creator:a")), 7);
        assert_eq!(levels.user(user_id!("@bob:b")), -3);
        assert_eq!(levels.user(user_id!("@carol:c")), 2);
        assert_eq!((levels.event("m.x", true), levels.event("m.x", false)), (9, 9));
        assert_eq!((levels.event("m.y", true), levels.event("m.y", false)), (12, 11));
        assert_eq!((levels.ban(), levels.kick()), (13, 14));
        assert_eq!((levels.redact(), levels.invite()), (15, 16));
        assert_eq!(levels.notifications_room(), 17);
        assert_eq!((levels.notification("other"), levels.notification("x")), (Some(18), None));
        assert!(!levels.may_send(user_id!("@creator:a"), "m.z", false));
    }

    #[test]
    fn version_12_ignores_a_creators_listed_level() {
        let levels = of(&V12, Some(r#"{"users":{"@creator:a":7}}"#));
        assert_eq!(levels.user(user_id!("@creator:a")), Power::Infinite);
    }

    #[test]
    fn malformed_parts_are_told_apart() {
        let read = |content| Levels::read(&V11, content).unwrap_err();
        for content in [r#"{"ban":"50"}"#, r#"{"kick":1.5}"#, r#"{"invite":null}"#, "[]", "7"] {
            assert_eq!(read(content), Malformed::Number, "{content}");
        }
        for content in [r#"{"events":[]}"#, r#"{"events":{"a":"1"}}"#, r#"{"notifications":null}"#]
        {
            assert_eq!(read(content), Malformed::Map, "{content}");
        }
        for content in [r#"{"users":[]}"#, r#"{"users":{"bob":1}}"#, r#"{"users":{"@b:b":"1"}}"#] {
            assert_eq!(read(content), Malformed::Users, "{content}");
        }
    }

    #[test]
    fn before_version_10_numbers_may_be_strings() {
        let content = r#"{"ban":" 7 ","kick":{},"events":{"a":"8","b":"odd"},"notifications":[]}"#;
        let levels = Levels::read(&AuthorizationRules::V8, content).unwrap();
        assert_eq!((levels.level(Field::Ban), levels.explicit(Field::Kick)), (7, None));
        assert_eq!(levels.events, BTreeMap::from([("a".to_owned(), 8)]));
        assert!(levels.notifications.is_empty());
    }

    #[test]
    fn before_version_10_levels_have_any_form_that_the_spec_tells() {
        let read = |value: &str| {
            let content = format!(r#"{{"users":{{"@b:b":{value}}}}}"#);
            let levels = Levels::read(&AuthorizationRules::V1, &content).ok()?;
            levels.users.values().next().copied()
        };
        for (value, level) in [
            ("50", 50),
            (r#""100""#, 100),
            (r#""000100""#, 100),
            (r#""+100""#, 100),
            (r#"" -00100 ""#, -100),
            ("50.57", 50),
            ("-50.57", -50),
            ("-0.5", 0),
            ("5.114698E4", 51146),
            ("9007199254740993", 9_007_199_254_740_993),
            ("1e300", i64::MAX),
            ("-99999999999999999999", i64::MIN),
        ] {
            assert_eq!(read(value), Some(level), "{value}");
        }
        for value in [r#""""#, r#""5.5""#, r#""+-5""#, r#""5 5""#, "null", "true", "[]", r#""0x5""#]
        {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn redactions_need_the_level_or_the_same_server() {
        let levels = of(&V11, Some(r#"{"users":{"@mod:a":50}}"#));
        assert!(levels.may_redact(user_id!("@mod:a"), user_id!("@x:b")));
        assert!(levels.may_redact(user_id!("@y:b"), user_id!("@x:b")));
        assert!(!levels.may_redact(user_id!("@y:c"), user_id!("@x:b")));
    }
}
