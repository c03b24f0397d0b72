//! `GET /event/{eventId}`, `GET /timestamp_to_event/{roomId}`.

use base::{Reply, UnixMs};
use ruma::api::{
    Direction,
    federation::event::{get_event, get_event_by_timestamp},
};
use store::View;

use crate::{
    answer::Json,
    federation::admission,
    handler::{Origin, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(event).read(nearest)
}

fn event(view: &View, origin: Origin, request: get_event::v1::Request) -> Reply<Json> {
    if let Some(stored) = store::event::load_id(view, &request.event_id)? {
        admission::check_acl(view, stored.row.room, &origin.server)?;
    }
    let pdu = sync::ancestors::one(view, &origin.server, &request.event_id)?;
    Ok(transaction(view, &[pdu]))
}

/// Events in the form of a transaction.
pub(super) fn transaction(view: &View, pdus: &[String]) -> Json {
    let (server, now) = (protocol::json::quote(view.server_name().as_str()), view.now().0);
    let pdus = pdus.join(",");
    format!(r#"{{"origin":{server},"origin_server_ts":{now},"pdus":[{pdus}]}}"#).into()
}

fn nearest(
    view: &View,
    origin: Origin,
    request: get_event_by_timestamp::v1::Request,
) -> Reply<Json> {
    let gate = admission::gate(view, &request.room_id, &origin.server)?;
    let direction = match request.dir {
        Direction::Forward => store::Direction::Forward,
        Direction::Backward => store::Direction::Backward,
    };
    let at = UnixMs(u64::from(request.ts.get()));
    sync::by_time::nearest_for_server(view, &gate, at, direction).map(Json::from)
}
