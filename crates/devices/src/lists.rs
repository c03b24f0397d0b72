//! Lists of devices of users of other servers, kept here so that nobody has to be asked each time (spec: Server-Server API,
//! "Device Management").
//!
//! A list is *current* as long as each change of it that its server told of followed upon the one before. Otherwise it is
//! asked for again, and whoever asks says so first ([`begin`]): what was told meanwhile makes the answer an old one
//! ([`finish`]). So a list is current only if nothing that came before the question was answered is missing from it.
//! A list is begun when a client first asks for it; that its user still shares a room with this server is seen to by
//! [`store::remote_lists`].

use std::collections::BTreeMap;

use base::{Reply, UnixMs, User};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use store::{
    Tx, View,
    log::Entry,
    remote_lists::{self, DEVICES_MAX},
    schema::{REMOTE_DEVICES, REMOTE_LISTS, RemoteList, STALE_LISTS, Stale},
    user,
};

/// A device or a cross-signing key, bytes.
const KEY_BYTES_MAX: usize = 32 << 10;
/// Versions that one update may name as those before it.
const BEFORE_MAX: usize = 100;

/// The content of an `m.device_list_update`.
#[derive(Clone, Debug, Deserialize)]
pub struct Update {
    /// Whose device.
    pub user_id: OwnedUserId,
    /// Which.
    pub device_id: String,
    /// The version of the list after it.
    pub stream_id: u64,
    /// Those before it.
    #[serde(default)]
    pub prev_id: Vec<u64>,
    /// The device is no more.
    #[serde(default)]
    pub deleted: bool,
    /// Its keys.
    pub keys: Option<Box<RawValue>>,
    /// The name that people see.
    pub device_display_name: Option<String>,
}

/// The content of an `m.signing_key_update`.
#[derive(Clone, Debug, Deserialize)]
pub struct SigningUpdate {
    /// Whose keys.
    pub user_id: OwnedUserId,
    /// The master key.
    pub master_key: Option<Box<RawValue>>,
    /// The self-signing key.
    pub self_signing_key: Option<Box<RawValue>>,
}

/// What another server says of the devices or keys of one of its users.
#[derive(Clone, Debug)]
pub enum Told {
    /// A device changed.
    Device(Update),
    /// The user's own keys changed.
    Signing(SigningUpdate),
    /// Something of this user changed that could not be read.
    Something(OwnedUserId),
}

impl Told {
    /// Whose.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Told::Device(update) => &update.user_id,
            Told::Signing(update) => &update.user_id,
            Told::Something(user) => user,
        }
    }
}

/// A whole list, as its server has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Its version, if the server said.
    pub version: Option<u64>,
    /// By id, the keys as clients are told of them. See [`device`].
    pub devices: BTreeMap<String, Value>,
    /// The master key.
    pub master: Option<Value>,
    /// The self-signing key.
    pub self_signing: Option<Value>,
}

/// A list that is kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Nothing is known to be missing.
    pub current: bool,
    /// What it says.
    pub list: Snapshot,
}

/// Takes note of what another server says of one of its users. What concerns nobody here changes nothing, and neither does
/// what was said before. Says whether the list has to be asked for again.
///
/// # Errors
/// Faults only.
pub fn heard(tx: &mut Tx, origin: &str, told: &Told) -> Reply<bool> {
    let id = told.user();
    if id.server_name() != origin {
        return Ok(false);
    }
    let Some(user) = user::find(tx, id)? else { return Ok(false) };
    // Who shares no room with anyone here concerns nobody.
    if !remote_lists::is_shared(tx, user)? {
        return Ok(false);
    }
    let Some(mut list) = tx.get(&REMOTE_LISTS, (user,))? else {
        tx.announce(Entry::Devices { user });
        return Ok(false);
    };
    if !list.current {
        doubt(tx, user, id, list)?;
        return Ok(true);
    }
    let changed = match told {
        Told::Device(update) if list.version == Some(update.stream_id) => return Ok(false),
        Told::Device(update) if follows(&list, update) => {
            list.version = Some(update.stream_id);
            tx.put(&REMOTE_LISTS, (user,), &list);
            take_device(tx, user, update)?
        }
        Told::Signing(update) => take_keys(tx, user, list, update)?,
        Told::Device(_) | Told::Something(_) => {
            doubt(tx, user, id, list)?;
            return Ok(true);
        }
    };
    if changed {
        tx.announce(Entry::Devices { user });
    }
    Ok(false)
}

