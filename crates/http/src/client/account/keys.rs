//! `POST /keys/upload`, `/keys/query`, `/keys/claim`, `GET /keys/changes`.

use std::{collections::BTreeMap, time::Duration};

use ::devices::keys::{
    claim::{self, Claims},
    query::{self, Asked as Wanted, Viewer},
    upload::{self, Upload},
};
use ::sync::device_lists::DeviceLists;
use base::Reply;
use flows::device_keys;
use http::Method;
use ruma::api::client::keys::get_key_changes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use store::{Tx, View};

use super::required;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    const UPLOAD: [&str; 2] = ["/_matrix/client/v3/keys/upload", "/_matrix/client/r0/keys/upload"];
    const QUERY: [&str; 2] = ["/_matrix/client/v3/keys/query", "/_matrix/client/r0/keys/query"];
    const CLAIM: [&str; 2] = ["/_matrix/client/v3/keys/claim", "/_matrix/client/r0/keys/claim"];
    Routes::default()
        .raw_write(Method::POST, &UPLOAD, Auth::Required, uploaded)
        .raw_flow(Method::POST, &QUERY, Auth::Required, queried)
        .raw_flow(Method::POST, &CLAIM, Auth::Required, claimed)
        .read(changes)
}

#[derive(Deserialize)]
struct Uploaded {
    device_keys: Option<Box<RawValue>>,
    #[serde(default)]
    one_time_keys: Option<BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    fallback_keys: Option<BTreeMap<String, Box<RawValue>>>,
}

fn uploaded(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Uploaded = asked.json()?;
    let texts = |keys: Option<BTreeMap<String, Box<RawValue>>>| {
        let keys = keys.unwrap_or_default().into_iter();
        keys.map(|(name, key)| (name, key.get().to_owned())).collect()
    };
    let new = Upload {
        device_keys: body.device_keys.map(|keys| keys.get().to_owned()),
        one_time_keys: texts(body.one_time_keys),
        fallback_keys: texts(body.fallback_keys),
    };
    let left = upload::upload(tx, (caller.user, &caller.id), &caller.device, &new)?;
    Ok(json!({ "one_time_key_counts": left.counts }).to_string().into())
}

#[derive(Deserialize)]
struct Query {
    device_keys: Wanted,
    timeout: Option<u64>,
}

async fn queried(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let Query { device_keys: wanted, timeout } = asked.json()?;
    let (user, here) = (caller.user, wanted.clone());
    let local =
        outside.store.read(move |view| query::local(view, Viewer::User(user), &here)).await?;
    let timeout = timeout.map(Duration::from_millis);
    let lists = outside.inbound.device_lists();
    let (mut theirs, failures) = lists.query(&wanted, timeout).await?;
    if !theirs.master_keys.is_empty() {
        let mut keys = std::mem::take(&mut theirs.master_keys);
        let read = outside.store.read(move |view| {
            query::add_signatures(view, user, &mut keys)?;
            Ok(keys)
        });
        theirs.master_keys = read.await?;
    }
    let mut all = local;
    all.device_keys.extend(theirs.device_keys);
    all.master_keys.extend(theirs.master_keys);
    all.self_signing_keys.extend(theirs.self_signing_keys);
    let answer = json!({
        "device_keys": all.device_keys,
        "failures": failures,
        "master_keys": all.master_keys,
        "self_signing_keys": all.self_signing_keys,
        "user_signing_keys": all.user_signing_keys,
    });
    Ok(answer.to_string().into())
}

#[derive(Deserialize)]
struct Claim {
    one_time_keys: Claims,
    timeout: Option<u64>,
}

async fn claimed(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    required(caller)?;
    let Claim { one_time_keys: claims, timeout } = asked.json()?;
    let here = claims.clone();
    let given = outside.store.write(None, move |tx| claim::claim(tx, &here)).await?.value;
    let own = outside.settings.server_name.as_str();
    let timeout = timeout.map(Duration::from_millis);
    let (theirs, failures) = device_keys::claim(&outside.peers, own, &claims, timeout).await;
    device_keys::note_exhausted(&given);
    let mut all = given.keys;
    all.extend(theirs);
    Ok(json!({ "one_time_keys": Value::Object(all), "failures": failures }).to_string().into())
}

fn changes(view: &View, caller: Caller, request: get_key_changes::v3::Request) -> Reply<Json> {
    let from = ::sync::Token::parse(&request.from)?;
    // `to` is a hint (spec): what happened after it is told as well.
    ::sync::Token::parse(&request.to)?;
    let lists = DeviceLists::since(view, caller.user, from.seq)?;
    Ok(json!({ "changed": lists.changed, "left": lists.left }).to_string().into())
}
