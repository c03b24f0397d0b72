//! `GET /rooms/{roomId}/hierarchy`. The `via` of a request (MSC4235) names servers to ask about a space that this one does
//! not know; of one that it knows, it is not needed.

use base::Reply;
use http::Method;
use rooms::hierarchy::{self, Ask};
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    client::query::{flag, known, number, room_id},
    handler::{Around, Auth, Caller, Routes},
};

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let from = asked.query("from");
    let ask = Ask {
        from: from.as_deref(),
        limit: number(&asked, "limit")?,
        max_depth: number(&asked, "max_depth")?,
        suggested_only: flag(&asked, "suggested_only")?,
    };
    hierarchy::page(view, caller.user, &room_id(&asked)?, &ask).map(Json::from)
}

pub(super) fn routes() -> Routes {
    let paths = [
        "/_matrix/client/v1/rooms/{roomId}/hierarchy",
        "/_matrix/client/unstable/org.matrix.msc2946/rooms/{roomId}/hierarchy",
    ];
    Routes::default().raw_read(Method::GET, &paths, Auth::Required, get)
}
