//! `GET` and `POST /publicRooms`, `GET` and `PUT /directory/list/room/{roomId}`,
//! `PUT /directory/list/appservice/{networkId}/{roomId}`.

use base::{Error, Reply};
use rooms::directory::Query;
use ruma::{
    UInt,
    api::client::{
        appservice::set_room_visibility as set_network_visibility,
        directory::{
            get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility,
        },
    },
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

/// For application services (spec: Application Service API, "Application service room directories").
fn set_network_visibility(
    tx: &mut Tx,
    caller: Caller,
    request: set_network_visibility::v3::Request,
) -> Reply<set_network_visibility::v3::Response> {
    let network = &request.network_id;
    if !caller.application_service()?.protocols.contains(network) {
        return Err(Error::forbidden("This is not a network of this application service."));
    }
    rooms::directory::set_network_visibility(tx, network, &request.room_id, &request.visibility)?;
    Ok(set_network_visibility::v3::Response::new())
}

fn all(
    view: &View,
    _: Anyone,
    request: get_public_rooms::v3::Request,
) -> Reply<get_public_rooms::v3::Response> {
    let get_public_rooms::v3::Request { server, since, limit, .. } = request;
    let query = Query {
        server: server.as_deref(),
        since: since.as_deref(),
        limit: limit.map(u64::from),
        ..Query::default()
    };
    let page = rooms::directory::page(view, &query)?;
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
    let get_public_rooms_filtered::v3::Request {
        server, since, limit, filter, room_network, ..
    } = request;
    let query = Query {
        server: server.as_deref(),
        network: room_network,
        filter,
        since: since.as_deref(),
        limit: limit.map(u64::from),
    };
    let page = rooms::directory::page(view, &query)?;
    let mut response = get_public_rooms_filtered::v3::Response::new();
    response.chunk = page.rooms;
    (response.next_batch, response.prev_batch) = (page.next, page.prev);
    response.total_room_count_estimate = UInt::new(page.total as u64);
    Ok(response)
}

pub(super) fn routes() -> Routes {
    Routes::default()
        .read(visibility)
        .write(set_visibility)
        .write(set_network_visibility)
        .read(all)
        .read(filtered)
}
