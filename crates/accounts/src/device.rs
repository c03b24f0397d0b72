//! Devices and logging in (spec: Client-Server API, "Login", "Client devices"). A device ends with its tokens.

use std::collections::BTreeSet;

use base::{Error, Reply, User};
use store::{
    Direction, Tx, View, device_changes, device_keys, inbox,
    log::Entry,
    schema::{CROSS_SIGNING_KEYS, DEHYDRATED, DEVICES, Device, Done, SEEN, SENT, Seen, TXNS},
};

use crate::{
    pusher,
    session::{self, Pair},
    text::{UPPER, check_length, check_name, random_name},
};

/// A device's display name, in characters.
const DISPLAY_NAME_CHARS_MAX: usize = 255;
/// Devices of one user. One more login ends the one that was unused for longest: a script that logs in again and
/// again must not lock its owner out, nor fill the store.
const DEVICES_MAX: usize = 1_000;

/// A device as its owner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Shown to people.
    pub display_name: Option<String>,
    /// Its last use, if that was ever noted.
    pub seen: Option<Seen>,
}

/// What came of a login.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedIn {
    /// The device, made or found again.
    pub device: String,
    /// Its tokens.
    pub tokens: Pair,
}

/// What a client asks for when it logs in.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The device that it wants to be; none: a new one.
    pub device: Option<String>,
    /// The name of a new device.
    pub display_name: Option<String>,
    /// Does it know refresh tokens?
    pub refreshable: bool,
}

/// Logs a proven user in: makes the device or takes it up again, in which case its old tokens end.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a device id or name out of bounds; 401 `M_USER_LOCKED`.
pub fn log_in(tx: &mut Tx, user: User, login: &Login) -> Reply<LoggedIn> {
    session::check_unlocked(tx, user)?;
    let device = match login.device.as_deref() {
        None | Some("") => random_name::<10>(tx, UPPER),
        Some(device) => device.to_owned(),
    };
    check_name("A device id", &device)?;
    let key = (user, device.clone());
    if tx.has(&DEVICES, key.clone())? {
        session::end_tokens(tx, user, &device, None)?;
    } else {
        if let Some(name) = &login.display_name {
            check_length("A device name", name, DISPLAY_NAME_CHARS_MAX)?;
        }
        check_is_no_key(tx, user, &device)?;
        make_room(tx, user)?;
        let display_name = login.display_name.clone();
        tx.put(&DEVICES, key, &Device { display_name, created: tx.now() });
        device_changes::announce(tx, user, &device);
    }
    let tokens = session::issue(tx, user, &device, login.refreshable);
    Ok(LoggedIn { device, tokens })
}

/// A device is not named like one of the user's cross-signing keys (spec: `device_id` of `POST /login`): a signature's name
/// would not say which of the two made it.
fn check_is_no_key(tx: &Tx, user: User, id: &str) -> Reply<()> {
    #[derive(serde::Deserialize)]
    struct Key {
        keys: std::collections::BTreeMap<String, String>,
    }
    let rows: Vec<((User, u8), String)> =
        tx.under(&CROSS_SIGNING_KEYS, (user,), usize::from(u8::MAX))?;
    for (_, text) in rows {
        let key: Key = serde_json::from_str(&text)
            .map_err(|e| Error::fault(format!("a cross-signing key is no JSON: {e}")))?;
        if key.keys.values().any(|public| public == id) {
            let text = "A device id must not be that of a cross-signing key.";
            return Err(Error::invalid_param(text));
        }
    }
    Ok(())
}

fn make_room(tx: &mut Tx, user: User) -> Reply<()> {
    let devices: Vec<((User, String), Device)> = tx.under(&DEVICES, (user,), DEVICES_MAX)?;
    if devices.len() < DEVICES_MAX {
        return Ok(());
    }
    let mut oldest = None;
    for (key, device) in devices {
        let used = tx.get(&SEEN, key.clone())?.map_or(device.created, |seen| seen.at);
        if oldest.as_ref().is_none_or(|(_, at)| used < *at) {
            oldest = Some((key, used));
        }
    }
    match oldest {
        Some(((_, device), _)) => {
            device_changes::announce(tx, user, &device);
            tx.announce(gone(user));
            end(tx, user, &device)
        }
        None => Ok(()),
    }
}

