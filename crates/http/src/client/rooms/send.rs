//! `PUT /rooms/{roomId}/send/{eventType}/{txnId}`.

use base::{Reply, UnixMs};
use rooms::Txn;
use ruma::{
    MilliSecondsSinceUnixEpoch,
    api::client::message::send_message_event::v3::{Request, Response},
};
use store::Tx;

use crate::handler::{Caller, Routes};

fn send(tx: &mut Tx, caller: Caller, request: Request) -> Reply<Response> {
    let kind = request.event_type.to_string();
    let path = format!("send/{}/{kind}", request.room_id);
    let txn = Txn { device: &caller.device, path: &path, id: request.txn_id.as_str() };
    let (room, content) = (&request.room_id, request.body.json());
    let sent_at = sent_at(&caller, request.timestamp);
    rooms::send::send_dated(tx, caller.user, room, &kind, content, txn, sent_at).map(Response::new)
}

/// When an application service says that something was sent (spec: Application Service API, "Timestamp massaging").
/// Nobody else may.
pub(super) fn sent_at(caller: &Caller, ts: Option<MilliSecondsSinceUnixEpoch>) -> Option<UnixMs> {
    ts.filter(|_| caller.service.is_some()).map(|ts| UnixMs(ts.get().into()))
}

pub(super) fn routes() -> Routes {
    Routes::default().write(send)
}
