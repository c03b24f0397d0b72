//! `PUT /rooms/{roomId}/redact/{eventId}/{txnId}`.

use base::Reply;
use rooms::Txn;
use ruma::api::client::redact::redact_event::v3::{Request, Response};
use store::Tx;

use crate::handler::{Caller, Routes};

fn redact(tx: &mut Tx, caller: Caller, request: Request) -> Reply<Response> {
    let Request { room_id, event_id, txn_id, reason, .. } = request;
    let path = format!("redact/{room_id}/{event_id}");
    let txn = Txn { device: &caller.device, path: &path, id: txn_id.as_str() };
    let (user, admin) = (caller.user, caller.admin);
    rooms::redact::redact(tx, user, &room_id, &event_id, reason.as_deref(), admin, txn)
        .map(Response::new)
}

pub(super) fn routes() -> Routes {
    Routes::default().write(redact)
}
