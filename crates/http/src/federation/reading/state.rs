//! `GET /state/{roomId}`, `GET /state_ids/{roomId}`, `GET /event_auth/{roomId}/{eventId}`.

use base::Reply;
use rooms::snapshot;
use ruma::api::federation::{
    authorization::get_event_authorization,
    event::{get_room_state, get_room_state_ids},
};
use store::View;

use crate::{
    answer::Json,
    federation::admission,
    handler::{Origin, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(state).read(state_ids).read(event_auth)
}

fn state(view: &View, origin: Origin, request: get_room_state::v1::Request) -> Reply<Json> {
    let room = admission::member(view, &request.room_id, &origin.server)?;
    snapshot::state(view, room, &request.event_id).map(Json::from)
}

fn state_ids(view: &View, origin: Origin, request: get_room_state_ids::v1::Request) -> Reply<Json> {
    let room = admission::member(view, &request.room_id, &origin.server)?;
    snapshot::state_ids(view, room, &request.event_id).map(Json::from)
}

fn event_auth(
    view: &View,
    origin: Origin,
    request: get_event_authorization::v1::Request,
) -> Reply<Json> {
    let room = admission::member(view, &request.room_id, &origin.server)?;
    snapshot::event_auth(view, room, &request.event_id).map(Json::from)
}