/// A user's devices, in the order of their ids.
///
/// # Errors
/// Faults only.
pub fn list(view: &View, user: User) -> Reply<Vec<Listed>> {
    let devices: Vec<((User, String), Device)> = view.under(&DEVICES, (user,), DEVICES_MAX)?;
    let seen = view.get_many(&SEEN, devices.iter().map(|(key, _)| key.clone()))?;
    let listed = |(((_, id), device), seen): (((User, String), Device), Option<Seen>)| Listed {
        id,
        display_name: device.display_name,
        seen,
    };
    Ok(devices.into_iter().zip(seen).map(listed).collect())
}

/// One of a user's devices.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn get(view: &View, user: User, id: &str) -> Reply<Listed> {
    let key = known(user, id)?;
    let device = view.get(&DEVICES, key.clone())?.ok_or_else(no_device)?;
    let seen = view.get(&SEEN, key)?;
    Ok(Listed { id: id.to_owned(), display_name: device.display_name, seen })
}

/// The key of a device, if there can be such a device.
fn known(user: User, id: &str) -> Reply<(User, String)> {
    check_name("A device id", id).map_err(|_| no_device())?;
    Ok((user, id.to_owned()))
}

fn no_device() -> Error {
    Error::not_found("You have no such device.")
}

/// Makes a device without tokens, as application services may (MSC4190), or renames the one that is there. Says
/// whether it was made.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for an id or name out of bounds.
pub fn create_or_rename(
    tx: &mut Tx,
    user: User,
    id: &str,
    display_name: Option<&str>,
) -> Reply<bool> {
    check_name("A device id", id)?;
    let key = (user, id.to_owned());
    if tx.has(&DEVICES, key.clone())? {
        rename(tx, user, id, display_name)?;
        return Ok(false);
    }
    make(tx, user, id, display_name)?;
    Ok(true)
}

/// Makes a device without tokens, of which it is known that it is not there.
pub(crate) fn make(tx: &mut Tx, user: User, id: &str, display_name: Option<&str>) -> Reply<()> {
    check_name("A device id", id)?;
    if let Some(name) = display_name {
        check_length("A device name", name, DISPLAY_NAME_CHARS_MAX)?;
    }
    check_is_no_key(tx, user, id)?;
    make_room(tx, user)?;
    let display_name = display_name.map(str::to_owned);
    tx.put(&DEVICES, (user, id.to_owned()), &Device { display_name, created: tx.now() });
    device_changes::announce(tx, user, id);
    Ok(())
}

/// Is this one of a user's devices?
///
/// # Errors
/// Faults only.
pub fn exists(view: &View, user: User, id: &str) -> Reply<bool> {
    known(user, id).map_or(Ok(false), |key| view.has(&DEVICES, key))
}

/// Changes the name of a device, if one is given.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 400 `M_INVALID_PARAM` for a name out of bounds.
pub fn rename(tx: &mut Tx, user: User, id: &str, display_name: Option<&str>) -> Reply<()> {
    let key = known(user, id)?;
    let mut device = tx.get(&DEVICES, key.clone())?.ok_or_else(no_device)?;
    let Some(name) = display_name else { return Ok(()) };
    check_length("A device name", name, DISPLAY_NAME_CHARS_MAX)?;
    if device.display_name.as_deref() != Some(name) {
        device.display_name = Some(name.to_owned());
        tx.put(&DEVICES, key, &device);
        device_changes::announce(tx, user, id);
    }
    Ok(())
}

