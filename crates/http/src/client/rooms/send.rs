//! `PUT /rooms/{roomId}/send/{eventType}/{txnId}`.

use base::Reply;
use rooms::Txn;
use ruma::api::client::message::send_message_event::v3::{Request, Response};
use store::Tx;

use crate::handler::{Caller, Routes};

fn send(tx: &mut Tx, caller: Caller, request: Request) -> Reply<Response> {
    let kind = request.event_type.to_string();
    let path = format!("send/{}/{kind}", request.room_id);
    let txn = Txn { device: &caller.device, path: &path, id: request.txn_id.as_str() };
    rooms::send::send(tx, caller.user, &request.room_id, &kind, request.body.json(), txn)
        .map(Response::new)
}

pub(super) fn routes() -> Routes {
    Routes::default().write(send)
}
