//! `PUT /sendToDevice/{eventType}/{txnId}`.

use base::Reply;
use devices::to_device;
use ruma::api::client::to_device::send_event_to_device::v3::{Request, Response};
use store::{Tx, Txn};

use crate::handler::{Caller, Routes};

fn send(tx: &mut Tx, caller: Caller, request: Request) -> Reply<Response> {
    let kind = request.event_type.to_string();
    let path = format!("sendToDevice/{kind}");
    let txn = Txn { device: &caller.device, path: &path, id: request.txn_id.as_str() };
    let sender = (caller.user, &*caller.id);
    to_device::send(tx, sender, &kind, &request.messages, txn)?;
    Ok(Response::new())
}

pub(super) fn routes() -> Routes {
    Routes::default().write(send)
}
