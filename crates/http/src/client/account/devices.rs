//! `GET /devices`, `GET`, `PUT` and `DELETE /devices/{deviceId}`, `POST /delete_devices`.

use accounts::{
    device::{self, Listed},
    uia::Auth as Interactive,
};
use base::{Error, Reply};
use http::{Method, StatusCode};
use ruma::api::client::device::{get_device, get_devices};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Tx, View};

use super::{
    required,
    uia::{ask_password, guarded},
};
use crate::{
    answer::{Json, Raw, json as json_answer},
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    const ONE: [&str; 2] =
        ["/_matrix/client/v3/devices/{device_id}", "/_matrix/client/r0/devices/{device_id}"];
    const MANY: [&str; 2] =
        ["/_matrix/client/v3/delete_devices", "/_matrix/client/r0/delete_devices"];
    Routes::default()
        .read(list)
        .read(get)
        .raw_write(Method::PUT, &ONE, Auth::Required, rename)
        .raw_flow(Method::DELETE, &ONE, Auth::Required, delete)
        .raw_flow(Method::POST, &MANY, Auth::Required, delete_many)
}

/// Devices that one request may delete: as many as one can have.
const DELETE_MAX: usize = 1_000;

fn shown(device: Listed) -> Value {
    let mut out = json!({ "device_id": device.id });
    if let Value::Object(out) = &mut out {
        out.extend(device.display_name.map(|name| ("display_name".to_owned(), name.into())));
        if let Some(seen) = device.seen {
            out.insert("last_seen_ip".to_owned(), seen.ip.into());
            out.insert("last_seen_ts".to_owned(), seen.at.0.into());
        }
    }
    out
}

fn list(view: &View, caller: Caller, _: get_devices::v3::Request) -> Reply<Json> {
    let devices: Vec<Value> = device::list(view, caller.user)?.into_iter().map(shown).collect();
    Ok(json!({ "devices": devices }).to_string().into())
}

fn get(view: &View, caller: Caller, request: get_device::v3::Request) -> Reply<Json> {
    let device = device::get(view, caller.user, request.device_id.as_str())?;
    Ok(shown(device).to_string().into())
}

#[derive(Deserialize)]
struct Rename {
    display_name: Option<String>,
}

/// An application service may make a device so (MSC4190): 201.
fn rename(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let caller = required(caller)?;
    let body: Rename = asked.json()?;
    let (id, name) = (asked.arg(0), body.display_name.as_deref());
    let made = match caller.service {
        Some(_) => device::create_or_rename(tx, caller.user, id, name)?,
        None => device::rename(tx, caller.user, id, name).map(|()| false)?,
    };
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Raw(json_answer(status, "{}")))
}

#[derive(Deserialize)]
struct One {
    auth: Option<Interactive>,
}

async fn delete(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: One = asked.json()?;
    let ids = vec![asked.arg(0).to_owned()];
    remove(&outside, &caller, ids, body.auth).await
}

#[derive(Deserialize)]
struct Many {
    auth: Option<Interactive>,
    devices: Option<Vec<String>>,
}

async fn delete_many(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Many = asked.json()?;
    let missing = || Error::missing_param("The devices are missing.");
    let ids = body.devices.ok_or_else(missing)?;
    if ids.len() > DELETE_MAX {
        return Err(Error::invalid_param(format!("At most {DELETE_MAX} devices at once.")));
    }
    remove(&outside, &caller, ids, body.auth).await
}

async fn remove(
    outside: &Outside,
    caller: &Caller,
    mut ids: Vec<String>,
    auth: Option<Interactive>,
) -> Reply<Json> {
    ids.sort_unstable();
    ids.dedup();
    let what = ["delete devices", caller.id.as_str()].into_iter();
    let ask = ask_password(what.chain(ids.iter().map(String::as_str)));
    let user = caller.user;
    guarded(outside, caller, ask, auth, move |tx| device::delete(tx, user, &ids)).await?;
    Ok("{}".to_owned().into())
}
