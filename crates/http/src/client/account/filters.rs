//! `POST /user/{userId}/filter`, `GET /user/{userId}/filter/{filterId}`.

use accounts::filter;
use base::Reply;
use http::Method;
use ruma::api::client::filter::get_filter;
use serde_json::{json, value::RawValue};
use store::{Tx, View};

use super::{own, required, user_id};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    // Not ruma's type: a filter is given back as it came, with the fields that ruma does not know.
    const PATHS: [&str; 2] =
        ["/_matrix/client/v3/user/{user_id}/filter", "/_matrix/client/r0/user/{user_id}/filter"];
    Routes::default().raw_write(Method::POST, &PATHS, Auth::Required, put).read(get)
}

fn put(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    own(&caller, &user_id(asked.arg(0))?)?;
    let text: Box<RawValue> = asked.json()?;
    let id = filter::put(tx, caller.user, text.get())?;
    Ok(json!({ "filter_id": id }).to_string().into())
}

fn get(view: &View, caller: Caller, request: get_filter::v3::Request) -> Reply<Json> {
    own(&caller, &request.user_id)?;
    Ok(filter::get(view, caller.user, &request.filter_id)?.into())
}
