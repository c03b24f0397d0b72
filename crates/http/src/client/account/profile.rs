//! `GET /profile/{userId}`; `GET`, `PUT` and `DELETE /profile/{userId}/{keyName}`.

use accounts::profile;
use base::{Error, Reply};
use flows::appservice::query;
use http::Method;
use ruma::{
    OwnedUserId,
    api::client::profile::{get_profile, get_profile_field},
};
use serde_json::{Map, Value, json};
use store::{Tx, View};

use super::{own, required, user_id};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Anyone, Around, Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    // Not ruma's types: they tell a missing value from a broken one only by a text.
    const PATHS: [&str; 3] = [
        "/_matrix/client/v3/profile/{user_id}/{field}",
        "/_matrix/client/r0/profile/{user_id}/{field}",
        "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{field}",
    ];
    Routes::default()
        .flow(get)
        .flow(get_field)
        .raw_write(Method::PUT, &PATHS, Auth::Required, set)
        .raw_write(Method::DELETE, &PATHS, Auth::Required, remove)
}

async fn get(outside: Outside, _: Anyone, request: get_profile::v3::Request) -> Reply<Json> {
    let id = request.user_id;
    if id.server_name() != outside.settings.server_name {
        let profile = outside.journeys.profile(&id).await?;
        return Ok(Value::Object((*profile).clone()).to_string().into());
    }
    look_up(&outside, id.clone(), move |view| profile::get(view, &id)).await
}

async fn get_field(
    outside: Outside,
    _: Anyone,
    request: get_profile_field::v3::Request,
) -> Reply<Json> {
    let (id, field) = (request.user_id, request.field);
    if id.server_name() != outside.settings.server_name {
        let profile = outside.journeys.profile(&id).await?;
        let none = || Error::not_found("the profile has no such field");
        let value = profile.get(field.as_str()).ok_or_else(none)?;
        return Ok(json!({ field.as_str(): value }).to_string().into());
    }
    look_up(&outside, id.clone(), move |view| profile::get_field(view, &id, field.as_str())).await
}

/// Who is not known here may be known to an application service.
async fn look_up(
    outside: &Outside,
    id: OwnedUserId,
    read: impl Fn(&View) -> Reply<String> + Clone + Send + 'static,
) -> Reply<Json> {
    let found = outside.store.read(read.clone()).await;
    if matches!(&found, Err(Error::Refused(no)) if no.status == 404)
        && query::look_for_user(&outside.store, &outside.bridges, &id).await?
    {
        return Ok(outside.store.read(read).await?.into());
    }
    Ok(found?.into())
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
