//! A user's devices as other servers are told of them (`GET /user/devices/{userId}`; spec: Server-Server API, "Device
//! Management").

use base::{Error, Reply};
use ruma::UserId;
use serde_json::{Map, Value, json};
use store::{
    View, device_changes,
    schema::{ACCOUNTS, CROSS_SIGNING_KEYS, DEVICE_KEYS, DEVICES, Device},
    user,
};

use crate::keys::{
    cross_signing::{MASTER, SELF_SIGNING},
    query::parse,
};

/// Devices of one user that are told: as many as there can be.
const DEVICES_MAX: usize = 1_000;

/// The devices of a user of this server, with the number of this version of the list: the JSON body.
///
/// # Errors
/// 404 `M_NOT_FOUND` for users that have no account here.
pub fn of(view: &View, id: &UserId) -> Reply<String> {
    let missing = || Error::not_found("There is no such user here.");
    if !user::is_local(view, id) {
        return Err(missing());
    }
    let user = user::find(view, id)?.ok_or_else(missing)?;
    if view.get(&ACCOUNTS, (user,))?.is_none_or(|account| account.deactivated) {
        return Err(missing());
    }
    let rows: Vec<((base::User, String), Device)> = view.under(&DEVICES, (user,), DEVICES_MAX)?;
    let keys = view.get_many(&DEVICE_KEYS, rows.iter().map(|(key, _)| key.clone()))?;
    let shown = |(((_, id), device), keys): (((base::User, String), Device), Option<String>)| {
        let mut shown = Map::new();
        shown.insert("device_id".to_owned(), Value::String(id));
        if let Some(keys) = keys {
            shown.insert("keys".to_owned(), parse(&keys)?);
        }
        let name = device.display_name.map(Value::String);
        shown.extend(name.map(|name| ("device_display_name".to_owned(), name)));
        Ok(Value::Object(shown))
    };
    let devices = rows.into_iter().zip(keys).map(shown).collect::<Reply<Vec<Value>>>()?;
    // As the updates of single devices are numbered, so that one that was missed shows.
    let stream_id = device_changes::last_before(view, user, base::Seq::MAX)?.map_or(0, |at| at.0);
    let mut told = json!({"user_id": id, "stream_id": stream_id, "devices": devices});
    for (usage, field) in [(MASTER, "master_key"), (SELF_SIGNING, "self_signing_key")] {
        let key = view.get(&CROSS_SIGNING_KEYS, (user, usage))?;
        if let (Some(key), Some(told)) = (key, told.as_object_mut()) {
            told.insert(field.to_owned(), parse(&key)?);
        }
    }
    Ok(told.to_string())
}
