//! The numbered rules (spec: Room Versions, "Authorization rules" of each version).
//!
//! The texts are ours and say why an event is refused or allowed. Versions put rules in and take them
//! out, so that a rule has not the same number in all of them. Where the spec's source repeats or
//! skips a number, its rendered number counts.

use std::fmt;

use ruma::room_version_rules::AuthorizationRules;

/// A rule that decides about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number in the spec of the room's version, for example `5.3.2`.
    pub number: &'static str,
    /// What was wrong, or why it is right, for a person.
    pub text: &'static str,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (rule {})", self.text, self.number)
    }
}

/// A rule with its number in each set of rules, in the order of [`column`], and its text.
#[derive(Debug)]
pub(super) struct Numbered(&'static str, &'static str);

impl Numbered {
    /// The rule by the number it has in these rules; `-` if they do not have it.
    pub(super) fn for_version(&self, rules: &AuthorizationRules) -> Rule {
        let number = self.0.split_ascii_whitespace().nth(column(rules)).unwrap_or("-");
        Rule { number, text: self.1 }
    }
}

/// Which of the eight different sets of rules these are: those of versions 1 and 2, 3 to 5, 6, 7, 8
/// and 9, 10, 11, or 12.
fn column(rules: &AuthorizationRules) -> usize {
    let changes = [
        !rules.special_case_room_redaction,
        !rules.special_case_room_aliases,
        rules.knocking,
        rules.restricted_join_rule,
        rules.integer_power_levels,
        rules.use_room_create_sender,
        rules.room_create_event_id_as_room_id,
    ];
    changes.into_iter().filter(|changed| *changed).count()
}

/// What a rule says: go on with the next one, or refused by this one.
pub(super) type Check = Result<(), &'static Numbered>;

/// What all rules say: allowed by this one, or refused by this one.
pub(super) type Decision = Result<&'static Numbered, &'static Numbered>;

/// Refuses by this rule if the condition holds.
pub(super) fn refuse(condition: bool, rule: &'static Numbered) -> Check {
    if condition { Err(rule) } else { Ok(()) }
}

/// Declares rules: name, numbers, text. A dash marks versions that do not have the rule.
macro_rules! rules {
    ($($name:ident $numbers:literal $text:literal)*) => {
        $(pub(super) static $name: Numbered = Numbered($numbers, $text);)*
        /// All rules, in the order of the spec, with their names here.
        #[cfg(test)]
        pub(super) static ALL: &[(&str, &Numbered)] = &[$((stringify!($name), &$name)),*];
    };
}

