//! What an operator may require of encryption in rooms, and what counts as plaintext there (spec: Client-Server API,
//! "End-to-End Encryption", `m.room.encryption`).
//!
//! The server cannot read what is encrypted, and so cannot say whether it is encrypted well: it sees the type of an event
//! and the state of its room, and that is what these rules are about.

use ruma::UserId;
use serde_json::{Map, Value, json};

use crate::appservice::Appservices;

/// The state event that says that a room is encrypted.
pub const ENCRYPTION: &str = "m.room.encryption";
/// The one algorithm that the spec has for rooms.
pub const MEGOLM: &str = "m.megolm.v1.aes-sha2";

/// In which new rooms encryption is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Required {
    /// In none.
    #[default]
    Off,
    /// In all that are neither in the directory nor open to everybody who knows them.
    Private,
    /// In all.
    All,
}

/// What the operator requires. Holds for what users of this server do, not for what comes from other servers.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// Which new rooms are encrypted whether or not their creator asks for it.
    pub rooms: Required,
    /// Nothing that ought to be encrypted is sent in clear in an encrypted room.
    pub refuse_plaintext: bool,
    /// Application services whose own users are exempt: bridges that do not speak encryption.
    pub exempt: Appservices,
}

impl Requirement {
    /// Is a new room to be encrypted? `public`: anybody may find it or enter it. A space holds rooms, not messages.
    #[must_use]
    pub fn wants(&self, public: bool, room_type: Option<&str>) -> bool {
        let wanted = match self.rooms {
            Required::Off => false,
            Required::Private => !public,
            Required::All => true,
        };
        wanted && room_type != Some("m.space")
    }

    /// May a room that is encrypted not become less so?
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.refuse_plaintext || self.rooms != Required::Off
    }

    /// Is this one of the users that belong to an application service alone?
    #[must_use]
    pub fn exempts(&self, user: &UserId) -> bool {
        self.exempt.excludes_user(user, None)
    }
}

/// The content of the `m.room.encryption` event of a room whose creator asked for none.
#[must_use]
pub fn usual() -> Value {
    json!({ "algorithm": MEGOLM })
}

/// Types of events that clients send encrypted in encrypted rooms, because what people say, show or tell of themselves is in
/// their content: with a dot at the end, all types that begin so.
///
/// Not among them: reactions and redactions, which every client sends in clear (the spec has no encrypted form of them),
/// and the steps of a verification, which hold keys and hashes only. What is unknown is let through: a server that refuses
/// what it does not know would end every new kind of event.
const SECRET: [&str; 17] = [
    "m.room.message",
    "m.sticker",
    // Where people are reached, and in old clients the keys of a call.
    "m.call.",
    "org.matrix.call.",
    "m.poll.",
    "org.matrix.msc3381.poll.",
    // Where people are.
    "m.beacon",
    "org.matrix.msc3672.beacon",
    "io.element.call.encryption_keys",
    // Extensible events (MSC1767 and those after it).
    "m.message",
    "m.emote",
    "m.notice",
    "m.file",
    "m.image",
    "m.video",
    "m.audio",
    "m.location",
];

/// Ought message events of this type to be encrypted in an encrypted room?
#[must_use]
pub fn is_secret(kind: &str) -> bool {
    SECRET.iter().any(|secret| match secret.strip_suffix('.') {
        Some(_) => kind.starts_with(secret),
        None => kind == *secret,
    })
}

/// After how long a key is replaced where nothing is said of it, in milliseconds (spec: `m.room.encryption`).
const ROTATION_MS: u64 = 604_800_000;
/// After how many messages.
const ROTATION_MSGS: u64 = 100;

/// The algorithm that a content of `m.room.encryption` names.
#[must_use]
pub fn algorithm(content: &Map<String, Value>) -> Option<&str> {
    content.get("algorithm").and_then(Value::as_str).filter(|name| !name.is_empty())
}

/// Does a new content of `m.room.encryption` protect less than the one that is there: another algorithm, or keys that live
/// longer?
#[must_use]
pub fn weakens(before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
    let Some(named) = algorithm(before) else { return false };
    let lasts = |content: &Map<String, Value>, key: &str, usual: u64| {
        content.get(key).and_then(Value::as_u64).unwrap_or(usual)
    };
    let longer =
        |key: &str, usual: u64| lasts(after, key, usual) > lasts(before, key, usual).max(usual);
    algorithm(after) != Some(named)
        || longer("rotation_period_ms", ROTATION_MS)
        || longer("rotation_period_msgs", ROTATION_MSGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn what_people_say_is_secret_and_what_has_no_encrypted_form_is_not() {
        for kind in ["m.room.message", "m.sticker", "m.call.invite", "m.poll.start", "m.beacon"] {
            assert!(is_secret(kind), "{kind}");
        }
        for kind in ["m.room.encrypted", "m.reaction", "m.room.redaction", "m.room.messages", "x"] {
            assert!(!is_secret(kind), "{kind}");
        }
    }

    #[test]
    fn private_rooms_are_those_that_not_everybody_may_enter_and_spaces_hold_no_messages() {
        let of = |rooms| Requirement { rooms, ..Requirement::default() };
        assert!(!of(Required::Off).wants(false, None));
        assert!(of(Required::Private).wants(false, None));
        assert!(!of(Required::Private).wants(true, None));
        assert!(of(Required::All).wants(true, None));
        assert!(!of(Required::All).wants(false, Some("m.space")));
        assert!(of(Required::All).wants(false, Some("other")));
    }

    #[test]
    fn less_is_another_algorithm_or_keys_that_live_longer_than_usual() {
        let usual = content(usual());
        let with = |key: &str, value: u64| {
            let mut content = usual.clone();
            content.insert(key.to_owned(), json!(value));
            content
        };
        assert!(!weakens(&usual, &usual));
        assert!(!weakens(&usual, &with("rotation_period_msgs", 10)));
        assert!(!weakens(&with("rotation_period_msgs", 10), &usual), "the usual is never less");
        assert!(weakens(&usual, &with("rotation_period_msgs", 101)));
        assert!(weakens(&usual, &with("rotation_period_ms", ROTATION_MS + 1)));
        assert!(weakens(&usual, &content(json!({}))));
        assert!(weakens(&usual, &content(json!({ "algorithm": "none" }))));
        assert!(!weakens(&content(json!({})), &usual), "there was none");
    }
}
