//! `GET /rooms/{roomId}/messages`, `…/context/{eventId}` and `…/event/{eventId}`; the old
//! `GET /events/{eventId}`.

use ::sync::{
    filter::RoomEvents,
    messages::{Page, Read},
};
use base::Reply;
use flows::journey::past;
use http::Method;
use ruma::api::client::filter::RoomEventFilter;
use store::{Direction, View};

use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{direction, event_id, known, limit, room_id, token},
        reader,
    },
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};

/// Events of a page when the client does not say (spec).
const LIMIT_DEFAULT: usize = 10;

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_flow(
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

/// A flow, because where what is here ends, other servers are asked for what was before.
async fn messages(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let id = room_id(&asked)?;
    let backward = direction(&asked, None)? == Direction::Backward;
    let (reader, question) = (caller.clone(), asked.clone());
    let first = outside.store.read(move |view| {
        let read = page(view, &reader, &question)?;
        let gaps = if backward { past::gaps(view, read.room, read.span)? } else { Vec::new() };
        Ok((read.body, gaps))
    });
    let (body, gaps) = first.await?;
    if gaps.is_empty() || !outside.journeys.look_back(&id, gaps).await? {
        return Ok(body.into());
    }
    let again = outside.store.read(move |view| Ok(page(view, &caller, &asked)?.body));
    again.await.map(Json::from)
}

fn page(view: &View, caller: &Caller, asked: &Asked) -> Reply<Read> {
    let filter = filter(asked)?;
    let default = filter.limit.unwrap_or(LIMIT_DEFAULT);
    let page = Page {
        room_id: &room_id(asked)?,
        from: token(asked, "from")?,
        to: token(asked, "to")?,
        direction: direction(asked, None)?,
        limit: limit(asked, default)?,
        filter: &filter,
    };
    ::sync::messages::read(view, &reader(caller), &page)
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
