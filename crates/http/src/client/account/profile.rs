//! `GET /profile/{userId}`; `GET`, `PUT` and `DELETE /profile/{userId}/{keyName}`.

use accounts::profile;
use base::{Error, Reply};
use http::Method;
use ruma::api::client::profile::{get_profile, get_profile_field};
use serde_json::{Map, Value};
use store::{Tx, View};

use super::{own, required, user_id};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Anyone, Around, Auth, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    // Not ruma's types: they tell a missing value from a broken one only by a text.
    const PATHS: [&str; 3] = [
        "/_matrix/client/v3/profile/{user_id}/{field}",
        "/_matrix/client/r0/profile/{user_id}/{field}",
        "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{field}",
    ];
    Routes::default()
        .read(get)
        .read(get_field)
        .raw_write(Method::PUT, &PATHS, Auth::Required, set)
        .raw_write(Method::DELETE, &PATHS, Auth::Required, remove)
}

fn get(view: &View, _: Anyone, request: get_profile::v3::Request) -> Reply<Json> {
    Ok(profile::get(view, &request.user_id)?.into())
}

fn get_field(view: &View, _: Anyone, request: get_profile_field::v3::Request) -> Reply<Json> {
    Ok(profile::get_field(view, &request.user_id, request.field.as_str())?.into())
}

fn set(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    own(&caller, &user_id(asked.arg(0))?)?;
    let body: Map<String, Value> = asked.json()?;
    let key = asked.arg(1);
    let missing = || Error::missing_param(format!("The field {key} is missing in the body."));
    let value = body.get(key).ok_or_else(missing)?;
    profile::set(tx, caller.user, key, value)?;
    Ok("{}".to_owned().into())
}

fn remove(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    own(&caller, &user_id(asked.arg(0))?)?;
    profile::remove(tx, caller.user, asked.arg(1))?;
    Ok("{}".to_owned().into())
}
