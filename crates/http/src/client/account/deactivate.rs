//! `POST /account/deactivate`.

use accounts::{account, uia::Auth as Interactive};
use base::Reply;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    required,
    uia::{ask_password, guarded},
};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    const PATHS: [&str; 2] =
        ["/_matrix/client/v3/account/deactivate", "/_matrix/client/r0/account/deactivate"];
    Routes::default().raw_flow(Method::POST, &PATHS, Auth::Optional, deactivate)
}

#[derive(Deserialize)]
struct Body {
    auth: Option<Interactive>,
    erase: Option<bool>,
}

async fn deactivate(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let body: Body = asked.json()?;
    let caller = required(caller)?;
    let erase = body.erase.unwrap_or_default();
    let how = if erase { "erase" } else { "keep" };
    let ask = ask_password(["deactivate", caller.id.as_str(), how]);
    let user = caller.user;
    guarded(&outside, &caller, ask, body.auth, move |tx| account::deactivate(tx, user, erase))
        .await?;
    // There are no addresses that an identity server could have been told of.
    Ok(json!({ "id_server_unbind_result": "success" }).to_string().into())
}
