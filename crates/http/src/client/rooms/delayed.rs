//! Delayed events (MSC4140): `PUT /rooms/{roomId}/delayed_event/{eventType}/{txnId}`, `/delayed_events…`, and what `/send`
//! and `/state` do when they are asked to wait.
//!
//! Deployed clients use the unstable paths, where knowing a delay id is enough to act on it; the accepted form wants its
//! owner's access token.

use base::{Error, Reply, User};
use http::Method;
use rooms::{
    Txn,
    delayed::{self, Action, Later},
    delayed_list::{self, Form, Wanted},
};
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use store::{Tx, View};

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

/// A delay in the query of `/send` and `/state`.
const DELAY: &str = "org.matrix.msc4140.delay";
/// A stickiness there.
const STICKY: &str = "org.matrix.msc4354.sticky_duration_ms";

const LIST: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const ONE: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}";
const ACT: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/{action}";

pub(super) fn routes() -> Routes {
    const SCHEDULE: [&str; 2] = [
        "/_matrix/client/unstable/org.matrix.msc4140/rooms/{roomId}/delayed_event/{eventType}/{txnId}",
        "/_matrix/client/v3/rooms/{roomId}/delayed_event/{eventType}/{txnId}",
    ];
    const STABLE: &str = "/_matrix/client/v1/delayed_events/{delayId}";
    const STABLE_ACT: &str = "/_matrix/client/v1/delayed_events/{delayId}/{action}";
    Routes::default()
        .raw_write(Method::PUT, &SCHEDULE, Auth::Required, schedule)
        .raw_write(Method::POST, &[ONE], Auth::None, act_by_body)
        .raw_write(Method::POST, &[ACT], Auth::None, act)
        .raw_write(Method::POST, &[STABLE_ACT], Auth::Required, act)
        .raw_read(Method::GET, &[LIST], Auth::Required, list_deployed)
        .raw_read(Method::GET, &["/_matrix/client/v1/delayed_events"], Auth::Required, list)
        .raw_read(Method::GET, &[ONE], Auth::Required, get_deployed)
        .raw_read(Method::GET, &[STABLE], Auth::Required, get)
}

fn owner(caller: Option<Caller>) -> Reply<User> {
    let caller = caller.ok_or_else(|| Error::fault("an authenticated endpoint has no caller"))?;
    Ok(caller.user)
}

fn text(value: serde_json::Value) -> Json {
    value.to_string().into()
}

/// The stickiness that a request asks for.
pub(super) fn sticky(asked: &Asked) -> Reply<Option<u64>> {
    asked.query(STICKY).map(|ms| rooms::sticky::duration(&ms)).transpose()
}

/// The answer to `/send` and `/state` if they are asked to wait.
pub(super) fn instead(
    tx: &mut Tx,
    caller: &Caller,
    asked: &Asked,
    (room_id, kind, state_key): (&RoomId, &str, Option<&str>),
    (content, sticky_ms): (&RawValue, Option<u64>),
    txn: Option<Txn<'_>>,
) -> Reply<Option<Json>> {
    let Some(delay) = asked.query(DELAY) else { return Ok(None) };
    let no_number = |_| Error::invalid_param("the delay is a positive number of milliseconds");
    let delay_ms = delay.parse().map_err(no_number)?;
    let later = Later { kind, state_key, content, delay_ms, sticky_ms };
    let id = delayed::schedule(tx, caller.user, room_id, later, txn).map_err(as_deployed)?;
    Ok(Some(text(json!({ "delay_id": id }))))
}

/// Deployed clients look for the code of this refusal elsewhere.
fn as_deployed(error: Error) -> Error {
    match error {
        Error::Refused(mut no) if no.errcode == "M_MAX_DELAY_EXCEEDED" => {
            no.errcode = "M_UNKNOWN";
            let no = no.with("org.matrix.msc4140.errcode", "M_MAX_DELAY_EXCEEDED");
            no.with("org.matrix.msc4140.max_delay", delayed::DELAY_MS_MAX).into()
        }
        other => other,
    }
}

fn schedule(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    #[derive(Deserialize)]
    struct Body {
        delay_ms: u64,
        state_key: Option<String>,
        content: Box<RawValue>,
    }
    let caller = caller.ok_or_else(|| Error::fault("an authenticated endpoint has no caller"))?;
    let body: Body = asked.json()?;
    let room_id =
        OwnedRoomId::try_from(asked.arg(0)).map_err(|_| Error::invalid_param("not a room id"))?;
    let kind = asked.arg(1);
    let later = Later {
        kind,
        state_key: body.state_key.as_deref(),
        content: &body.content,
        delay_ms: body.delay_ms,
        sticky_ms: sticky(&asked)?,
    };
    let path = format!("delayed_event/{room_id}/{kind}");
    let txn = Txn { device: &caller.device, path: &path, id: asked.arg(2) };
    let id = delayed::schedule(tx, caller.user, &room_id, later, Some(txn))?;
    Ok(text(json!({ "delay_id": id })))
}

fn action(text: &str) -> Reply<Action> {
    Action::parse(text).ok_or_else(|| Error::invalid_param("no such action"))
}

fn act(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let owner = caller.map(|caller| caller.user);
    let no_such = |_| Error::refused(404, "M_UNRECOGNIZED", "no such action");
    delayed::act(tx, asked.arg(0), action(asked.arg(1)).map_err(no_such)?, owner)?;
    Ok(text(json!({})))
}

fn act_by_body(tx: &mut Tx, _: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    #[derive(Deserialize)]
    struct Body {
        action: Option<String>,
    }
    let body: Body = asked.json()?;
    let word = body.action.ok_or_else(|| Error::missing_param("the action is missing"))?;
    delayed::act(tx, asked.arg(0), action(&word)?, None)?;
    Ok(text(json!({})))
}

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    delayed_list::get(view, owner(caller)?, asked.arg(0), Form::Accepted).map(text)
}

fn get_deployed(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    delayed_list::get(view, owner(caller)?, asked.arg(0), Form::Deployed).map(text)
}

fn list(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    listed(view, owner(caller)?, &asked, Form::Accepted)
}

fn list_deployed(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    listed(view, owner(caller)?, &asked, Form::Deployed)
}

fn listed(view: &View, user: User, asked: &Asked, form: Form) -> Reply<Json> {
    let query = ["room_id", "type", "outcome", "reason", "from"].map(|name| asked.query(name));
    let [room_id, kind, outcome, reason, from] = query.each_ref().map(|value| value.as_deref());
    let scheduled = match asked.query("status").as_deref() {
        Some("scheduled") => Some(true),
        Some("finalised") => Some(false),
        // Before there was a status, there was nothing but scheduled events.
        None => (form == Form::Deployed).then_some(true),
        Some(_) => return Err(Error::invalid_param("no such status")),
    };
    let backward = match asked.query("dir").as_deref() {
        Some("f") | None => false,
        Some("b") => true,
        Some(_) => return Err(Error::invalid_param("dir is neither f nor b")),
    };
    let wanted = Wanted { scheduled, room_id, kind, outcome, reason, backward, from };
    delayed_list::list(view, user, &wanted, form).map(text)
}
