//! `PUT`, `GET` and `DELETE /dehydrated_device`, `GET /dehydrated_device/{device_id}/events` (MSC3814), and the last one as
//! `POST`, which it was first.

use std::collections::BTreeMap;

use ::sync::Token;
use accounts::dehydrated;
use base::{Error, Reply};
use devices::keys::upload::{self, Upload};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use store::{Tx, View, schema::Dehydrated};

use super::required;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    const DEVICE: [&str; 1] = ["/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"];
    const EVENTS: [&str; 1] =
        ["/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events"];
    Routes::default()
        .raw_write(Method::PUT, &DEVICE, Auth::Required, put)
        .raw_read(Method::GET, &DEVICE, Auth::Required, get)
        .raw_write(Method::DELETE, &DEVICE, Auth::Required, delete)
        .raw_read(Method::GET, &EVENTS, Auth::Required, events)
        .raw_read(Method::POST, &EVENTS, Auth::Required, events_by_post)
}

/// Messages in one answer: some of them have tens of kilobytes.
const EVENTS_MAX: usize = 100;

type Keys = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct Put {
    device_id: String,
    initial_device_display_name: Option<String>,
    device_data: Box<RawValue>,
    device_keys: Box<RawValue>,
    one_time_keys: Option<Keys>,
    fallback_keys: Option<Keys>,
}

/// What all algorithms have in common.
#[derive(Deserialize)]
struct Data {
    #[serde(rename = "algorithm")]
    _algorithm: String,
}

fn put(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Put = asked.json()?;
    let (id, data) = (body.device_id.as_str(), body.device_data.get());
    let _: Data = serde_json::from_str(data).map_err(|e| Error::bad_json(e.to_string()))?;
    dehydrated::put(tx, caller.user, id, body.initial_device_display_name.as_deref(), data)?;
    let texts = |keys: Option<Keys>| {
        let keys = keys.unwrap_or_default().into_iter();
        keys.map(|(name, key)| (name, key.get().to_owned())).collect()
    };
    let keys = Upload {
        device_keys: Some(body.device_keys.get().to_owned()),
        one_time_keys: texts(body.one_time_keys),
        fallback_keys: texts(body.fallback_keys),
    };
    upload::upload(tx, (caller.user, &caller.id), id, &keys)?;
    Ok(json!({ "device_id": id }).to_string().into())
}

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, _: Asked) -> Reply<Json> {
    let Dehydrated { device, data } = dehydrated::get(view, required(caller)?.user)?;
    let id = Value::String(device);
    Ok(format!(r#"{{"device_data":{data},"device_id":{id}}}"#).into())
}

fn delete(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, _: Asked) -> Reply<Json> {
    let id = dehydrated::delete(tx, required(caller)?.user)?;
    Ok(json!({ "device_id": id }).to_string().into())
}

fn events(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let limit = asked.query("limit").map(|limit| limit.parse::<usize>());
    let limit = limit.transpose().map_err(|_| Error::invalid_param("`limit` is a number"))?;
    let limit = limit.unwrap_or(EVENTS_MAX).clamp(1, EVENTS_MAX);
    page(view, caller, asked.arg(0), asked.query("next_batch").as_deref(), limit)
}

#[derive(Deserialize)]
struct From {
    next_batch: Option<String>,
}

fn events_by_post(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let From { next_batch } = asked.json()?;
    page(view, caller, asked.arg(0), next_batch.as_deref(), EVENTS_MAX)
}

fn page(
    view: &View,
    caller: Option<Caller>,
    device: &str,
    from: Option<&str>,
    limit: usize,
) -> Reply<Json> {
    let after = from.map(Token::parse).transpose()?.unwrap_or_default().seq;
    let page = dehydrated::messages(view, required(caller)?.user, device, after, limit)?;
    // There is always one: an empty page tells that there are no more.
    let next = Token::at(page.last().map_or(after, |message| message.at));
    let events: Vec<String> = page.into_iter().map(|message| message.text).collect();
    Ok(format!(r#"{{"events":[{}],"next_batch":"{next}"}}"#, events.join(",")).into())
}