/// Does an update follow upon the version that is kept?
fn follows(list: &RemoteList, update: &Update) -> bool {
    let before = update.prev_id.iter().take(BEFORE_MAX);
    list.version.is_some_and(|version| before.into_iter().any(|id| *id == version))
}

/// The list has to be asked for again, and no question that is under way will do.
fn doubt(tx: &mut Tx, user: User, id: &UserId, list: RemoteList) -> Reply<()> {
    let asked = list.asked.saturating_add(1);
    tx.put(&REMOTE_LISTS, (user,), &RemoteList { asked, current: false, ..list });
    let key = (id.server_name().as_str().to_owned(), user);
    if !tx.has(&STALE_LISTS, key.clone())? {
        tx.put(&STALE_LISTS, key, &Stale { failures: 0, retry: tx.now() });
    }
    Ok(())
}

fn take_device(tx: &mut Tx, user: User, update: &Update) -> Reply<bool> {
    if update.device_id.len() > base::limits::ID_BYTES_MAX {
        return Ok(false);
    }
    let key = (user, update.device_id.clone());
    let old = tx.get(&REMOTE_DEVICES, key.clone())?;
    let keys = update.keys.as_ref().filter(|_| !update.deleted).map(|keys| keys.get());
    let name = update.device_display_name.as_deref();
    let new = keys.and_then(|keys| device(&update.user_id, &update.device_id, keys, name));
    let new = new.map(|device| device.to_string());
    if old == new {
        return Ok(false);
    }
    match new {
        None => tx.delete(&REMOTE_DEVICES, key),
        Some(new) => {
            let rows: Vec<((User, String), String)> =
                tx.under(&REMOTE_DEVICES, (user,), DEVICES_MAX)?;
            if old.is_none() && rows.len() >= DEVICES_MAX {
                return Ok(false);
            }
            tx.put(&REMOTE_DEVICES, key, &new);
        }
    }
    Ok(true)
}

fn take_keys(tx: &mut Tx, user: User, list: RemoteList, new: &SigningUpdate) -> Reply<bool> {
    let text = |key: &Option<Box<RawValue>>| {
        let key = key.as_ref().and_then(|key| cross_signing_key(&new.user_id, key.get()));
        key.map(|key| key.to_string())
    };
    let master = text(&new.master_key).or_else(|| list.master.clone());
    let self_signing = text(&new.self_signing_key).or_else(|| list.self_signing.clone());
    let new = RemoteList { master, self_signing, ..list.clone() };
    if new == list {
        return Ok(false);
    }
    tx.put(&REMOTE_LISTS, (user,), &new);
    Ok(true)
}

/// The keys of a device as clients are told of them, with the name that people see; `None`: they are none, or another's.
#[must_use]
pub fn device(user: &UserId, id: &str, keys: &str, name: Option<&str>) -> Option<Value> {
    if keys.len() > KEY_BYTES_MAX || id.len() > base::limits::ID_BYTES_MAX {
        return None;
    }
    let mut keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
    let says = |field: &str| keys.get(field).and_then(Value::as_str);
    if says("user_id") != Some(user.as_str()) || says("device_id") != Some(id) {
        return None;
    }
    let name = name.filter(|name| name.len() <= KEY_BYTES_MAX);
    let unsigned = name.map_or(json!({}), |name| json!({ "device_display_name": name }));
    keys.insert("unsigned".to_owned(), unsigned);
    Some(Value::Object(keys))
}

/// A cross-signing key of a user; `None`: it is none, or another's.
#[must_use]
pub fn cross_signing_key(user: &UserId, key: &str) -> Option<Value> {
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let key: Value = serde_json::from_str(key).ok()?;
    (key.get("user_id").and_then(Value::as_str) == Some(user.as_str())).then_some(key)
}

