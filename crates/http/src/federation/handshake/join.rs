//! `GET /make_join/{roomId}/{userId}`, `PUT /send_join/{roomId}/{eventId}`.

use base::Reply;
use rooms::handshake::join;
use ruma::api::federation::membership::{
    create_join_event::v2 as create_join_event, prepare_join_event,
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

fn make(view: &View, origin: Origin, request: prepare_join_event::v1::Request) -> Reply<Json> {
    let prepare_join_event::v1::Request { room_id, user_id, ver, .. } = request;
    let room = admission::enter(view, &room_id, &origin.server)?;
    join::propose(view, room, &user_id, &origin.server, &ver).map(|t| proposal(&t))
}

async fn send(
    outside: Outside,
    origin: Origin,
    request: create_join_event::Request,
) -> Reply<Json> {
    let create_join_event::Request { room_id, event_id, pdu, omit_members, .. } = request;
    let lane = lane(room_id.as_str());
    let standing = Standing::Join;
    let submission = Submission { origin, room_id, event_id, pdu, standing };
    let (room, pdu) = submission.check(&outside).await?;
    let write = outside.store.write(Some(lane), move |tx| join::accept(tx, room, &pdu));
    let accepted = write.await?.value;
    let read = outside.store.read(move |view| join::answer(view, &accepted, omit_members));
    read.await.map(Json::from)
}
