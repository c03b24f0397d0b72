//! `GET` and `POST /publicRooms`, `GET /hierarchy/{roomId}`.

use base::{Error, Reply};
use rooms::directory::{self, Page, Query};
use ruma::{
    UInt,
    api::federation::{
        directory::{get_public_rooms, get_public_rooms_filtered},
        space::get_hierarchy,
    },
    directory::Filter,
};
use store::View;

use crate::{
    answer::Json,
    federation::admission,
    handler::{Around, Origin, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read_with(all).read_with(filtered).read(hierarchy)
}

fn all(
    view: &View,
    around: Around<'_>,
    _: Origin,
    request: get_public_rooms::v1::Request,
) -> Reply<get_public_rooms::v1::Response> {
    let get_public_rooms::v1::Request { limit, since, room_network, .. } = request;
    let since = since.as_deref();
    let query = Query {
        server: None,
        network: room_network,
        filter: Filter::default(),
        since,
        limit: count(limit),
    };
    let page = page(view, around, &query)?;
    let mut response = get_public_rooms::v1::Response::new();
    response.total_room_count_estimate = UInt::new(page.total as u64);
    (response.chunk, response.next_batch, response.prev_batch) = (page.rooms, page.next, page.prev);
    Ok(response)
}

fn filtered(
    view: &View,
    around: Around<'_>,
    _: Origin,
    request: get_public_rooms_filtered::v1::Request,
) -> Reply<get_public_rooms_filtered::v1::Response> {
    let get_public_rooms_filtered::v1::Request { limit, since, filter, room_network, .. } = request;
    let since = since.as_deref();
    let query = Query { server: None, network: room_network, filter, since, limit: count(limit) };
    let page = page(view, around, &query)?;
    let mut response = get_public_rooms_filtered::v1::Response::new();
    response.total_room_count_estimate = UInt::new(page.total as u64);
    (response.chunk, response.next_batch, response.prev_batch) = (page.rooms, page.next, page.prev);
    Ok(response)
}

/// No limit is the same as a limit of 0 (spec: `GET /publicRooms`).
fn count(limit: Option<UInt>) -> Option<u64> {
    limit.map(u64::from).filter(|limit| *limit > 0)
}

fn page(view: &View, around: Around<'_>, query: &Query<'_>) -> Reply<Page> {
    if !around.settings.public_rooms {
        return Err(Error::forbidden("This server does not show its directory to other servers."));
    }
    directory::page(view, query)
}

fn hierarchy(view: &View, origin: Origin, request: get_hierarchy::v1::Request) -> Reply<Json> {
    let (id, server) = (&request.room_id, &origin.server);
    if let Some(room) = store::room::find(view, id)? {
        admission::check_acl(view, room, server)?;
    }
    rooms::hierarchy::for_server(view, server, id, request.suggested_only).map(Json::from)
}
