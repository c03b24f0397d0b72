//! `GET` and `PUT /user/{userId}/account_data/{type}` and `/user/{userId}/rooms/{roomId}/account_data/{type}`.

use accounts::{
    account_data::{self, GLOBAL},
    push_rules,
};
use base::{Error, Reply, Room};
use http::Method;
use ruma::api::client::config::{
    get_global_account_data, get_room_account_data, set_global_account_data, set_room_account_data,
};
use store::{Tx, View};

use super::{own, required, user_id};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    // MSC3391. The stable names have no version yet.
    const GLOBAL_PATHS: [&str; 1] =
        ["/_matrix/client/unstable/org.matrix.msc3391/user/{user_id}/account_data/{type}"];
    const ROOM_PATHS: [&str; 1] = [
        "/_matrix/client/unstable/org.matrix.msc3391/user/{user_id}/rooms/{room_id}/account_data/{type}",
    ];
    Routes::default()
        .read(get)
        .write(set)
        .read(get_of_room)
        .write(set_of_room)
        .raw_write(Method::DELETE, &GLOBAL_PATHS, Auth::Required, delete)
        .raw_write(Method::DELETE, &ROOM_PATHS, Auth::Required, delete_of_room)
}

fn delete(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    own(&caller, &user_id(asked.arg(0))?)?;
    account_data::delete(tx, caller.user, GLOBAL, asked.arg(1))?;
    Ok("{}".to_owned().into())
}

fn delete_of_room(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    own(&caller, &user_id(asked.arg(0))?)?;
    let room_id = ruma::RoomId::parse(asked.arg(1))
        .map_err(|_| Error::invalid_param("This is no room id."))?;
    let place = account_data::place(tx, &room_id)?;
    account_data::delete(tx, caller.user, place, asked.arg(2))?;
    Ok("{}".to_owned().into())
}

fn found(view: &View, caller: &Caller, place: Room, kind: &str) -> Reply<Json> {
    account_data::get(view, caller.user, place, kind)?
        .map(Json::from)
        .ok_or_else(|| Error::not_found("There is no account data of this type."))
}

fn get(view: &View, caller: Caller, request: get_global_account_data::v3::Request) -> Reply<Json> {
    own(&caller, &request.user_id)?;
    match request.event_type.to_string().as_str() {
        // There are always rules, also where none were ever stored.
        "m.push_rules" => Ok(push_rules::content(view, caller.user, &caller.id)?.into()),
        kind => found(view, &caller, GLOBAL, kind),
    }
}

fn set(
    tx: &mut Tx,
    caller: Caller,
    request: set_global_account_data::v3::Request,
) -> Reply<set_global_account_data::v3::Response> {
    own(&caller, &request.user_id)?;
    let kind = request.event_type.to_string();
    account_data::set(tx, caller.user, GLOBAL, &kind, request.data.json().get())?;
    Ok(set_global_account_data::v3::Response::new())
}

fn get_of_room(
    view: &View,
    caller: Caller,
    request: get_room_account_data::v3::Request,
) -> Reply<Json> {
    own(&caller, &request.user_id)?;
    let place = account_data::place(view, &request.room_id)?;
    found(view, &caller, place, &request.event_type.to_string())
}

fn set_of_room(
    tx: &mut Tx,
    caller: Caller,
    request: set_room_account_data::v3::Request,
) -> Reply<set_room_account_data::v3::Response> {
    own(&caller, &request.user_id)?;
    let place = account_data::place(tx, &request.room_id)?;
    let kind = request.event_type.to_string();
    account_data::set(tx, caller.user, place, &kind, request.data.json().get())?;
    Ok(set_room_account_data::v3::Response::new())
}
