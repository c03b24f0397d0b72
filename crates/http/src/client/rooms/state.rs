//! `GET` and `PUT /rooms/{roomId}/state/{eventType}/{stateKey}`, `GET /rooms/{roomId}/state`.

use base::Reply;
use ruma::api::client::state::{
    get_state_event_for_key::{self, v3::StateEventFormat},
    get_state_events, send_state_event,
};
use store::{Tx, View};

use super::send::sent_at;
use crate::{
    answer::Json,
    client::reader,
    handler::{Caller, Routes},
};

fn put(
    tx: &mut Tx,
    caller: Caller,
    request: send_state_event::v3::Request,
) -> Reply<send_state_event::v3::Response> {
    let kind = request.event_type.to_string();
    let (room, key) = (&request.room_id, &request.state_key);
    let sent_at = sent_at(&caller, request.timestamp);
    rooms::state::put_dated(tx, caller.user, room, &kind, key, request.body.json(), sent_at)
        .map(send_state_event::v3::Response::new)
}

fn get(view: &View, caller: Caller, request: get_state_event_for_key::v3::Request) -> Reply<Json> {
    let kind = request.event_type.to_string();
    let whole = matches!(request.format, StateEventFormat::Event);
    let slot = (kind.as_str(), request.state_key.as_str());
    ::sync::state::get(view, &reader(&caller), &request.room_id, slot, whole).map(Json::from)
}

fn all(view: &View, caller: Caller, request: get_state_events::v3::Request) -> Reply<Json> {
    ::sync::state::all(view, &reader(&caller), &request.room_id).map(Json::from)
}

pub(super) fn routes() -> Routes {
    Routes::default().write(put).read(get).read(all)
}
