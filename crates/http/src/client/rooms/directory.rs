//! `GET` and `POST /publicRooms`, `GET` and `PUT /directory/list/room/{roomId}`,
//! `PUT /directory/list/appservice/{networkId}/{roomId}`.

use base::{Error, Reply};
use flows::journey::Listing;
use rooms::directory::Query;
use ruma::{
    OwnedServerName, UInt,
    api::{
        client::{
            appservice::set_room_visibility as set_network_visibility,
            directory::{
                get_public_rooms, get_public_rooms_filtered, get_room_visibility,
                set_room_visibility,
            },
        },
        federation::directory as theirs,
    },
};
use store::{Tx, View};

use crate::{
    handler::{Anyone, Caller, Routes},
    outside::Outside,
};

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

async fn all(
    outside: Outside,
    _: Anyone,
    request: get_public_rooms::v3::Request,
) -> Reply<get_public_rooms::v3::Response> {
    let get_public_rooms::v3::Request { server, since, limit, .. } = request;
    let page = if let Some(server) = elsewhere(&outside, server) {
        let mut ask = theirs::get_public_rooms::v1::Request::new();
        (ask.limit, ask.since) = (limit, since);
        outside.journeys.public_rooms(&server, ask).await?
    } else {
        let limit = limit.map(u64::from);
        let read = outside.store.read(move |view| {
            let since = since.as_deref();
            rooms::directory::page(view, &Query { since, limit, ..Query::default() })
        });
        listing(read.await?)
    };
    let mut response = get_public_rooms::v3::Response::new(page.rooms);
    (response.next_batch, response.prev_batch) = (page.next, page.prev);
    response.total_room_count_estimate = page.total;
    Ok(response)
}

async fn filtered(
    outside: Outside,
    _: Caller,
    request: get_public_rooms_filtered::v3::Request,
) -> Reply<get_public_rooms_filtered::v3::Response> {
    let get_public_rooms_filtered::v3::Request {
        server, since, limit, filter, room_network, ..
    } = request;
    let page = if let Some(server) = elsewhere(&outside, server) {
        let mut ask = theirs::get_public_rooms_filtered::v1::Request::new();
        (ask.limit, ask.since, ask.filter, ask.room_network) = (limit, since, filter, room_network);
        outside.journeys.public_rooms_filtered(&server, ask).await?
    } else {
        let limit = limit.map(u64::from);
        let read = outside.store.read(move |view| {
            let since = since.as_deref();
            let query = Query { server: None, network: room_network, filter, since, limit };
            rooms::directory::page(view, &query)
        });
        listing(read.await?)
    };
    let mut response = get_public_rooms_filtered::v3::Response::new();
    response.chunk = page.rooms;
    (response.next_batch, response.prev_batch) = (page.next, page.prev);
    response.total_room_count_estimate = page.total;
    Ok(response)
}

/// The server whose directory is meant, if that is not this one.
fn elsewhere(outside: &Outside, server: Option<OwnedServerName>) -> Option<OwnedServerName> {
    server.filter(|server| *server != outside.settings.server_name)
}

fn listing(page: rooms::directory::Page) -> Listing {
    let total = UInt::new(page.total as u64);
    Listing { rooms: page.rooms, next: page.next, prev: page.prev, total }
}

pub(super) fn routes() -> Routes {
    Routes::default()
        .read(visibility)
        .write(set_visibility)
        .write(set_network_visibility)
        .flow(all)
        .flow(filtered)
}
