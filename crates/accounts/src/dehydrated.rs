//! The dehydrated device of a user (MSC3814): a device whose secrets lie here, encrypted by the user, so that messages can be
//! sent to it while the user is logged in nowhere, and be read by the next device that the user logs in on.
//!
//! It is a device like others, but for that it has no tokens: it is listed, has keys that are found and claimed, an inbox,
//! and ends by whatever ends devices. A user has one at most; another takes its place.

use base::{Error, Reply, Seq, User};
use protocol::json::is_object;
use store::{
    Tx, View,
    inbox::{self, Message},
    schema::{DEHYDRATED, DEVICES, Dehydrated},
};

use crate::device;

/// What is kept for it, bytes: the secrets of a device with its one-time keys have some thousands.
const DATA_BYTES_MAX: usize = 64 << 10;

fn missing() -> Error {
    Error::not_found("You have no dehydrated device.")
}

/// Makes the dehydrated device in place of the one that was there, which ends. Its keys are to be uploaded in the same
/// transaction.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for an id or name out of bounds, or the id of another device of the user; 400 `M_BAD_JSON` for data
/// that is not an object, 413 `M_TOO_LARGE`.
pub fn put(tx: &mut Tx, user: User, id: &str, display_name: Option<&str>, data: &str) -> Reply<()> {
    if !is_object(data.as_bytes()) {
        return Err(Error::bad_json("`device_data` is an object"));
    }
    if data.len() > DATA_BYTES_MAX {
        let text = format!("`device_data` has at most {DATA_BYTES_MAX} bytes");
        return Err(Error::too_large(text));
    }
    if let Some(old) = tx.get(&DEHYDRATED, (user,))? {
        device::delete(tx, user, &[old.device])?;
    }
    if device::exists(tx, user, id)? {
        return Err(Error::invalid_param("another of your devices has this id"));
    }
    device::make(tx, user, id, display_name)?;
    let (device, data) = (id.to_owned(), data.to_owned());
    tx.put(&DEHYDRATED, (user,), &Dehydrated { device, data });
    Ok(())
}

/// The dehydrated device.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn get(view: &View, user: User) -> Reply<Dehydrated> {
    view.get(&DEHYDRATED, (user,))?.ok_or_else(missing)
}

/// Ends the dehydrated device and returns its id.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn delete(tx: &mut Tx, user: User) -> Reply<String> {
    let Dehydrated { device, .. } = get(tx, user)?;
    device::delete(tx, user, &[&device])?;
    Ok(device)
}

/// Messages for the dehydrated device that came after a position, at most `limit`. They stay until it ends, so that whoever
/// takes it up can begin again.
///
/// # Errors
/// 403 `M_FORBIDDEN` if this is not the dehydrated device.
pub fn messages(
    view: &View,
    user: User,
    id: &str,
    after: Seq,
    limit: usize,
) -> Reply<Vec<Message>> {
    let is_it = view.get(&DEHYDRATED, (user,))?.is_some_and(|dehydrated| dehydrated.device == id);
    if !is_it || !view.has(&DEVICES, (user, id.to_owned()))? {
        return Err(Error::forbidden("This is not your dehydrated device."));
    }
    inbox::read(view, user, id, after, limit)
}
