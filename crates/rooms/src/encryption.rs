//! What the operator requires of encryption ([`protocol::encryption`]), held against what users of this server write.
//!
//! It is asked by [`append`](crate::append()), which all they write goes through, so that delayed events and new endpoints
//! cannot pass it by. It is a rule of this house, not of the room: events of other servers are not asked.

use base::{Error, Event, Reply, Room, User};
use protocol::encryption::{self, ENCRYPTION, MEGOLM};
use serde_json::{Map, Value, value::RawValue};
use store::{
    View, room,
    schema::{Head, RoomInfo},
    state::{self, Root},
    user,
};

/// May this be written by this user, as far as encryption goes?
///
/// # Errors
/// 403 `M_FORBIDDEN` for plaintext in an encrypted room, and for less encryption than there is.
pub(crate) fn check(
    view: &View,
    state: Root,
    sender: User,
    (kind, state_key, content): (&str, Option<&str>, &RawValue),
) -> Reply<()> {
    let house = view.encryption();
    match state_key {
        None if house.refuse_plaintext && encryption::is_secret(kind) => {
            let exempt = || Ok::<_, Error>(house.exempts(&*user::id(view, sender)?));
            if !is_encrypted(view, state)? || exempt()? {
                return Ok(());
            }
            let text = "This room is encrypted, and this server does not let its users send this \
                        unencrypted. Your client has to support end-to-end encryption.";
            Err(Error::forbidden(text))
        }
        Some("") if kind == ENCRYPTION && house.keeps() => {
            let Some(before) = content_of(view, state)? else { return Ok(()) };
            let after = serde_json::from_str(content.get()).unwrap_or_default();
            if encryption::weakens(&before, &after) {
                let text = "The encryption of a room cannot be ended or weakened on this server.";
                return Err(Error::forbidden(text));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// May this event be redacted? The one by which its room is encrypted would lose its content with that.
///
/// # Errors
/// 403 `M_FORBIDDEN`.
pub(crate) fn check_redaction(view: &View, state: Root, target: Event) -> Reply<()> {
    if !view.encryption().keeps() || state::get(view, state, ENCRYPTION, "")? != Some(target) {
        return Ok(());
    }
    Err(Error::forbidden("By this event the room is encrypted, which cannot be ended here."))
}

fn content_of(view: &View, state: Root) -> Reply<Option<Map<String, Value>>> {
    Ok(room::state(view, state, ENCRYPTION, "")?.and_then(|event| event.content_as()))
}

fn is_encrypted(view: &View, state: Root) -> Reply<bool> {
    Ok(content_of(view, state)?.is_some_and(|content| encryption::algorithm(&content).is_some()))
}

/// What a new room's creator asks for is looked at: `asked` is the content of `m.room.encryption` among its first state.
/// Returns whether the server has to add that event itself.
///
/// # Errors
/// 403 `M_FORBIDDEN` where encryption is required and another algorithm was asked for.
pub(crate) fn must_add(
    view: &View,
    public: bool,
    room_type: Option<&str>,
    asked: Option<&RawValue>,
) -> Reply<bool> {
    if !view.encryption().wants(public, room_type) {
        return Ok(false);
    }
    let asked: Map<String, Value> =
        asked.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    match encryption::algorithm(&asked) {
        None => Ok(true),
        Some(MEGOLM) => Ok(false),
        Some(_) => {
            Err(Error::forbidden(format!("Rooms of this server are encrypted by {MEGOLM}.")))
        }
    }
}

/// Is a room that replaces another to be encrypted where the old one was not?
pub(crate) fn must_add_to(view: &View, old: Room, info: &RoomInfo, head: &Head) -> Reply<bool> {
    if is_encrypted(view, head.state)? {
        return Ok(false);
    }
    let rules = room::state(view, head.state, "m.room.join_rules", "")?;
    let content: Map<String, Value> =
        rules.and_then(|event| event.content_as()).unwrap_or_default();
    let open = content.get("join_rule").and_then(Value::as_str) == Some("public");
    let listed = view.has(&store::schema::PUBLISHED, (old,))?;
    must_add(view, open || listed, info.room_type.as_deref(), None)
}

#[cfg(test)]
mod tests;
