//! `GET /rooms/{roomId}/hierarchy`. The `via` of a request (MSC4235) names servers to ask about a space that this one is not
//! in; of its children, the space itself says whom to ask.

use base::Reply;
use flows::journey::Tour;
use http::Method;
use rooms::hierarchy::{self, Ask};

use crate::{
    answer::Json,
    asked::Asked,
    client::query::{flag, known, number, room_id, via},
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

/// A flow, because other servers are asked for rooms that this one is not in.
async fn get(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let user = known(caller)?.user;
    let ask = Ask {
        from: asked.query("from").map(|from| from.into_owned().into()),
        limit: number(&asked, "limit")?,
        max_depth: number(&asked, "max_depth")?,
        suggested_only: flag(&asked, "suggested_only")?,
    };
    let space = room_id(&asked)?;
    if outside.settings.federation_enabled {
        let tour = Tour { user, space, via: via(&asked), ask };
        return outside.journeys.hierarchy(tour).await.map(Json::from);
    }
    let page = outside.store.read(move |view| hierarchy::page(view, user, &space, &ask));
    page.await.map(Json::from)
}

pub(super) fn routes() -> Routes {
    let paths = [
        "/_matrix/client/v1/rooms/{roomId}/hierarchy",
        "/_matrix/client/unstable/org.matrix.msc2946/rooms/{roomId}/hierarchy",
    ];
    Routes::default().raw_flow(Method::GET, &paths, Auth::Required, get)
}
