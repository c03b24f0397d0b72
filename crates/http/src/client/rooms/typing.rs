//! `PUT /rooms/{roomId}/typing/{userId}`.

use base::Reply;
use ruma::api::client::typing::create_typing_event::v3::{Request, Response, Typing};

use crate::{
    handler::{Caller, Routes},
    outside::Outside,
};

async fn set(outside: Outside, caller: Caller, request: Request) -> Reply<Response> {
    let timeout_ms = match request.state {
        Typing::Yes(info) => u64::try_from(info.timeout.as_millis()).unwrap_or(u64::MAX),
        Typing::No => 0,
    };
    let types = matches!(request.state, Typing::Yes(_));
    let user = caller.user;
    let permitted = outside.store.read(move |view| {
        rooms::typing::permit(view, user, &request.room_id, &request.user_id, timeout_ms)
    });
    let (room, until) = permitted.await?;
    outside.store.set_typing(room, user, types.then_some(until));
    Ok(Response::new())
}

pub(super) fn routes() -> Routes {
    Routes::default().flow(set)
}
