//! What a suspended user may still write (spec: Client-Server API, "Account suspension"): they leave rooms, redact
//! what they sent themselves, and speak in the room of the server's notices.

use base::{Error, Reply, Room, User};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{View, schema::NOTICE_ROOMS, user};

use crate::redaction::REDACTION;

/// Is the sender suspended? Then this event is one that they may send, if it redacts nothing of others.
///
/// # Errors
/// 403 `M_USER_SUSPENDED`.
pub(crate) fn check(
    view: &View,
    room: Room,
    sender: User,
    (kind, state_key, content): (&str, Option<&str>, &RawValue),
) -> Reply<bool> {
    if !user::restraint(view, sender)?.suspended {
        return Ok(false);
    }
    let own = |key: Option<&str>| Ok::<_, Error>(key == Some(user::id(view, sender)?.as_str()));
    let allowed = kind == REDACTION
        || (kind == "m.room.member" && says_leave(content) && own(state_key)?)
        || view.get(&NOTICE_ROOMS, (sender,))? == Some(room);
    if allowed { Ok(true) } else { Err(refusal()) }
}

fn says_leave(content: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }
    let content: Option<Content> = serde_json::from_str(content.get()).ok();
    content.is_some_and(|content| content.membership == "leave")
}

/// May a suspended user redact what this one sent?
///
/// # Errors
/// 403 `M_USER_SUSPENDED`.
pub(crate) fn check_redaction(sender: User, of: User) -> Reply<()> {
    if sender == of { Ok(()) } else { Err(refusal()) }
}

/// What a suspended user is told.
pub(crate) fn refusal() -> Error {
    Error::refused(403, "M_USER_SUSPENDED", "you cannot do this while your account is suspended")
}
