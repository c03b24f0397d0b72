//! `GET /user/{userId}/rooms/{roomId}/tags`; `PUT` and `DELETE …/tags/{tag}`.

use accounts::{account_data, tag};
use base::Reply;
use http::Method;
use ruma::api::client::tag::{delete_tag, get_tags};
use serde_json::{Value, json};
use store::{Tx, View};

use super::{own, required, user_id};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    // Not ruma's type: it would drop the fields that it does not know.
    const PATHS: [&str; 2] = [
        "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}",
        "/_matrix/client/r0/user/{user_id}/rooms/{room_id}/tags/{tag}",
    ];
    Routes::default().read(list).raw_write(Method::PUT, &PATHS, Auth::Required, set).write(remove)
}

fn list(view: &View, caller: Caller, request: get_tags::v3::Request) -> Reply<Json> {
    own(&caller, &request.user_id)?;
    let place = account_data::place(view, &request.room_id)?;
    Ok(json!({ "tags": tag::list(view, caller.user, place)? }).to_string().into())
}

fn set(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    own(&caller, &user_id(asked.arg(0))?)?;
    let room_id = ruma::RoomId::parse(asked.arg(1))
        .map_err(|_| base::Error::invalid_param("This is no room id."))?;
    let info: Value = asked.json()?;
    let place = account_data::place(tx, &room_id)?;
    tag::set(tx, caller.user, place, asked.arg(2), info)?;
    Ok("{}".to_owned().into())
}

fn remove(
    tx: &mut Tx,
    caller: Caller,
    request: delete_tag::v3::Request,
) -> Reply<delete_tag::v3::Response> {
    own(&caller, &request.user_id)?;
    let place = account_data::place(tx, &request.room_id)?;
    tag::remove(tx, caller.user, place, &request.tag)?;
    Ok(delete_tag::v3::Response::new())
}
