//! `room_keys/keys`: keys put into a backup, and taken out of it.

use std::collections::BTreeMap;

use base::{Error, Reply, User};
use protocol::json::is_object;
use ruma::RoomId;
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    Tx, View,
    key_backup::leave,
    schema::{BACKED_UP_KEYS, BACKUPS, BackedUpKey, Backup},
};

use super::{State, current_as, known, rule::is_better};

/// The id of a session, bytes: Megolm's have 43.
const SESSION_ID_BYTES_MAX: usize = 128;
/// One key with what is around it, bytes: Megolm's have about a thousand.
const KEY_BYTES_MAX: usize = 32 << 10;
/// Keys in one backup: many times what accounts have after years in large rooms.
const KEYS_MAX: u64 = 1_000_000;
/// Keys of a room that are deleted in one transaction.
const DELETED_AT_ONCE: usize = 500;

/// By session: JSON text.
pub type Sessions = BTreeMap<String, Box<RawValue>>;
/// By room, by session: JSON text.
pub type Rooms = BTreeMap<String, Sessions>;

/// What the rule goes by; the rest of a key is the client's.
#[derive(Deserialize)]
struct Read<'a> {
    first_message_index: u64,
    forwarded_count: u64,
    is_verified: bool,
    #[serde(borrow)]
    session_data: &'a RawValue,
}

fn read(room: &str, session: &str, json: &str) -> Reply<BackedUpKey> {
    if RoomId::parse(room).is_err() {
        return Err(Error::invalid_param(format!("{room:?} is no room id")));
    }
    let fits = (1..=SESSION_ID_BYTES_MAX).contains(&session.len()) && !session.contains('\0');
    if !fits {
        return Err(Error::invalid_param("an id of a session is empty or too long"));
    }
    if json.len() > KEY_BYTES_MAX {
        return Err(Error::too_large(format!("a key has at most {KEY_BYTES_MAX} bytes")));
    }
    if !is_object(json.as_bytes()) {
        return Err(Error::bad_json("a key is an object"));
    }
    let key: Read<'_> = serde_json::from_str(json).map_err(|e| Error::bad_json(e.to_string()))?;
    if !is_object(key.session_data.get().as_bytes()) {
        return Err(Error::bad_json("`session_data` is an object"));
    }
    let Read { first_message_index, forwarded_count, is_verified, .. } = key;
    Ok(BackedUpKey { is_verified, first_message_index, forwarded_count, json: json.to_owned() })
}

/// Puts keys into the backup that takes them, each unless a better one for its session is there.
///
/// # Errors
/// 403 `M_WRONG_ROOM_KEYS_VERSION` for an older backup, 404 `M_NOT_FOUND` for none; 400 `M_BAD_JSON` for what is no key, 400
/// `M_INVALID_PARAM` for bad ids, 413 `M_TOO_LARGE` for keys that are too large or too many.
pub fn put(tx: &mut Tx, user: User, version: &str, rooms: &Rooms) -> Reply<State> {
    let (number, mut backup) = current_as(tx, user, version)?;
    let mut given = Vec::new();
    for (room, sessions) in rooms {
        for (session, json) in sessions {
            let new = read(room, session, json.get())?;
            given.push(((user, backup.shelf, room.clone(), session.clone()), new));
        }
    }
    let there = tx.get_many(&BACKED_UP_KEYS, given.iter().map(|(place, _)| place.clone()))?;
    let mut changed = false;
    for ((place, new), old) in given.into_iter().zip(there) {
        if old.as_ref().is_some_and(|old| !is_better(&new, old)) {
            continue;
        }
        if old.is_none() {
            backup.count = backup.count.saturating_add(1);
        }
        tx.put(&BACKED_UP_KEYS, place, &new);
        changed = true;
    }
    if backup.count > KEYS_MAX {
        return Err(Error::too_large(format!("a backup has at most {KEYS_MAX} keys")));
    }
    if changed {
        keep(tx, user, number, &mut backup);
    }
    Ok(State::of(&backup))
}

/// Keeps the row of a backup whose keys changed.
fn keep(tx: &mut Tx, user: User, number: u64, backup: &mut Backup) {
    backup.etag = backup.etag.saturating_add(1);
    tx.put(&BACKUPS, (user, number), backup);
}

/// One key: JSON text.
///
/// # Errors
/// 404 `M_NOT_FOUND` without the backup or the key.
pub fn one(view: &View, user: User, version: &str, room: &str, session: &str) -> Reply<String> {
    let (_, backup) = known(view, user, version)?;
    let missing = || Error::not_found("There is no such key.");
    let place = place(user, &backup, room, session).ok_or_else(missing)?;
    view.get(&BACKED_UP_KEYS, place)?.map(|key| key.json).ok_or_else(missing)
}

/// Where a key is, if there can be such a key.
fn place(
    user: User,
    backup: &Backup,
    room: &str,
    session: &str,
) -> Option<(User, u64, String, String)> {
    let fits = room.len() <= base::limits::ID_BYTES_MAX && session.len() <= SESSION_ID_BYTES_MAX;
    fits.then(|| (user, backup.shelf, room.to_owned(), session.to_owned()))
}

/// Deletes one key, if it is there.
///
/// # Errors
/// 404 `M_NOT_FOUND` without the backup.
pub fn delete_one(
    tx: &mut Tx,
    user: User,
    version: &str,
    room: &str,
    session: &str,
) -> Reply<State> {
    let (number, mut backup) = known(tx, user, version)?;
    let place = place(user, &backup, room, session);
    if let Some(place) = place
        && tx.has(&BACKED_UP_KEYS, place.clone())?
    {
        tx.delete(&BACKED_UP_KEYS, place);
        backup.count = backup.count.saturating_sub(1);
        keep(tx, user, number, &mut backup);
    }
    Ok(State::of(&backup))
}

/// Deletes keys of one room, as many as go into one transaction. Returns whether more may be there: to be called again.
///
/// # Errors
/// 404 `M_NOT_FOUND` without the backup.
pub fn delete_some(tx: &mut Tx, user: User, version: &str, room: &str) -> Reply<(State, bool)> {
    let (number, mut backup) = known(tx, user, version)?;
    if room.len() > base::limits::ID_BYTES_MAX {
        return Ok((State::of(&backup), false));
    }
    let under = (user, backup.shelf, room.to_owned());
    let rows: Vec<((User, u64, String, String), BackedUpKey)> =
        tx.under(&BACKED_UP_KEYS, under, DELETED_AT_ONCE)?;
    let more = rows.len() == DELETED_AT_ONCE;
    if !rows.is_empty() {
        for (key, _) in rows {
            tx.delete(&BACKED_UP_KEYS, key);
            backup.count = backup.count.saturating_sub(1);
        }
        keep(tx, user, number, &mut backup);
    }
    Ok((State::of(&backup), more))
}

/// Deletes all keys of a backup.
///
/// # Errors
/// 404 `M_NOT_FOUND` without the backup.
pub fn delete_all(tx: &mut Tx, user: User, version: &str) -> Reply<State> {
    let (number, mut backup) = known(tx, user, version)?;
    if backup.count > 0 {
        leave(tx, user, backup.shelf);
        backup.shelf = tx.fresh()?;
        backup.count = 0;
        keep(tx, user, number, &mut backup);
    }
    Ok(State::of(&backup))
}