/// The list of a user, if it is kept and was answered once.
///
/// # Errors
/// Faults only.
pub fn kept(view: &View, user: User) -> Reply<Option<Kept>> {
    let Some(row) = view.get(&REMOTE_LISTS, (user,))?.filter(|row| row.known) else {
        return Ok(None);
    };
    let rows: Vec<((User, String), String)> = view.under(&REMOTE_DEVICES, (user,), DEVICES_MAX)?;
    let devices =
        rows.into_iter().map(|((_, id), text)| Ok((id, crate::keys::query::parse(&text)?)));
    let parse = |key: Option<String>| key.map(|key| crate::keys::query::parse(&key)).transpose();
    let list = Snapshot {
        version: row.version,
        devices: devices.collect::<Reply<_>>()?,
        master: parse(row.master)?,
        self_signing: parse(row.self_signing)?,
    };
    Ok(Some(Kept { current: row.current, list }))
}

/// To be called before a list is asked for. Gives the number of the question; `None`: the user shares no room with anyone
/// here, and their list cannot be kept.
///
/// # Errors
/// Faults only.
pub fn begin(tx: &mut Tx, user: User) -> Reply<Option<u64>> {
    if !remote_lists::is_shared(tx, user)? {
        remote_lists::forget(tx, user)?;
        return Ok(None);
    }
    let list = tx.get(&REMOTE_LISTS, (user,))?;
    if let Some(list) = &list {
        return Ok(Some(list.asked));
    }
    tx.put(&REMOTE_LISTS, (user,), &RemoteList::default());
    Ok(Some(0))
}

/// Takes in the answer to a question, and announces what is other than it was. Says whether the list is current now.
///
/// # Errors
/// Faults only.
pub fn finish(tx: &mut Tx, id: &UserId, question: u64, new: &Snapshot) -> Reply<bool> {
    let Some(user) = user::find(tx, id)? else { return Ok(false) };
    let Some(row) = tx.get(&REMOTE_LISTS, (user,))? else { return Ok(false) };
    let last = row.asked == question;
    if row.current || !last && row.known {
        // What is there is as new, or what comes is old already.
        return Ok(row.current);
    }
    let changed = replace(tx, user, &new.devices)?;
    let text = |key: &Option<Value>| key.as_ref().map(Value::to_string);
    let list = RemoteList {
        version: new.version,
        asked: row.asked,
        known: true,
        current: last,
        master: text(&new.master),
        self_signing: text(&new.self_signing),
    };
    let keys = list.master != row.master || list.self_signing != row.self_signing;
    tx.put(&REMOTE_LISTS, (user,), &list);
    let stale = (id.server_name().as_str().to_owned(), user);
    if last && tx.has(&STALE_LISTS, stale.clone())? {
        tx.delete(&STALE_LISTS, stale);
    }
    if row.known && (changed || keys) {
        tx.announce(Entry::Devices { user });
    }
    Ok(last)
}

fn replace(tx: &mut Tx, user: User, new: &BTreeMap<String, Value>) -> Reply<bool> {
    let rows: Vec<((User, String), String)> = tx.under(&REMOTE_DEVICES, (user,), DEVICES_MAX)?;
    let old: BTreeMap<String, String> =
        rows.into_iter().map(|((_, id), text)| (id, text)).collect();
    let mut changed = false;
    for id in old.keys().filter(|id| !new.contains_key(*id)) {
        changed = true;
        tx.delete(&REMOTE_DEVICES, (user, id.clone()));
    }
    for (id, device) in new.iter().take(DEVICES_MAX) {
        let text = device.to_string();
        if old.get(id) != Some(&text) {
            changed = true;
            tx.put(&REMOTE_DEVICES, (user, id.clone()), &text);
        }
    }
    Ok(changed)
}

/// Asking did not help: it is tried again then.
///
/// # Errors
/// Faults only.
pub fn postpone(tx: &mut Tx, server: &str, user: User, until: UnixMs) -> Reply<()> {
    let key = (server.to_owned(), user);
    if let Some(stale) = tx.get(&STALE_LISTS, key.clone())? {
        let failures = stale.failures.saturating_add(1);
        tx.put(&STALE_LISTS, key, &Stale { failures, retry: until });
    }
    Ok(())
}