/// Deletes devices with their tokens. Those that are not there are passed over.
///
/// # Errors
/// Faults only.
pub fn delete<S: AsRef<str>>(tx: &mut Tx, user: User, ids: &[S]) -> Reply<()> {
    let mut any = false;
    for id in ids {
        let Ok(key) = known(user, id.as_ref()) else { continue };
        if tx.has(&DEVICES, key)? {
            end(tx, user, id.as_ref())?;
            device_changes::announce(tx, user, id.as_ref());
            any = true;
        }
    }
    if any {
        tx.announce(gone(user));
    }
    Ok(())
}

/// Deletes all devices.
///
/// # Errors
/// Faults only.
pub fn delete_all(tx: &mut Tx, user: User) -> Reply<()> {
    delete_but(tx, user, &[])
}

/// Deletes the devices that somebody is logged in on but `keep`: not the dehydrated one.
///
/// # Errors
/// Faults only.
pub(crate) fn log_out(tx: &mut Tx, user: User, keep: Option<&str>) -> Reply<()> {
    let dehydrated = tx.get(&DEHYDRATED, (user,))?.map(|dehydrated| dehydrated.device);
    let keep: Vec<&str> = keep.into_iter().chain(dehydrated.as_deref()).collect();
    delete_but(tx, user, &keep)
}

fn delete_but(tx: &mut Tx, user: User, keep: &[&str]) -> Reply<()> {
    let devices: Vec<((User, String), Device)> = tx.under(&DEVICES, (user,), DEVICES_MAX + 1)?;
    let ids = devices.into_iter().map(|((_, id), _)| id);
    let ids: Vec<String> = ids.filter(|id| !keep.contains(&id.as_str())).collect();
    delete(tx, user, &ids)
}

/// What was kept for deleted devices is swept by whoever follows this: see [`sweep`].
fn gone(user: User) -> Entry {
    Entry::DevicesGone { user, after: [0; 16] }
}

/// Removes the transaction ids of devices that are no more, of at most `most` that follow `after`. Transaction ids live as
/// long as their device (spec: "Transaction identifiers"). Returns up to which all are swept, if more may follow.
///
/// # Errors
/// Faults only.
pub fn sweep(tx: &mut Tx, user: User, after: [u8; 16], most: usize) -> Reply<Option<[u8; 16]>> {
    let devices: Vec<((User, String), Device)> = tx.under(&DEVICES, (user,), DEVICES_MAX + 1)?;
    let devices: BTreeSet<String> = devices.into_iter().map(|((_, id), _)| id).collect();
    let from = u128::from_be_bytes(after).saturating_add(1).to_be_bytes();
    let rows: Vec<((User, [u8; 16]), Done)> =
        tx.range(&TXNS, (user, from), (user, [u8::MAX; 16]), Direction::Forward, most)?;
    let last = rows.last().filter(|_| rows.len() == most).map(|((_, hash), _)| *hash);
    for (key, done) in rows {
        let sent = match done {
            Done::Event(event) => Some((event, tx.get(&SENT, (event,))?)),
            Done::Nothing => None,
        };
        // Of a transaction without an event nobody knows the device.
        let lives = match &sent {
            Some((_, Some(sent))) => devices.contains(&sent.device),
            Some((_, None)) => false,
            None => !devices.is_empty(),
        };
        if !lives {
            tx.delete(&TXNS, key);
            if let Some((event, _)) = sent {
                tx.delete(&SENT, (event,));
            }
        }
    }
    Ok(last)
}

fn end(tx: &mut Tx, user: User, id: &str) -> Reply<()> {
    session::end_tokens(tx, user, id, None)?;
    tx.delete(&DEVICES, (user, id.to_owned()));
    tx.delete(&SEEN, (user, id.to_owned()));
    inbox::end(tx, user, id)?;
    device_keys::end(tx, user, id)?;
    if tx.get(&DEHYDRATED, (user,))?.is_some_and(|dehydrated| dehydrated.device == id) {
        tx.delete(&DEHYDRATED, (user,));
    }
    pusher::end_of_device(tx, user, id)
}
