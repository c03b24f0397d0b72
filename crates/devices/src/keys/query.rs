//! `POST /keys/query`, of clients and of other servers: the keys of users of this server, as far as the asker may see them.

use std::collections::BTreeMap;

use base::{Error, Reply, User};
use ruma::UserId;
use serde_json::{Map, Value};
use store::{
    View,
    schema::{ACCOUNTS, CROSS_SIGNING_KEYS, DEVICE_KEYS, DEVICES, Device, SIGNATURES},
    user,
};

use super::cross_signing::{MASTER, SELF_SIGNING, USER_SIGNING};

/// Devices of one user: as many as there can be.
const DEVICES_MAX: usize = 1_000;
/// Users that one request may ask for.
const USERS_MAX: usize = 10_000;
/// Signatures of one user on another's keys: they have one user-signing key at a time.
const SIGNATURES_MAX: usize = 100;

/// By user, the devices that are meant; none: all.
pub type Asked = BTreeMap<String, Vec<String>>;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Viewer {
    /// A user of this server.
    User(User),
    /// Another server: what everyone may see.
    Server,
}

/// What was found, each by user.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// By user, by device.
    pub device_keys: Map<String, Value>,
    /// Master keys.
    pub master_keys: Map<String, Value>,
    /// Self-signing keys.
    pub self_signing_keys: Map<String, Value>,
    /// The asker's own user-signing key.
    pub user_signing_keys: Map<String, Value>,
}

/// The keys of those of the users that belong to this server.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for too many users.
pub fn local(view: &View, viewer: Viewer, asked: &Asked) -> Reply<Found> {
    if asked.len() > USERS_MAX {
        return Err(Error::invalid_param(format!("at most {USERS_MAX} users at once")));
    }
    let mut found = Found::default();
    for (id, devices) in asked {
        let Ok(parsed) = <&UserId>::try_from(id.as_str()) else { continue };
        if !user::is_local(view, parsed) {
            continue;
        }
        let Some(user) = user::find(view, parsed)? else { continue };
        if view.get(&ACCOUNTS, (user,))?.is_none_or(|account| account.deactivated) {
            continue;
        }
        found.device_keys.insert(id.clone(), Value::Object(of_devices(view, user, devices)?));
        let own = matches!(viewer, Viewer::User(viewer) if viewer == user);
        let keys = [
            (MASTER, &mut found.master_keys, true),
            (SELF_SIGNING, &mut found.self_signing_keys, true),
            (USER_SIGNING, &mut found.user_signing_keys, own),
        ];
        for (usage, found, shown) in keys {
            if let Some(text) = view.get(&CROSS_SIGNING_KEYS, (user, usage))?.filter(|_| shown) {
                found.insert(id.clone(), parse(&text)?);
            }
        }
    }
    if let Viewer::User(viewer) = viewer {
        add_signatures(view, viewer, &mut found.master_keys)?;
    }
    Ok(found)
}

/// The identity keys of a device, with the name that people see.
fn of_devices(view: &View, user: User, wanted: &[String]) -> Reply<Map<String, Value>> {
    let rows: Vec<((User, String), String)> = view.under(&DEVICE_KEYS, (user,), DEVICES_MAX)?;
    let wants = |id: &String| wanted.is_empty() || wanted.contains(id);
    let rows: Vec<(String, String)> =
        rows.into_iter().map(|((_, id), text)| (id, text)).filter(|(id, _)| wants(id)).collect();
    let devices = view.get_many(&DEVICES, rows.iter().map(|(id, _)| (user, id.clone())))?;
    let mut shown = Map::new();
    for ((id, text), device) in rows.into_iter().zip(devices) {
        let mut keys = parse(&text)?;
        let name = device.and_then(|device: Device| device.display_name).map(Value::String);
        let unsigned =
            name.map(|name| ("device_display_name".to_owned(), name)).into_iter().collect();
        if let Some(keys) = keys.as_object_mut() {
            keys.insert("unsigned".to_owned(), Value::Object(unsigned));
        }
        shown.insert(id, keys);
    }
    Ok(shown)
}

pub(crate) fn parse(text: &str) -> Reply<Value> {
    serde_json::from_str(text).map_err(|e| Error::fault(format!("a key is no JSON: {e}")))
}

/// Adds the signatures that a user of this server made on others' master keys, by user, wherever those live (spec: "Key and
/// signature security").
///
/// # Errors
/// Faults only.
pub fn add_signatures(view: &View, viewer: User, masters: &mut Map<String, Value>) -> Reply<()> {
    let viewer_id = user::id(view, viewer)?;
    for (id, master) in masters {
        let Ok(target) = <&UserId>::try_from(id.as_str()) else { continue };
        let Some(target) = user::find(view, target)?.filter(|target| *target != viewer) else {
            continue;
        };
        let public =
            master.get("keys").and_then(Value::as_object).and_then(|keys| keys.values().next());
        let Some(public) = public.and_then(Value::as_str).map(str::to_owned) else { continue };
        if public.len() > base::limits::ID_BYTES_MAX {
            continue;
        }
        let rows: Vec<((User, User, String, String), String)> =
            view.under(&SIGNATURES, (viewer, target, public), SIGNATURES_MAX)?;
        let Some(master) = master.as_object_mut().filter(|_| !rows.is_empty()) else { continue };
        let empty = || Value::Object(Map::new());
        let all = master.entry("signatures").or_insert_with(empty);
        let Some(all) = all.as_object_mut() else { continue };
        let own = all.entry(viewer_id.as_str()).or_insert_with(empty);
        let Some(own) = own.as_object_mut() else { continue };
        own.extend(rows.into_iter().map(|((.., key), made)| (key, Value::String(made))));
    }
    Ok(())
}
