//! `GET /rooms/{roomId}/relations/{eventId}[/{relType}[/{eventType}]]` and `…/threads`.

use ::sync::relations::Ask;
use base::{Error, Reply};
use http::Method;
use store::{Direction, View};

use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{direction, event_id, flag, known, limit, room_id, token},
        reader,
    },
    handler::{Around, Auth, Caller, Routes},
};

/// Children of a page when the client does not say (the spec leaves it to us).
const CHILDREN_DEFAULT: usize = 50;
/// Threads of a page when the client does not say (the spec leaves it to us).
const THREADS_DEFAULT: usize = 20;

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_read(
            Method::GET,
            &[
                "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}",
                "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}",
                "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}",
            ],
            Auth::Required,
            relations,
        )
        .raw_read(
            Method::GET,
            &["/_matrix/client/v1/rooms/{roomId}/threads"],
            Auth::Required,
            threads,
        )
}

fn relations(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let given = |place: usize| Some(asked.arg(place)).filter(|text| !text.is_empty());
    let ask = Ask {
        room_id: &room_id(&asked)?,
        event_id: &event_id(&asked, 1)?,
        rel_type: given(2),
        event_type: given(3),
        from: token(&asked, "from")?,
        to: token(&asked, "to")?,
        direction: direction(&asked, Some(Direction::Backward))?,
        limit: limit(&asked, CHILDREN_DEFAULT)?,
        recurse: flag(&asked, "recurse")?,
    };
    if ask.limit == 0 {
        return Err(Error::invalid_param("limit must be greater than 0"));
    }
    ::sync::relations::relations(view, &reader(&caller), &ask).map(Json::from)
}

fn threads(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let participated = match asked.query("include").as_deref() {
        None | Some("all") => false,
        Some("participated") => true,
        Some(_) => return Err(Error::invalid_param("include is neither all nor participated")),
    };
    let (from, limit) = (token(&asked, "from")?, limit(&asked, THREADS_DEFAULT)?);
    if limit == 0 {
        return Err(Error::invalid_param("limit must be greater than 0"));
    }
    let room = room_id(&asked)?;
    ::sync::threads::threads(view, &reader(&caller), &room, participated, from, limit)
        .map(Json::from)
}
