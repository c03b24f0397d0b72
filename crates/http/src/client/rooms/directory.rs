//! `GET` and `POST /publicRooms`, `GET` and `PUT /directory/list/room/{roomId}`.

use base::Reply;
use ruma::{
    UInt,
    api::client::directory::{
        get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility,
    },
    directory::Filter,
};
use store::{Tx, View};

use crate::handler::{Anyone, Caller, Routes};

fn visibility(
    view: &View,
    _: Anyone,
    request: get_room_visibility::v3::Request,
) -> Reply<get_room_visibility::v3::Response> {
    rooms::directory::visibility(view, &request.room_id).map(get_room_visibility::v3::Response::new)
}

fn set_visibility(
    tx: &mut Tx,
    caller: Caller,
    request: set_room_visibility::v3::Request,
) -> Reply<set_room_visibility::v3::Response> {
    let (user, admin) = (caller.user, caller.admin);
    rooms::directory::set_visibility(tx, user, admin, &request.room_id, &request.visibility)?;
    Ok(set_room_visibility::v3::Response::new())
}

fn all(
    view: &View,
    _: Anyone,
    request: get_public_rooms::v3::Request,
) -> Reply<get_public_rooms::v3::Response> {
    let get_public_rooms::v3::Request { server, since, limit, .. } = request;
    let (filter, limit) = (Filter::new(), limit.map(u64::from));
    let page = rooms::directory::page(view, server.as_deref(), &filter, since.as_deref(), limit)?;
    let mut response = get_public_rooms::v3::Response::new(page.rooms);
    (response.next_batch, response.prev_batch) = (page.next, page.prev);
    response.total_room_count_estimate = UInt::new(page.total as u64);
    Ok(response)
}

fn filtered(
    view: &View,
    _: Caller,
    request: get_public_rooms_filtered::v3::Request,
) -> Reply<get_public_rooms_filtered::v3::Response> {
    let get_public_rooms_filtered::v3::Request { server, since, limit, filter, .. } = request;
    let limit = limit.map(u64::from);
    let page = rooms::directory::page(view, server.as_deref(), &filter, since.as_deref(), limit)?;
    let mut response = get_public_rooms_filtered::v3::Response::new();
    response.chunk = page.rooms;
    (response.next_batch, response.prev_batch) = (page.next, page.prev);
    response.total_room_count_estimate = UInt::new(page.total as u64);
    Ok(response)
}

pub(super) fn routes() -> Routes {
    Routes::default().read(visibility).write(set_visibility).read(all).read(filtered)
}
