//! `PUT /rooms/{roomId}/send/{eventType}/{txnId}`.

use base::Reply;
use rooms::Txn;
use ruma::api::client::message::send_message_event::v3::Request;
use serde_json::json;
use store::Tx;

use super::delayed;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Caller, Routes},
};

fn send(tx: &mut Tx, caller: Caller, request: Request, asked: &Asked) -> Reply<Json> {
    let kind = request.event_type.to_string();
    let room = &request.room_id;
    let path = format!("send/{room}/{kind}");
    let txn = Txn { device: &caller.device, path: &path, id: request.txn_id.as_str() };
    let what = (request.body.json(), delayed::sticky(asked)?);
    let place = (&**room, kind.as_str(), None);
    if let Some(answer) = delayed::instead(tx, &caller, asked, place, what, Some(txn))? {
        return Ok(answer);
    }
    let id = rooms::send::send_sticky(tx, caller.user, room, &kind, what, txn)?;
    Ok(json!({ "event_id": id }).to_string().into())
}

pub(super) fn routes() -> Routes {
    Routes::default().write_asked(send)
}
