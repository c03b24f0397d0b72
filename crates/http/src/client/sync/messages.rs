//! `GET /rooms/{roomId}/messages`, `…/context/{eventId}` and `…/event/{eventId}`; the old
//! `GET /events/{eventId}`.

use ::sync::{filter::RoomEvents, messages::Page};
use base::Reply;
use http::Method;
use ruma::api::client::filter::RoomEventFilter;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{direction, event_id, known, limit, room_id, token},
        reader,
    },
    handler::{Around, Auth, Caller, Routes},
};

/// Events of a page when the client does not say (spec).
const LIMIT_DEFAULT: usize = 10;

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_read(
            Method::GET,
            &["/_matrix/client/v3/rooms/{roomId}/messages"],
            Auth::Required,
            messages,
        )
        .raw_read(
            Method::GET,
            &["/_matrix/client/v3/rooms/{roomId}/context/{eventId}"],
            Auth::Required,
            context,
        )
        .raw_read(
            Method::GET,
            &["/_matrix/client/v3/rooms/{roomId}/event/{eventId}"],
            Auth::Required,
            event,
        )
        .raw_read(
            Method::GET,
            &["/_matrix/client/v3/events/{eventId}"],
            Auth::Required,
            event_anywhere,
        )
}

/// The `filter` of a query: a room event filter as JSON.
fn filter(asked: &Asked) -> Reply<RoomEvents> {
    let Some(text) = asked.query("filter").filter(|f| !f.is_empty()) else {
        return Ok(RoomEvents::compile(&RoomEventFilter::default()));
    };
    RoomEvents::parse(&text)
}

fn messages(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let filter = filter(&asked)?;
    let default = filter.limit.unwrap_or(LIMIT_DEFAULT);
    let page = Page {
        room_id: &room_id(&asked)?,
        from: token(&asked, "from")?,
        to: token(&asked, "to")?,
        direction: direction(&asked, None)?,
        limit: limit(&asked, default)?,
        filter: &filter,
    };
    ::sync::messages::messages(view, &reader(&caller), &page).map(Json::from)
}

fn context(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let (room, event) = (room_id(&asked)?, event_id(&asked, 1)?);
    let limit = limit(&asked, LIMIT_DEFAULT)?;
    let filter = filter(&asked)?;
    ::sync::context::context(view, &reader(&caller), &room, &event, limit, &filter).map(Json::from)
}

fn event(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let (room, event) = (room_id(&asked)?, event_id(&asked, 1)?);
    ::sync::messages::event(view, &reader(&caller), &room, &event).map(Json::from)
}

fn event_anywhere(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let event = event_id(&asked, 0)?;
    ::sync::messages::event_anywhere(view, &reader(&caller), &event).map(Json::from)
}
