//! A user's devices as other servers are told of them (`GET /user/devices/{userId}`; spec: Server-Server API, "Device
//! Management").

use base::{Error, Reply};
use ruma::UserId;
use serde_json::{Map, Value, json};
use store::{
    View, device_changes,
    schema::{ACCOUNTS, DEVICES, Device},
    user,
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
    let shown = |((_, id), device): ((base::User, String), Device)| {
        let mut shown = Map::new();
        shown.insert("device_id".to_owned(), Value::String(id));
        let name = device.display_name.map(Value::String);
        shown.extend(name.map(|name| ("device_display_name".to_owned(), name)));
        Value::Object(shown)
    };
    let devices: Vec<Value> = rows.into_iter().map(shown).collect();
    // As the updates of single devices are numbered, so that one that was missed shows.
    let stream_id = device_changes::last_before(view, user, base::Seq::MAX)?.map_or(0, |at| at.0);
    Ok(json!({"user_id": id, "stream_id": stream_id, "devices": devices}).to_string())
}
