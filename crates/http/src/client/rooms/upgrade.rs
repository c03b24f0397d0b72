//! `POST /rooms/{roomId}/upgrade`.

use base::Reply;
use ruma::api::client::room::upgrade_room::v3::{Request, Response};
use store::Tx;

use crate::handler::{Caller, Routes};

fn upgrade(tx: &mut Tx, caller: Caller, request: Request) -> Reply<Response> {
    let Request { additional_creators, room_id, new_version, .. } = request;
    rooms::upgrade::upgrade(tx, caller.user, &room_id, &new_version, &additional_creators)
        .map(Response::new)
}

pub(super) fn routes() -> Routes {
    Routes::default().write(upgrade)
}
