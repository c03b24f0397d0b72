//! `POST /createRoom`.

use base::Reply;
use ruma::api::client::room::create_room::v3::{Request, Response};
use store::Tx;

use crate::handler::{Around, Caller, Routes};

fn create(tx: &mut Tx, around: Around<'_>, caller: Caller, request: Request) -> Reply<Response> {
    let version = &around.settings.default_room_version;
    rooms::create::create(tx, caller.user, version, &request).map(Response::new)
}

pub(super) fn routes() -> Routes {
    Routes::default().write_with(create)
}
