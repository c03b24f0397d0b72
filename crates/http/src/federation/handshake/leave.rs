//! `GET /make_leave/{roomId}/{userId}`, `PUT /send_leave/{roomId}/{eventId}`.

use base::Reply;
use rooms::handshake::leave;
use ruma::api::federation::membership::{create_leave_event, prepare_leave_event};
use store::{View, schema::Standing};

use super::submission::{Submission, proposal};
use crate::{
    answer::Json,
    federation::admission,
    handler::{Origin, Routes},
    outside::{Outside, lane},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(make).flow(send)
}

fn make(view: &View, origin: Origin, request: prepare_leave_event::v1::Request) -> Reply<Json> {
    let room = admission::enter(view, &request.room_id, &origin.server)?;
    leave::propose(view, room, &request.user_id, &origin.server).map(|t| proposal(&t))
}

async fn send(
    outside: Outside,
    origin: Origin,
    request: create_leave_event::v2::Request,
) -> Reply<create_leave_event::v2::Response> {
    let create_leave_event::v2::Request { room_id, event_id, pdu, .. } = request;
    let lane = lane(room_id.as_str());
    let standing = Standing::Leave;
    let submission = Submission { origin, room_id, event_id, pdu, standing };
    let (room, pdu) = submission.check(&outside).await?;
    outside.store.write(Some(lane), move |tx| leave::accept(tx, room, &pdu)).await?;
    Ok(create_leave_event::v2::Response::new())
}
