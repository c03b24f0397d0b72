//! `GET`, `PUT` and `DELETE /directory/room/{roomAlias}`, `GET /rooms/{roomId}/aliases`.

use base::Reply;
use ruma::api::client::{
    alias::{create_alias, delete_alias, get_alias},
    room::aliases,
};
use store::{Tx, View};

use crate::handler::{Anyone, Caller, Routes};

fn get(view: &View, _: Anyone, request: get_alias::v3::Request) -> Reply<get_alias::v3::Response> {
    let room_id = rooms::alias::lookup(view, &request.room_alias)?;
    Ok(get_alias::v3::Response::new(room_id, vec![view.server_name().to_owned()]))
}

fn put(
    tx: &mut Tx,
    caller: Caller,
    request: create_alias::v3::Request,
) -> Reply<create_alias::v3::Response> {
    rooms::alias::put(tx, caller.user, &request.room_alias, &request.room_id)?;
    Ok(create_alias::v3::Response::new())
}

fn delete(
    tx: &mut Tx,
    caller: Caller,
    request: delete_alias::v3::Request,
) -> Reply<delete_alias::v3::Response> {
    rooms::alias::delete(tx, caller.user, caller.admin, &request.room_alias)?;
    Ok(delete_alias::v3::Response::new())
}

fn list(
    view: &View,
    caller: Caller,
    request: aliases::v3::Request,
) -> Reply<aliases::v3::Response> {
    rooms::alias::list(view, caller.user, &request.room_id).map(aliases::v3::Response::new)
}

pub(super) fn routes() -> Routes {
    Routes::default().read(get).write(put).write(delete).read(list)
}
