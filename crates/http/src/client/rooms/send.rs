//! `PUT /rooms/{roomId}/send/{eventType}/{txnId}`.

use base::{Reply, UnixMs};
use rooms::{Manner, Txn};
use ruma::{MilliSecondsSinceUnixEpoch, api::client::message::send_message_event::v3::Request};
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
    let (content, sticky_ms) = (request.body.json(), delayed::sticky(asked)?);
    let place = (&**room, kind.as_str(), None);
    let what = (content, sticky_ms);
    if let Some(answer) = delayed::instead(tx, &caller, asked, place, what, Some(txn))? {
        return Ok(answer);
    }
    let manner = Manner { sent_at: sent_at(&caller, request.timestamp), sticky_ms };
    let id = rooms::send::send_so(tx, caller.user, room, &kind, content, txn, manner)?;
    Ok(json!({ "event_id": id }).to_string().into())
}

/// When an application service says that something was sent (spec: Application Service API, "Timestamp massaging").
/// Nobody else may.
pub(super) fn sent_at(caller: &Caller, ts: Option<MilliSecondsSinceUnixEpoch>) -> Option<UnixMs> {
    ts.filter(|_| caller.service.is_some()).map(|ts| UnixMs(ts.get().into()))
}

pub(super) fn routes() -> Routes {
    Routes::default().write_asked(send)
}
