//! Profiles with custom fields (spec: Client-Server API, "Profiles").

use base::{
    Error, Reply, User,
    limits::{PROFILE_BYTES_MAX, PROFILE_KEY_BYTES_MAX},
};
use ruma::{MxcUri, UserId};
use serde_json::Value;
use store::{Tx, View, log::Entry, schema::PROFILES, user};

use crate::text::check_length;

/// A display name, in characters.
const DISPLAY_NAME_CHARS_MAX: usize = 256;
/// An avatar's address, in characters: server name, media id, and what holds them together.
const AVATAR_URL_CHARS_MAX: usize = 1_000;
/// A profile of 64 KiB cannot have more fields than this, at five bytes each.
const FIELDS_MAX: usize = PROFILE_BYTES_MAX / 5;

/// Field: the name shown to people.
pub const DISPLAY_NAME: &str = "displayname";
/// Field: the picture shown to people.
pub const AVATAR_URL: &str = "avatar_url";

/// The local user that someone asks about.
///
/// # Errors
/// 404 `M_NOT_FOUND` for users that have no account here.
pub fn subject(view: &View, id: &UserId) -> Reply<User> {
    let missing = || Error::not_found("There is no such profile.");
    if !user::is_local(view, id) {
        return Err(missing());
    }
    let user = user::find(view, id)?.ok_or_else(missing)?;
    match crate::session::account(view, user)? {
        Some(_) => Ok(user),
        None => Err(missing()),
    }
}

/// A whole profile as a JSON object text.
///
/// # Errors
/// 404 `M_NOT_FOUND` for users that have no account here.
pub fn get(view: &View, id: &UserId) -> Reply<String> {
    let user = subject(view, id)?;
    let mut text = String::from("{");
    for ((_, key), value) in fields(view, user)? {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&protocol::json::quote(&key));
        text.push(':');
        text.push_str(&value);
    }
    text.push('}');
    Ok(text)
}

/// One field as a JSON object text `{key: value}`.
///
/// # Errors
/// 404 `M_NOT_FOUND` for users that have no account here and fields that are not set; 400 for impossible keys.
pub fn get_field(view: &View, id: &UserId, key: &str) -> Reply<String> {
    check_key(key)?;
    let user = subject(view, id)?;
    let value = view
        .get(&PROFILES, (user, key.to_owned()))?
        .ok_or_else(|| Error::not_found("This field is not set."))?;
    Ok(format!("{{{}:{value}}}", protocol::json::quote(key)))
}

fn fields(view: &View, user: User) -> Reply<Vec<((User, String), String)>> {
    view.under(&PROFILES, (user,), FIELDS_MAX)
}

/// Sets a field and announces it, if that changes anything.
///
/// # Errors
/// 400 `M_KEY_TOO_LARGE`, `M_PROFILE_TOO_LARGE`, `M_INVALID_PARAM`.
pub fn set(tx: &mut Tx, user: User, key: &str, value: &Value) -> Reply<()> {
    check_key(key)?;
    if is_unset(key, value) {
        return remove(tx, user, key);
    }
    check_value(key, value)?;
    let text = value.to_string();
    let mut whole = cost(key, &text);
    for ((_, other), value) in fields(tx, user)? {
        if other != key {
            whole += cost(&other, &value);
        } else if value == text {
            return Ok(());
        }
    }
    // The braces around it all.
    if whole + 2 > PROFILE_BYTES_MAX {
        let why = format!("A profile may have at most {PROFILE_BYTES_MAX} bytes.");
        return Err(Error::refused(400, "M_PROFILE_TOO_LARGE", why));
    }
    tx.put(&PROFILES, (user, key.to_owned()), &text);
    tx.announce(Entry::Profile { user, key: key.to_owned() });
    Ok(())
}

/// Bytes that a field takes in a profile: quotes, colon and comma included.
fn cost(key: &str, value: &str) -> usize {
    key.len() + value.len() + 4
}

/// Clients from before custom fields take a name away by setting it to nothing.
fn is_unset(key: &str, value: &Value) -> bool {
    matches!(key, DISPLAY_NAME | AVATAR_URL) && (value.is_null() || value.as_str() == Some(""))
}

/// Removes a field and announces it. One that is not set is passed over.
///
/// # Errors
/// 400 for impossible keys.
pub fn remove(tx: &mut Tx, user: User, key: &str) -> Reply<()> {
    check_key(key)?;
    if tx.has(&PROFILES, (user, key.to_owned()))? {
        tx.delete(&PROFILES, (user, key.to_owned()));
        tx.announce(Entry::Profile { user, key: key.to_owned() });
    }
    Ok(())
}

/// The name of a new account: nobody shares a room with it yet, so nothing is announced.
pub(crate) fn set_first_name(tx: &mut Tx, user: User, name: &str) -> Reply<()> {
    check_length("A display name", name, DISPLAY_NAME_CHARS_MAX)?;
    if !name.is_empty() {
        let key = (user, DISPLAY_NAME.to_owned());
        tx.put(&PROFILES, key, &Value::from(name).to_string());
    }
    Ok(())
}

/// Keys follow the Common Namespaced Identifier Grammar (spec: Appendices).
fn check_key(key: &str) -> Reply<()> {
    if key.len() > PROFILE_KEY_BYTES_MAX {
        let why = format!("A profile key may have at most {PROFILE_KEY_BYTES_MAX} bytes.");
        return Err(Error::refused(400, "M_KEY_TOO_LARGE", why));
    }
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if !key.starts_with(|c: char| c.is_ascii_lowercase()) || !key.chars().all(rest) {
        return Err(Error::invalid_param(
            "A profile key begins with a-z and has only the characters a-z, 0-9 and -_.",
        ));
    }
    Ok(())
}

fn check_value(key: &str, value: &Value) -> Reply<()> {
    let as_text = || {
        value
            .as_str()
            .ok_or_else(|| Error::invalid_param(format!("The field {key} must be a string.")))
    };
    match key {
        DISPLAY_NAME => check_length("A display name", as_text()?, DISPLAY_NAME_CHARS_MAX),
        AVATAR_URL => {
            let url = as_text()?;
            check_length("An avatar URL", url, AVATAR_URL_CHARS_MAX)?;
            match <&MxcUri>::from(url).validate() {
                Ok(()) => Ok(()),
                Err(_) => Err(Error::invalid_param("An avatar URL must be an mxc:// URI.")),
            }
        }
        "m.tz" => check_length("A time zone", as_text()?, DISPLAY_NAME_CHARS_MAX),
        _ => Ok(()),
    }
}
