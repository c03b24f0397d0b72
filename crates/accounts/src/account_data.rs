//! Account data: what clients keep here for themselves, global and by room (spec: Client-Server API, "Client Config").

use base::{Error, Reply, Room, User};
use ruma::RoomId;
use store::{
    Tx, View,
    log::Entry,
    room,
    schema::{ACCOUNT_DATA, AccountData},
};

use crate::text::check_name;

/// One piece of account data, in bytes. `m.direct` of someone with thousands of direct chats has to fit.
const CONTENT_BYTES_MAX: usize = 512 << 10;
/// Types of account data that a user has globally, or in one room.
const TYPES_MAX: usize = 500;

/// Where a piece of account data belongs: to a room, or to no room.
///
/// # Errors
/// 404 `M_NOT_FOUND` for rooms that this server does not know.
pub fn place(view: &View, room_id: &RoomId) -> Reply<Room> {
    room::find(view, room_id)?
        .ok_or_else(|| Error::not_found("This server does not know this room."))
}

/// The place of global account data.
pub const GLOBAL: Room = Room(0);

/// A piece of account data: a JSON object text; `None` also for one that was deleted.
///
/// # Errors
/// Faults only.
pub fn get(view: &View, user: User, place: Room, kind: &str) -> Reply<Option<String>> {
    if check_name("A type", kind).is_err() {
        return Ok(None);
    }
    let data = view.get(&ACCOUNT_DATA, (user, place, kind.to_owned()))?;
    Ok(data.map(|data| data.content).filter(|content| !is_deleted(content)))
}

/// What stands for account data that was deleted, until clients have heard of it (MSC3391). A client that sets this
/// deletes.
const DELETED: &str = "{}";

fn is_deleted(content: &str) -> bool {
    content == DELETED || content.split_whitespace().collect::<String>() == DELETED
}

/// Deletes a piece of account data for a client; what is not there is passed over (MSC3391).
///
/// # Errors
/// 405 `M_BAD_JSON` for what the server keeps itself.
pub fn delete(tx: &mut Tx, user: User, place: Room, kind: &str) -> Reply<()> {
    refuse_ours(kind)?;
    match get(tx, user, place, kind)? {
        Some(_) => put(tx, user, place, kind, DELETED.to_owned()),
        None => Ok(()),
    }
}

fn refuse_ours(kind: &str) -> Reply<()> {
    if matches!(kind, "m.fully_read" | "m.push_rules") {
        let why = format!("{kind} cannot be set here: it has endpoints of its own.");
        return Err(Error::refused(405, "M_BAD_JSON", why));
    }
    Ok(())
}

/// Sets a piece of account data for a client.
///
/// # Errors
/// 405 `M_BAD_JSON` for what the server keeps itself (`m.fully_read`, `m.push_rules`); 400 `M_BAD_JSON` if it is no
/// object; 400 `M_INVALID_PARAM` for an impossible type; 413 `M_TOO_LARGE`.
pub fn set(tx: &mut Tx, user: User, place: Room, kind: &str, content: &str) -> Reply<()> {
    refuse_ours(kind)?;
    if !protocol::json::is_object(content.as_bytes()) {
        return Err(Error::bad_json("Account data must be a JSON object."));
    }
    put(tx, user, place, kind, content.to_owned())
}

/// Writes a piece of account data and announces it.
pub(crate) fn put(tx: &mut Tx, user: User, place: Room, kind: &str, content: String) -> Reply<()> {
    check_name("A type", kind)?;
    let content = if is_deleted(&content) { DELETED.to_owned() } else { content };
    if content.len() > CONTENT_BYTES_MAX {
        let why = format!("Account data may have at most {CONTENT_BYTES_MAX} bytes.");
        return Err(Error::too_large(why));
    }
    let key = (user, place, kind.to_owned());
    if !tx.has(&ACCOUNT_DATA, key.clone())? {
        let types: Vec<((User, Room, String), AccountData)> =
            tx.under(&ACCOUNT_DATA, (user, place), TYPES_MAX)?;
        let full = types.len() == TYPES_MAX;
        let deleted = types.into_iter().find(|(_, data)| full && is_deleted(&data.content));
        if let Some((key, _)) = deleted {
            tx.delete(&ACCOUNT_DATA, key);
        } else if full {
            return Err(Error::too_large(format!(
                "At most {TYPES_MAX} types of account data are kept."
            )));
        }
    }
    tx.put(&ACCOUNT_DATA, key, &AccountData { content, changed: tx.now() });
    let room = (place != GLOBAL).then_some(place);
    tx.announce(Entry::AccountData { user, room, kind: kind.to_owned() });
    Ok(())
}
