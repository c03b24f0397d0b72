//! `/rendezvous` of MSC4388: `GET` (may one be made?), `POST`, and `GET`, `PUT`, `DELETE` of `/rendezvous/{id}`. The
//! proposal lets the server choose who may make a session; here anyone may, so that either device can show the code.

use base::{Error, Reply, UnixMs};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{name, plain, refuse_navigation};
use crate::{
    answer::{Json, Raw, json as json_answer},
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
    rendezvous::{Form, Place, Put},
};

pub(super) fn routes() -> Routes {
    const ALL: [&str; 1] = ["/_matrix/client/unstable/io.element.msc4388/rendezvous"];
    const ONE: [&str; 1] = ["/_matrix/client/unstable/io.element.msc4388/rendezvous/{rendezvous}"];
    Routes::default()
        .raw_flow(Method::GET, &ALL, Auth::Optional, discover)
        .raw_flow(Method::POST, &ALL, Auth::Optional, create)
        .raw_flow(Method::GET, &ONE, Auth::None, get)
        .raw_flow(Method::PUT, &ONE, Auth::None, put)
        .raw_flow(Method::DELETE, &ONE, Auth::None, delete)
}

/// A message, in characters (MSC4388, "Maximum payload size").
const DATA_CHARS_MAX: usize = 4_096;
/// Because the code is in no version of the specification yet (MSC4388, "Unstable prefix").
const CONCURRENT_WRITE: &str = "IO_ELEMENT_MSC4388_CONCURRENT_WRITE";

async fn discover(_: Outside, _: Option<Caller>, _: Asked) -> Reply<Json> {
    Ok(json!({ "create_available": true }).to_string().into())
}

fn bounded(data: String) -> Reply<Bytes> {
    if data.chars().count() > DATA_CHARS_MAX {
        return Err(Error::too_large(format!("`data` has at most {DATA_CHARS_MAX} characters")));
    }
    Ok(data.into())
}

/// What of a session both who makes it and who looks at it are told.
fn told(place: &Place, now: UnixMs, name: &str, value: &str) -> Raw {
    let answer = json!({
        name: value,
        "sequence_token": place.revision,
        // As the proposal's text has it, and as clients read it.
        "expires_ts": place.expires.0,
        "expires_in_ms": place.expires.0.saturating_sub(now.0),
    });
    Raw(plain(json_answer(StatusCode::OK, answer.to_string())))
}

#[derive(Deserialize)]
struct Create {
    data: String,
}

async fn create(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let Create { data } = asked.json()?;
    let (id, message, now) = (name(&outside), bounded(data)?, outside.store.now());
    let place = (Form::Token, id.clone());
    let message = (message, name(&outside));
    let place = outside.rendezvous.make(place, outside.client.ip, message, now)?;
    Ok(told(&place, now, "id", &id))
}

async fn get(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    refuse_navigation(&asked)?;
    let now = outside.store.now();
    let place = outside.rendezvous.look(Form::Token, asked.arg(0), now)?;
    let data = String::from_utf8_lossy(&place.data);
    Ok(told(&place, now, "data", &data))
}

#[derive(Deserialize)]
struct Replace {
    sequence_token: String,
    data: String,
}

async fn put(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let Replace { sequence_token: known, data } = asked.json()?;
    let (message, now) = ((bounded(data)?, name(&outside)), outside.store.now());
    match outside.rendezvous.put((Form::Token, asked.arg(0)), &known, message, now)? {
        Put::Done(place) => {
            let answer = json!({ "sequence_token": place.revision }).to_string();
            Ok(Raw(plain(json_answer(StatusCode::OK, answer))))
        }
        Put::Conflict(_) => {
            Err(Error::refused(409, CONCURRENT_WRITE, "Another message is there by now."))
        }
    }
}

async fn delete(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    outside.rendezvous.end(Form::Token, asked.arg(0), outside.store.now())?;
    Ok("{}".to_owned().into())
}
