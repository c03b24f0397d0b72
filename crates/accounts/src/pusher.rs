//! Pushers (spec: Client-Server API, "Push Notifications", POST /pushers/set): whom a user wants to be told by. A pusher
//! belongs to the device that set it and ends with it.

use base::{Error, Reply, User};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use store::{
    Tx, View,
    log::Entry,
    schema::{PUSH_CURSORS, PUSHERS, PUSHERS_BY_KEY, PushCursor, Pusher, PusherId},
};

use crate::address;

/// The spec's bound for `app_id`, in characters.
const APP_ID_CHARS_MAX: usize = 64;
/// The spec's bound for `pushkey`.
const PUSHKEY_BYTES_MAX: usize = 512;
/// Names and tags are for people.
const TEXT_CHARS_MAX: usize = 255;
/// `data`, which is sent with each push.
const DATA_BYTES_MAX: usize = 8 << 10;
/// Where gateways are.
const URL_BYTES_MAX: usize = 1_024;
/// Pushers of one user. One more ends the one that was set longest ago: an app that makes up a new key at each start
/// must not lock its owner out, nor fill the store.
pub const PUSHERS_MAX: usize = 100;
/// Users who have a pusher of the same name: one, unless each asked to keep the others.
const SHARERS_MAX: usize = 1_000;
/// The path of every gateway (spec).
const GATEWAY_PATH: &str = "/_matrix/push/v1/notify";

/// A pusher that tells a gateway.
pub const HTTP: &str = "http";
/// A pusher that writes letters.
pub const EMAIL: &str = "email";
/// `app_id` of pushers that write letters (spec).
pub const EMAIL_APP: &str = "m.email";

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct New {
    /// `app_id`
    pub app_id: String,
    /// `pushkey`
    pub pushkey: String,
    /// `kind`
    pub kind: String,
    /// `app_display_name`
    pub app_display_name: String,
    /// `device_display_name`
    pub device_display_name: String,
    /// `profile_tag`
    pub profile_tag: Option<String>,
    /// `lang`
    pub lang: String,
    /// `data`
    pub data: Map<String, Value>,
    /// See [`Pusher::enabled`].
    pub enabled: bool,
}

/// What this server can do.
#[derive(Clone, Copy, Debug)]
pub struct Can {
    /// Gateways may be reached without TLS: for tests and closed networks.
    pub plain_http: bool,
    /// It sends mail.
    pub mail: bool,
}

/// The name of a pusher.
#[must_use]
pub fn name(app_id: &str, pushkey: &str) -> PusherId {
    let mut hash = Sha256::new();
    hash.update((app_id.len() as u64).to_be_bytes());
    hash.update(app_id.as_bytes());
    hash.update(pushkey.as_bytes());
    let whole: [u8; 32] = hash.finalize().into();
    whole.first_chunk::<16>().copied().unwrap_or_default()
}

/// Refuses an `app_id` or `pushkey` that no pusher can have.
///
/// # Errors
/// 400 `M_INVALID_PARAM`.
pub fn check_name(app_id: &str, pushkey: &str) -> Reply<()> {
    if app_id.is_empty() || app_id.chars().count() > APP_ID_CHARS_MAX {
        let text = format!("An app_id has 1 to {APP_ID_CHARS_MAX} characters.");
        return Err(Error::invalid_param(text));
    }
    if pushkey.is_empty() || pushkey.len() > PUSHKEY_BYTES_MAX {
        let text = format!("A pushkey has 1 to {PUSHKEY_BYTES_MAX} bytes.");
        return Err(Error::invalid_param(text));
    }
    Ok(())
}

/// A user's pushers, in no particular order.
///
/// # Errors
/// Faults only.
pub fn list(view: &View, user: User) -> Reply<Vec<(PusherId, Pusher)>> {
    let rows: Vec<((User, PusherId), Pusher)> = view.under(&PUSHERS, (user,), PUSHERS_MAX + 1)?;
    Ok(rows.into_iter().map(|((_, id), pusher)| (id, pusher)).collect())
}

