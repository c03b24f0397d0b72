//! `POST /appservice/{appserviceId}/ping`.

use base::{Error, Reply};
use ruma::api::client::appservice::request_ping::v1::{Request, Response};

use crate::{
    handler::{Caller, Routes},
    outside::Outside,
};

pub(crate) fn routes() -> Routes {
    Routes::default().flow(ping)
}

async fn ping(outside: Outside, caller: Caller, request: Request) -> Reply<Response> {
    let service = caller.application_service()?;
    if service.id != request.appservice_id {
        return Err(Error::forbidden("This is another application service's id."));
    }
    let transaction = request.transaction_id.as_ref().map(|id| id.as_str());
    flows::appservice::ping::ping(&outside.bridges, service, transaction).await.map(Response::new)
}
