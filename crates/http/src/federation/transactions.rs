//! What other servers send (spec: Server-Server API, "Transactions").

use base::Reply;
use flows::inbound::Sent;
use ruma::api::federation::transactions::send_transaction_message::v1::{Request, Response};

use crate::{Origin, Outside, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().flow(send)
}

async fn send(outside: Outside, origin: Origin, request: Request) -> Reply<Response> {
    let sent = Sent {
        origin: origin.server,
        id: request.transaction_id.to_string(),
        pdus: request.pdus,
        edus: request.edus.into_iter().map(|edu| edu.into_json()).collect(),
    };
    let taken = outside.inbound.take(sent).await?;
    let pdus = taken.into_iter().map(|(id, why)| (id, why.map_or(Ok(()), Err)));
    Ok(Response::new(pdus.collect()))
}