/// Makes or changes a pusher. Without `append`, it is taken away from every other user.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for what is out of bounds, a gateway that may not be, or an address that is not the user's.
pub fn set(
    tx: &mut Tx,
    user: User,
    device: &str,
    mut new: New,
    append: bool,
    can: Can,
) -> Reply<()> {
    check_name(&new.app_id, &new.pushkey)?;
    check_texts(&new)?;
    let url = match new.kind.as_str() {
        HTTP => Some(take_url(&mut new.data, can)?),
        EMAIL => {
            new.pushkey = check_mail(tx, user, &new, can)?;
            None
        }
        _ => return Err(Error::invalid_param("The kind of a pusher is http or email.")),
    };
    let id = name(&new.app_id, &new.pushkey);
    if !append {
        take_from_others(tx, user, id)?;
    }
    let data = Value::Object(new.data).to_string();
    if data.len() > DATA_BYTES_MAX {
        return Err(Error::invalid_param(format!("data has at most {DATA_BYTES_MAX} bytes.")));
    }
    let pusher = Pusher {
        app_id: new.app_id,
        pushkey: new.pushkey,
        kind: new.kind,
        app_display_name: new.app_display_name,
        device_display_name: new.device_display_name,
        profile_tag: new.profile_tag,
        lang: new.lang,
        data,
        url,
        enabled: new.enabled,
        device: device.to_owned(),
        set: tx.now(),
    };
    put(tx, user, id, pusher)
}

fn put(tx: &mut Tx, user: User, id: PusherId, pusher: Pusher) -> Reply<()> {
    let before = tx.get(&PUSHERS, (user, id))?;
    // Apps set their pusher at each start.
    if before.as_ref().is_some_and(|old| Pusher { set: pusher.set, ..old.clone() } == pusher) {
        return Ok(());
    }
    if before.is_none() {
        make_room(tx, user)?;
    }
    // What happened while there was no pusher, or while it was off, is not told afterwards.
    if before.is_none_or(|old| !old.enabled) {
        let cursor = PushCursor { upto: tx.head(), ..PushCursor::default() };
        tx.put(&PUSH_CURSORS, (user, id), &cursor);
    }
    tx.put(&PUSHERS, (user, id), &pusher);
    tx.put(&PUSHERS_BY_KEY, (id, user), &());
    tx.announce(Entry::Pushers { user });
    Ok(())
}

fn check_texts(new: &New) -> Reply<()> {
    let tag = new.profile_tag.as_deref().unwrap_or_default();
    for text in [&*new.app_display_name, &*new.device_display_name, &*new.lang, tag] {
        if text.chars().nth(TEXT_CHARS_MAX).is_some() {
            let text =
                format!("Names, tags and languages have at most {TEXT_CHARS_MAX} characters.");
            return Err(Error::invalid_param(text));
        }
    }
    Ok(())
}

fn take_url(data: &mut Map<String, Value>, can: Can) -> Reply<String> {
    let missing = || Error::missing_param("data.url is missing.");
    let Some(Value::String(url)) = data.remove("url") else { return Err(missing()) };
    match is_gateway(&url, can.plain_http) {
        true => Ok(url),
        false => Err(Error::invalid_param(format!(
            "data.url has to be an https URL with the path {GATEWAY_PATH}."
        ))),
    }
}

/// Can this be the address of a push gateway?
fn is_gateway(url: &str, plain_http: bool) -> bool {
    let plain = if plain_http { url.strip_prefix("http://") } else { None };
    let Some(rest) = url.strip_prefix("https://").or(plain) else { return false };
    let Some((host, path)) = rest.find('/').and_then(|at| rest.split_at_checked(at)) else {
        return false;
    };
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let plain = |c: char| c.is_ascii_graphic() && c != '#';
    url.len() <= URL_BYTES_MAX
        && url.chars().all(plain)
        && !host.is_empty()
        && !host.contains(['@', '\\', '?'])
        && path == GATEWAY_PATH
}

/// Letters go only to those who have proven that they want them here.
fn check_mail(tx: &Tx, user: User, new: &New, can: Can) -> Reply<String> {
    if !can.mail {
        return Err(Error::invalid_param("This server sends no mail."));
    }
    if new.app_id != EMAIL_APP {
        return Err(Error::invalid_param(format!("The app_id of mail is {EMAIL_APP}.")));
    }
    let address = address::canonical(&new.pushkey)?;
    match address::owner(tx, &address)? {
        Some(owner) if owner == user => Ok(address),
        _ => Err(Error::invalid_param("This address is not one of your account.")),
    }
}

