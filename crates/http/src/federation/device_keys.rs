//! `POST /user/keys/query` and `/user/keys/claim`: keys of users of this server.

use ::devices::keys::{
    claim::{self, Claims},
    query::{self, Asked as Wanted, Viewer},
};
use base::Reply;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Origin, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    const QUERY: [&str; 1] = ["/_matrix/federation/v1/user/keys/query"];
    const CLAIM: [&str; 1] = ["/_matrix/federation/v1/user/keys/claim"];
    Routes::default().raw_server_read(Method::POST, &QUERY, queried).raw_server_flow(
        Method::POST,
        &CLAIM,
        claimed,
    )
}

#[derive(Deserialize)]
struct Query {
    device_keys: Wanted,
}

fn queried(view: &View, _: Around<'_>, _: Origin, asked: Asked) -> Reply<Json> {
    let Query { device_keys: wanted } = asked.json()?;
    let found = query::local(view, Viewer::Server, &wanted)?;
    let answer = json!({
        "device_keys": found.device_keys,
        "master_keys": found.master_keys,
        "self_signing_keys": found.self_signing_keys,
    });
    Ok(answer.to_string().into())
}

#[derive(Deserialize)]
struct Claim {
    one_time_keys: Claims,
}

async fn claimed(outside: Outside, _: Origin, asked: Asked) -> Reply<Json> {
    let Claim { one_time_keys: claims } = asked.json()?;
    let given = outside.store.write(None, move |tx| claim::claim(tx, &claims)).await?.value;
    flows::device_keys::note_exhausted(&given);
    Ok(json!({ "one_time_keys": Value::Object(given.keys) }).to_string().into())
}
