//! `GET /make_knock/{roomId}/{userId}`, `PUT /send_knock/{roomId}/{eventId}`.

use base::Reply;
use rooms::handshake::knock;
use ruma::api::federation::membership::{
    create_knock_event::v1 as create_knock_event, prepare_knock_event::v1 as prepare_knock_event,
};
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

fn make(view: &View, origin: Origin, request: prepare_knock_event::Request) -> Reply<Json> {
    let prepare_knock_event::Request { room_id, user_id, ver, .. } = request;
    let room = admission::enter(view, &room_id, &origin.server)?;
    knock::propose(view, room, &user_id, &origin.server, &ver).map(|t| proposal(&t))
}

async fn send(
    outside: Outside,
    origin: Origin,
    request: create_knock_event::Request,
) -> Reply<Json> {
    let create_knock_event::Request { room_id, event_id, pdu, .. } = request;
    let lane = lane(room_id.as_str());
    let standing = Standing::Knock;
    let submission = Submission { origin, room_id, event_id, pdu, standing };
    let (room, pdu) = submission.check(&outside).await?;
    let write = outside.store.write(Some(lane), move |tx| knock::accept(tx, room, &pdu));
    let event = write.await?.value;
    let read = outside.store.read(move |view| knock::answer(view, room, event));
    read.await.map(Json::from)
}
