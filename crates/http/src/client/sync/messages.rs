//! `GET /rooms/{roomId}/messages`, `…/context/{eventId}` and `…/event/{eventId}`.

use ::sync::{
    filter::{FILTER_BYTES_MAX, RoomEvents},
    messages::{Page, Reader},
};
use base::{Error, Reply};
use http::Method;
use ruma::api::client::filter::RoomEventFilter;
use store::View;

use super::{direction, event_id, limit, room_id, token};
use crate::{
    answer::Json,
    asked::Asked,
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
}

/// The caller of an endpoint that requires one.
pub(super) fn known(caller: Option<Caller>) -> Reply<Caller> {
    caller.ok_or_else(|| Error::fault("an authenticated endpoint has no caller"))
}

pub(super) fn reader(caller: &Caller) -> Reader<'_> {
    Reader { user: caller.user, id: &caller.id, device: &caller.device }
}

/// The `filter` of a query: a room event filter as JSON.
fn filter(asked: &Asked) -> Reply<RoomEvents> {
    let Some(text) = asked.query("filter").filter(|f| !f.is_empty()) else {
        return Ok(RoomEvents::compile(&RoomEventFilter::default()));
    };
    if text.len() > FILTER_BYTES_MAX {
        return Err(Error::too_large("the filter is too large"));
    }
    let filter = serde_json::from_str(&text)
        .map_err(|e| Error::invalid_param(format!("bad filter: {e}")))?;
    Ok(RoomEvents::compile(&filter))
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
    let (room, event) = (room_id(&asked)?, event_id(&asked)?);
    let limit = limit(&asked, LIMIT_DEFAULT)?;
    let filter = filter(&asked)?;
    ::sync::context::context(view, &reader(&caller), &room, &event, limit, &filter).map(Json::from)
}

fn event(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let (room, event) = (room_id(&asked)?, event_id(&asked)?);
    ::sync::messages::event(view, &reader(&caller), &room, &event).map(Json::from)
}
