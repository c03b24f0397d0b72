//! The numbered rules (spec: Room Versions 10, 11 and 12, "Authorization rules").
//!
//! The texts are ours and say why an event is refused. Version 12 put a rule between 1 and 2, and
//! one into the rule on power levels, so that its numbers differ from those of versions 10 and 11.
//! Where the spec's source repeats or skips a number, its rendered number counts.

use std::fmt;

use ruma::room_version_rules::AuthorizationRules;

/// A rule by which an event is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number in the spec of the room's version, for example `5.3.2`.
    pub number: &'static str,
    /// What was wrong, for a person.
    pub text: &'static str,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (rule {})", self.text, self.number)
    }
}

/// A rule with its numbers: since version 12, and before.
#[derive(Debug)]
pub(super) struct Numbered(&'static str, &'static str, &'static str);

impl Numbered {
    pub(super) fn for_version(&self, rules: &AuthorizationRules) -> Rule {
        let number = if rules.room_create_event_id_as_room_id { self.0 } else { self.1 };
        Rule { number, text: self.2 }
    }
}

/// The outcome of a check: allowed so far, or the rule that refuses.
pub(super) type Check = Result<(), &'static Numbered>;

/// Refuses by this rule if the condition holds.
pub(super) fn refuse(condition: bool, rule: &'static Numbered) -> Check {
    if condition { Err(rule) } else { Ok(()) }
}

/// Declares rules: name, number since version 12, number before, text. A dash marks a rule that the
/// versions on that side do not have.
macro_rules! rules {
    ($($name:ident $new:literal $old:literal $text:literal)*) => {
        $(pub(super) static $name: Numbered = Numbered($new, $old, $text);)*
    };
}

rules! {
    UNKNOWN_VERSION "1.3" "1.3" "the room version is not recognised"
    CREATE_PREV "1.1" "1.1" "a create event has no previous events"
    CREATE_ROOM_ID "1.2" "-" "a create event has no room id"
    CREATE_DOMAIN "-" "1.2" "the room id is not of the sender's server"
    CREATE_VERSION "1.3" "1.3" "the room version is not recognised"
    CREATE_CREATOR "-" "1.4" "the create event names no creator"
    CREATE_ADDITIONAL "1.4" "-" "`additional_creators` is not a list of user ids"
    ROOM_IS_CREATE "2" "-" "the room id is not that of an accepted create event"
    AUTH_DUPLICATE "3.1" "2.1" "two auth events have the same type and state key"
    AUTH_UNEXPECTED "3.2" "2.2" "an auth event is not among those to select"
    AUTH_REJECTED "3.3" "2.3" "an auth event was rejected"
    AUTH_NO_CREATE "-" "2.4" "there is no create event among the auth events"
    AUTH_OTHER_ROOM "3.4" "2.5" "an auth event is in another room"
    NOT_FEDERATED "4" "3" "the room does not federate"
    ALIASES "-" "4" "aliases can be set for the sender's own server only"
    MEMBER_FORM "5.1" "4.1" "a membership event has a user as state key, and a membership"
    MEMBER_UNSIGNED "5.2.1" "4.2.1" "the authorising server did not sign"
    JOIN_OTHERS "5.3.2" "4.3.2" "users can join for themselves only"
    JOIN_BANNED "5.3.3" "4.3.3" "the user is banned from the room"
    JOIN_NO_INVITER "5.3.5.2" "4.3.5.2" "no user who may invite authorises the join"
    JOIN_RULE "5.3.7" "4.3.7" "the room's join rule does not let the user in without an invite"
    INVITE_3PID_BANNED "5.4.1.1" "4.4.1.1" "the user is banned from the room"
    INVITE_3PID_UNSIGNED "5.4.1.2" "4.4.1.2" "the third-party invite has no `signed`"
    INVITE_3PID_FORM "5.4.1.3" "4.4.1.3" "the third-party invite's `signed` lacks `mxid` or `token`"
    INVITE_3PID_USER "5.4.1.4" "4.4.1.4" "the third-party invite is for another user"
    INVITE_3PID_TOKEN "5.4.1.5" "4.4.1.5" "there is no third-party invite with this token"
    INVITE_3PID_SENDER "5.4.1.6" "4.4.1.6" "the third-party invite is from another user"
    INVITE_3PID_KEY "5.4.1.8" "4.4.1.8" "no key of the third-party invite signed it"
    INVITE_NOT_JOINED "5.4.2" "4.4.2" "the sender is not joined to the room"
    INVITE_PRESENT "5.4.3" "4.4.3" "the user is joined to the room or banned from it"
    INVITE_POWER "5.4.5" "4.4.5" "the sender's power level is too low to invite"
    LEAVE_ABSENT "5.5.1" "4.5.1" "the user is neither in the room, nor invited, nor knocking"
    KICK_NOT_JOINED "5.5.2" "4.5.2" "the sender is not joined to the room"
    UNBAN_POWER "5.5.3" "4.5.3" "the sender's power level is too low to unban"
    KICK_POWER "5.5.5" "4.5.5" "the sender's power level is too low to remove this user"
    BAN_NOT_JOINED "5.6.1" "4.6.1" "the sender is not joined to the room"
    BAN_POWER "5.6.3" "4.6.3" "the sender's power level is too low to ban this user"
    KNOCK_RULE "5.7.1" "4.7.1" "the room's join rule does not allow knocking"
    KNOCK_OTHERS "5.7.2" "4.7.2" "users can knock for themselves only"
    KNOCK_PRESENT "5.7.4" "4.7.4" "the user is in the room, invited, or banned"
    MEMBERSHIP_UNKNOWN "5.8" "4.8" "the membership is not known"
    SENDER_NOT_JOINED "6" "5" "the sender is not joined to the room"
    THIRD_PARTY_INVITE "7.1" "6.1" "the sender's power level is too low to invite"
    POWER "8" "7" "the sender's power level is too low for this type of event"
    OTHERS_STATE_KEY "9" "8" "the state key is another user's id"
    LEVELS_NUMBER "10.1" "9.1" "a power level is not an integer"
    LEVELS_MAP "10.2" "9.2" "`events` or `notifications` is not an object of integers"
    LEVELS_USERS "10.3" "9.3" "`users` is not an object of user ids to integers"
    LEVELS_CREATOR "10.4" "-" "creators are not listed among the `users`"
    LEVELS_FROM "10.6.1" "9.5.1" "the current value is above the sender's power level"
    LEVELS_TO "10.6.2" "9.5.2" "the new value is above the sender's power level"
    LEVELS_EVENT_FROM "10.7.1" "9.6.1" "the current value is above the sender's power level"
    LEVELS_EVENT_TO "10.8.1" "9.7.1" "the new value is above the sender's power level"
    LEVELS_USER_FROM "10.9.1" "9.8.1" "the other user's power level is not below the sender's"
    LEVELS_USER_TO "10.10.1" "9.9.1" "the new level is above the sender's power level"
    REDACTION "-" "11" "the sender may redact neither this event nor others' events"
}
