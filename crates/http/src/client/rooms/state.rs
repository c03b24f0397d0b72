//! `GET` and `PUT /rooms/{roomId}/state/{eventType}/{stateKey}`, `GET /rooms/{roomId}/state`.

use base::Reply;
use rooms::Manner;
use ruma::api::client::state::{
    get_state_event_for_key::{self, v3::StateEventFormat},
    get_state_events, send_state_event,
};
use serde_json::json;
use store::{Tx, View};

use super::{delayed, send::sent_at};
use crate::{
    answer::Json,
    asked::Asked,
    client::reader,
    handler::{Caller, Routes},
};

fn put(
    tx: &mut Tx,
    caller: Caller,
    request: send_state_event::v3::Request,
    asked: &Asked,
) -> Reply<Json> {
    let kind = request.event_type.to_string();
    let (room, key) = (&request.room_id, &request.state_key);
    let (content, sticky_ms) = (request.body.json(), delayed::sticky(asked)?);
    let place = (&**room, kind.as_str(), Some(key.as_str()));
    if let Some(answer) = delayed::instead(tx, &caller, asked, place, (content, sticky_ms), None)? {
        return Ok(answer);
    }
    let manner = Manner { sent_at: sent_at(&caller, request.timestamp), sticky_ms };
    let sent = rooms::state::set(tx, caller.user, room, &kind, key, content, manner)?;
    Ok(json!({ "event_id": sent.id }).to_string().into())
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
    Routes::default().write_asked(put).read(get).read(all)
}