rules! {
    // versions            1, 2    3 to 5  6       7       8, 9    10      11      12
    CREATE_PREV          "1.1     1.1     1.1     1.1     1.1     1.1     1.1     1.1"
        "a create event has no previous events"
    CREATE_ROOM_ID       "-       -       -       -       -       -       -       1.2"
        "a create event has no room id"
    CREATE_DOMAIN        "1.2     1.2     1.2     1.2     1.2     1.2     1.2     -"
        "the room id is not of the sender's server"
    CREATE_VERSION       "1.3     1.3     1.3     1.3     1.3     1.3     1.3     1.3"
        "the room version is not recognised"
    CREATE_CREATOR       "1.4     1.4     1.4     1.4     1.4     1.4     -       -"
        "the create event names no creator"
    CREATE_ADDITIONAL    "-       -       -       -       -       -       -       1.4"
        "`additional_creators` is not a list of user ids"
    CREATE               "1.5     1.5     1.5     1.5     1.5     1.5     1.4     1.5"
        "a create event may begin a room"
    ROOM_IS_CREATE       "-       -       -       -       -       -       -       2"
        "the room id is not that of an accepted create event"
    AUTH_DUPLICATE       "2.1     2.1     2.1     2.1     2.1     2.1     2.1     3.1"
        "two auth events have the same type and state key"
    AUTH_UNEXPECTED      "2.2     2.2     2.2     2.2     2.2     2.2     2.2     3.2"
        "an auth event is not among those to select"
    AUTH_REJECTED        "2.3     2.3     2.3     2.3     2.3     2.3     2.3     3.3"
        "an auth event was rejected"
    AUTH_NO_CREATE       "2.4     2.4     2.4     2.4     2.4     2.4     2.4     -"
        "there is no create event among the auth events"
    AUTH_OTHER_ROOM      "2.5     2.5     2.5     2.5     2.5     2.5     2.5     3.4"
        "an auth event is in another room"
    NOT_FEDERATED        "3       3       3       3       3       3       3       4"
        "the room does not federate"
    ALIASES_FORM         "4.1     4.1     -       -       -       -       -       -"
        "aliases are state of a server"
    ALIASES_DOMAIN       "4.2     4.2     -       -       -       -       -       -"
        "aliases can be set for the sender's own server only"
    ALIASES              "4.3     4.3     -       -       -       -       -       -"
        "aliases of the sender's server may be set"
    MEMBER_FORM          "5.1     5.1     4.1     4.1     4.1     4.1     4.1     5.1"
        "a membership event has a user as state key, and a membership"
    MEMBER_UNSIGNED      "-       -       -       -       4.2.1   4.2.1   4.2.1   5.2.1"
        "the authorising server did not sign"
    JOIN_CREATOR         "5.2.1   5.2.1   4.2.1   4.2.1   4.3.1   4.3.1   4.3.1   5.3.1"
        "the creator joins right after the create event"
    JOIN_OTHERS          "5.2.2   5.2.2   4.2.2   4.2.2   4.3.2   4.3.2   4.3.2   5.3.2"
        "users can join for themselves only"
    JOIN_BANNED          "5.2.3   5.2.3   4.2.3   4.2.3   4.3.3   4.3.3   4.3.3   5.3.3"
        "the user is banned from the room"
    JOIN_INVITED         "5.2.4   5.2.4   4.2.4   4.2.4   4.3.4   4.3.4   4.3.4   5.3.4"
        "the user is invited"
    JOIN_RESTRICTED      "-       -       -       -       4.3.5.1 4.3.5.1 4.3.5.1 5.3.5.1"
        "the user is invited"
    JOIN_NO_INVITER      "-       -       -       -       4.3.5.2 4.3.5.2 4.3.5.2 5.3.5.2"
        "no user who may invite authorises the join"
    JOIN_AUTHORISED      "-       -       -       -       4.3.5.3 4.3.5.3 4.3.5.3 5.3.5.3"
        "a user who may invite authorises the join"
    JOIN_PUBLIC          "5.2.5   5.2.5   4.2.5   4.2.5   4.3.6   4.3.6   4.3.6   5.3.6"
        "the room is public"
    JOIN_RULE            "5.2.6   5.2.6   4.2.6   4.2.6   4.3.7   4.3.7   4.3.7   5.3.7"
        "the room's join rule does not let the user in without an invite"
    INVITE_3PID_BANNED   "5.3.1.1 5.3.1.1 4.3.1.1 4.3.1.1 4.4.1.1 4.4.1.1 4.4.1.1 5.4.1.1"
        "the user is banned from the room"
    INVITE_3PID_UNSIGNED "5.3.1.2 5.3.1.2 4.3.1.2 4.3.1.2 4.4.1.2 4.4.1.2 4.4.1.2 5.4.1.2"
        "the third-party invite has no `signed`"
    INVITE_3PID_FORM     "5.3.1.3 5.3.1.3 4.3.1.3 4.3.1.3 4.4.1.3 4.4.1.3 4.4.1.3 5.4.1.3"
        "the third-party invite's `signed` lacks `mxid` or `token`"
    INVITE_3PID_USER     "5.3.1.4 5.3.1.4 4.3.1.4 4.3.1.4 4.4.1.4 4.4.1.4 4.4.1.4 5.4.1.4"
        "the third-party invite is for another user"
    INVITE_3PID_TOKEN    "5.3.1.5 5.3.1.5 4.3.1.5 4.3.1.5 4.4.1.5 4.4.1.5 4.4.1.5 5.4.1.5"
        "there is no third-party invite with this token"
    INVITE_3PID_SENDER   "5.3.1.6 5.3.1.6 4.3.1.6 4.3.1.6 4.4.1.6 4.4.1.6 4.4.1.6 5.4.1.6"
        "the third-party invite is from another user"
    INVITE_3PID          "5.3.1.7 5.3.1.7 4.3.1.7 4.3.1.7 4.4.1.7 4.4.1.7 4.4.1.7 5.4.1.7"
        "a key of the third-party invite signed it"
    INVITE_3PID_KEY      "5.3.1.8 5.3.1.8 4.3.1.8 4.3.1.8 4.4.1.8 4.4.1.8 4.4.1.8 5.4.1.8"
        "no key of the third-party invite signed it"
    INVITE_NOT_JOINED    "5.3.2   5.3.2   4.3.2   4.3.2   4.4.2   4.4.2   4.4.2   5.4.2"
        "the sender is not joined to the room"
    INVITE_PRESENT       "5.3.3   5.3.3   4.3.3   4.3.3   4.4.3   4.4.3   4.4.3   5.4.3"
        "the user is joined to the room or banned from it"
    INVITE               "5.3.4   5.3.4   4.3.4   4.3.4   4.4.4   4.4.4   4.4.4   5.4.4"
        "the sender may invite"
    INVITE_POWER         "5.3.5   5.3.5   4.3.5   4.3.5   4.4.5   4.4.5   4.4.5   5.4.5"
        "the sender's power level is too low to invite"
    LEAVE                "5.4.1   5.4.1   4.4.1   4.4.1   4.5.1   4.5.1   4.5.1   5.5.1"
        "who leaves must be in the room, invited or knocking"
    KICK_NOT_JOINED      "5.4.2   5.4.2   4.4.2   4.4.2   4.5.2   4.5.2   4.5.2   5.5.2"
        "the sender is not joined to the room"
    UNBAN_POWER          "5.4.3   5.4.3   4.4.3   4.4.3   4.5.3   4.5.3   4.5.3   5.5.3"
        "the sender's power level is too low to unban"
    KICK                 "5.4.4   5.4.4   4.4.4   4.4.4   4.5.4   4.5.4   4.5.4   5.5.4"
        "the sender may remove this user"
    KICK_POWER           "5.4.5   5.4.5   4.4.5   4.4.5   4.5.5   4.5.5   4.5.5   5.5.5"
        "the sender's power level is too low to remove this user"
    BAN_NOT_JOINED       "5.5.1   5.5.1   4.5.1   4.5.1   4.6.1   4.6.1   4.6.1   5.6.1"
        "the sender is not joined to the room"
    BAN                  "5.5.2   5.5.2   4.5.2   4.5.2   4.6.2   4.6.2   4.6.2   5.6.2"
        "the sender may ban this user"
    BAN_POWER            "5.5.3   5.5.3   4.5.3   4.5.3   4.6.3   4.6.3   4.6.3   5.6.3"
        "the sender's power level is too low to ban this user"
    KNOCK_RULE           "-       -       -       4.6.1   4.7.1   4.7.1   4.7.1   5.7.1"
        "the room's join rule does not allow knocking"
    KNOCK_OTHERS         "-       -       -       4.6.2   4.7.2   4.7.2   4.7.2   5.7.2"
        "users can knock for themselves only"
    KNOCK                "-       -       -       4.6.3   4.7.3   4.7.3   4.7.3   5.7.3"
        "the user may knock"
    KNOCK_PRESENT        "-       -       -       4.6.4   4.7.4   4.7.4   4.7.4   5.7.4"
        "the user is in the room, invited, or banned"
    MEMBERSHIP_UNKNOWN   "5.6     5.6     4.6     4.7     4.8     4.8     4.8     5.8"
        "the membership is not known"
    SENDER_NOT_JOINED    "6       6       5       5       5       5       5       6"
        "the sender is not joined to the room"
    THIRD_PARTY_INVITE   "7.1     7.1     6.1     6.1     6.1     6.1     6.1     7.1"
        "a third-party invite needs the power level to invite"
    POWER                "8       8       7       7       7       7       7       8"
        "the sender's power level is too low for this type of event"
    OTHERS_STATE_KEY     "9       9       8       8       8       8       8       9"
        "the state key is another user's id"
    LEVELS_NUMBER        "-       -       -       -       -       9.1     9.1     10.1"
        "a power level is not an integer"
    LEVELS_MAP           "-       -       -       -       -       9.2     9.2     10.2"
        "`events` or `notifications` is not an object of integers"
    LEVELS_USERS         "10.1    10.1    9.1     9.1     9.1     9.3     9.3     10.3"
        "`users` is not an object of user ids to integers"
    LEVELS_CREATOR       "-       -       -       -       -       -       -       10.4"
        "creators are not listed among the `users`"
    LEVELS_FIRST         "10.2    10.2    9.2     9.2     9.2     9.4     9.4     10.5"
        "the room has no power levels yet"
    LEVELS_FROM          "10.3.1  10.3.1  9.3.1   9.3.1   9.3.1   9.5.1   9.5.1   10.6.1"
        "the current value is above the sender's power level"
    LEVELS_TO            "10.3.2  10.3.2  9.3.2   9.3.2   9.3.2   9.5.2   9.5.2   10.6.2"
        "the new value is above the sender's power level"
    LEVELS_EVENT_FROM    "10.4.1  10.4.1  9.4.1   9.4.1   9.4.1   9.6.1   9.6.1   10.7.1"
        "the current value is above the sender's power level"
    LEVELS_EVENT_TO      "10.5.1  10.5.1  9.5.1   9.5.1   9.5.1   9.7.1   9.7.1   10.8.1"
        "the new value is above the sender's power level"
    LEVELS_USER_FROM     "10.6.1  10.6.1  9.6.1   9.6.1   9.6.1   9.8.1   9.8.1   10.9.1"
        "the other user's power level is not below the sender's"
    LEVELS_USER_TO       "10.7.1  10.7.1  9.7.1   9.7.1   9.7.1   9.9.1   9.9.1   10.10.1"
        "the new level is above the sender's power level"
    LEVELS               "10.8    10.8    9.8     9.8     9.8     9.10    9.10    10.11"
        "the sender may make this change"
    REDACTION_POWER      "11.1    -       -       -       -       -       -       -"
        "the sender may redact others' events"
    REDACTION_DOMAIN     "11.2    -       -       -       -       -       -       -"
        "the redacted event is of the redaction's server"
    REDACTION            "11.3    -       -       -       -       -       -       -"
        "the sender may redact neither this event nor others' events"
    OTHERWISE            "12      11      10      10      10      10      10      11"
        "the sender may send this type of event"
}