fn take_from_others(tx: &mut Tx, user: User, id: PusherId) -> Reply<()> {
    let sharers: Vec<((PusherId, User), ())> = tx.under(&PUSHERS_BY_KEY, (id,), SHARERS_MAX)?;
    for ((_, other), ()) in sharers {
        if other != user {
            end(tx, other, id);
        }
    }
    Ok(())
}

fn make_room(tx: &mut Tx, user: User) -> Reply<()> {
    let pushers = list(tx, user)?;
    if pushers.len() < PUSHERS_MAX {
        return Ok(());
    }
    if let Some((id, _)) = pushers.iter().min_by_key(|(_, pusher)| pusher.set) {
        end(tx, user, *id);
    }
    Ok(())
}

/// Deletes a pusher, if it is there.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a name that no pusher can have.
pub fn remove(tx: &mut Tx, user: User, app_id: &str, pushkey: &str) -> Reply<()> {
    check_name(app_id, pushkey)?;
    let mut id = name(app_id, pushkey);
    if app_id == EMAIL_APP
        && let Ok(address) = address::canonical(pushkey)
    {
        id = name(app_id, &address);
    }
    if tx.has(&PUSHERS, (user, id))? {
        end(tx, user, id);
    }
    Ok(())
}

/// Deletes the pushers whose keys a gateway rejected. Only those that were set before it was asked: a key may have
/// become good again.
///
/// # Errors
/// Faults only.
pub fn reject(tx: &mut Tx, user: User, id: PusherId, set: base::UnixMs) -> Reply<()> {
    if tx.get(&PUSHERS, (user, id))?.is_some_and(|pusher| pusher.set <= set) {
        end(tx, user, id);
    }
    Ok(())
}

/// Deletes the pushers that a device set.
pub(crate) fn end_of_device(tx: &mut Tx, user: User, device: &str) -> Reply<()> {
    for (id, pusher) in list(tx, user)? {
        if pusher.device == device {
            end(tx, user, id);
        }
    }
    Ok(())
}

/// Deletes the pushers that write to an address.
pub(crate) fn end_of_address(tx: &mut Tx, user: User, address: &str) -> Reply<()> {
    let id = name(EMAIL_APP, address);
    if tx.has(&PUSHERS, (user, id))? {
        end(tx, user, id);
    }
    Ok(())
}

fn end(tx: &mut Tx, user: User, id: PusherId) {
    tx.delete(&PUSHERS, (user, id));
    tx.delete(&PUSHERS_BY_KEY, (id, user));
    tx.delete(&PUSH_CURSORS, (user, id));
    tx.announce(Entry::Pushers { user });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_https_and_have_the_path_of_the_spec() {
        let good = |url| is_gateway(url, false);
        assert!(good("https://push.example.org/_matrix/push/v1/notify"));
        assert!(good("https://[2001:db8::1]:8443/_matrix/push/v1/notify?device=1"));
        for bad in [
            "http://push.example.org/_matrix/push/v1/notify",
            "https://push.example.org/_matrix/push/v1/notify/",
            "https://push.example.org/_matrix/push/v1/../v1/notify",
            "https://push.example.org/x/_matrix/push/v1/notify",
            "https:///_matrix/push/v1/notify",
            "https://me@push.example.org/_matrix/push/v1/notify",
            "https://push.example.org?/_matrix/push/v1/notify",
            "https://push.example.org/_matrix/push/v1/notify#x",
            "https://push.example.org/_matrix/push/v1/notify\r\nx: y",
            "/_matrix/push/v1/notify",
        ] {
            assert!(!good(bad), "{bad}");
        }
        assert!(is_gateway("http://127.0.0.1:1/_matrix/push/v1/notify", true));
    }

    #[test]
    fn a_pusher_is_named_by_app_and_key_together() {
        assert_ne!(name("ab", "c"), name("a", "bc"));
        assert_eq!(name("a", "b"), name("a", "b"));
    }
}
