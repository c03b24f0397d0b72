//! `…/rooms/{roomId}/thread/{eventId}/subscription` (MSC4306), and what has changed of all of them (MSC4308).

use base::{Error, Reply};
use http::Method;
use rooms::thread_subscription;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::json;
use store::{Tx, View};
use sync::{Token, json::Out, thread_subscriptions};

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

/// Changes on one page if the client does not say (MSC4308), and at most.
const PAGE: (usize, usize) = (100, 500);

pub(super) fn routes() -> Routes {
    const ONE: [&str; 1] = [
        "/_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription",
    ];
    const ALL: [&str; 1] = ["/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"];
    Routes::default()
        .raw_read(Method::GET, &ONE, Auth::Required, get)
        .raw_write(Method::PUT, &ONE, Auth::Required, put)
        .raw_write(Method::DELETE, &ONE, Auth::Required, delete)
        .raw_read(Method::GET, &ALL, Auth::Required, changes)
}

fn required(caller: Option<Caller>) -> Reply<Caller> {
    caller.ok_or_else(|| Error::fault("an authenticated endpoint has no caller"))
}

fn place(asked: &Asked) -> Reply<(OwnedRoomId, OwnedEventId)> {
    let room = OwnedRoomId::try_from(asked.arg(0));
    let event = OwnedEventId::try_from(asked.arg(1));
    match (room, event) {
        (Ok(room), Ok(event)) => Ok((room, event)),
        _ => Err(Error::invalid_param("not a room id and an event id")),
    }
}

fn empty() -> Json {
    "{}".to_owned().into()
}

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let (room, root) = place(&asked)?;
    let automatic = thread_subscription::get(view, required(caller)?.user, &room, &root)?;
    Ok(json!({ "automatic": automatic }).to_string().into())
}

fn put(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    #[derive(Deserialize)]
    struct Body {
        automatic: Option<OwnedEventId>,
    }
    let (room, root) = place(&asked)?;
    let body: Body = asked.json()?;
    let user = required(caller)?.user;
    thread_subscription::subscribe(tx, user, &room, &root, body.automatic.as_deref())?;
    Ok(empty())
}

fn delete(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let (room, root) = place(&asked)?;
    thread_subscription::unsubscribe(tx, required(caller)?.user, &room, &root)?;
    Ok(empty())
}

fn changes(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    match asked.query("dir").as_deref() {
        Some("b") => {}
        Some(_) => return Err(Error::invalid_param("dir is b")),
        None => return Err(Error::missing_param("dir is missing")),
    }
    let token = |name| asked.query(name).map(|text| Token::parse(&text)).transpose();
    let upto = token("from")?.map_or(view.head(), |token| token.seq.min(view.head()));
    let after = token("to")?.unwrap_or_default().seq;
    let limit = match asked.query("limit") {
        None => PAGE.0,
        Some(text) => match text.parse::<usize>() {
            Ok(limit @ 1..) => limit.min(PAGE.1),
            _ => return Err(Error::invalid_param("limit is a positive number")),
        },
    };
    let user = required(caller)?.user;
    let mut found = thread_subscriptions::changes(view, user, after, upto, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let mut out = Out::default();
    out.open();
    thread_subscriptions::write(view, &mut out, &found)?;
    if let Some(oldest) = found.last().filter(|_| more) {
        out.key("end").text(&Token::at(base::Seq(oldest.at.0 - 1)).to_string());
    }
    out.close();
    Ok(out.finish().into())
}
