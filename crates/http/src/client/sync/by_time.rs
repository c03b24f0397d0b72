//! `GET /rooms/{roomId}/timestamp_to_event`, and the path that it had before (MSC3030).

use base::{Error, Reply, UnixMs};
use http::Method;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{direction, known, room_id},
        reader,
    },
    handler::{Around, Auth, Caller, Routes},
};

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let at = asked.query("ts").ok_or_else(|| Error::missing_param("ts is missing"))?;
    let at: i64 = at.parse().map_err(|_| Error::invalid_param("ts is no number"))?;
    // Before the epoch there was nothing.
    let at = UnixMs(u64::try_from(at).unwrap_or(0));
    let (room, way) = (room_id(&asked)?, direction(&asked, None)?);
    ::sync::by_time::nearest(view, &reader(&caller), &room, at, way).map(Json::from)
}

pub(super) fn routes() -> Routes {
    let paths = [
        "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event",
        "/_matrix/client/unstable/org.matrix.msc3030/rooms/{roomId}/timestamp_to_event",
    ];
    Routes::default().raw_read(Method::GET, &paths, Auth::Required, get)
}
