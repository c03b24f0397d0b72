//! `GET /rooms/{roomId}/initialSync`, and the old `GET /initialSync`.

use base::{Reply, limits::SYNC_TIMELINE_MAX};
use http::Method;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{flag, known, limit, room_id},
        reader,
    },
    handler::{Around, Auth, Caller, Routes},
};

/// Messages of a room when the client does not say.
const MESSAGES_DEFAULT: usize = 10;

fn room(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let limit = limit(&asked, MESSAGES_DEFAULT)?.min(SYNC_TIMELINE_MAX);
    let room = room_id(&asked)?;
    ::sync::initial_sync::of_room(view, &reader(&caller), &room, limit).map(Json::from)
}

fn all(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let limit = limit(&asked, MESSAGES_DEFAULT)?.min(SYNC_TIMELINE_MAX);
    let archived = flag(&asked, "archived")?;
    ::sync::initial_sync::of_all(view, &reader(&caller), limit, archived).map(Json::from)
}

pub(super) fn routes() -> Routes {
    let of_room = ["/_matrix/client/v3/rooms/{roomId}/initialSync"];
    Routes::default().raw_read(Method::GET, &of_room, Auth::Required, room).raw_read(
        Method::GET,
        &["/_matrix/client/v3/initialSync"],
        Auth::Required,
        all,
    )
}
