//! `POST /account/password`.

use accounts::{account, uia::Auth as Interactive};
use base::{Error, Reply};
use http::Method;
use serde::Deserialize;

use super::{
    required,
    uia::{ask_password, judge, step},
};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};
use accounts::uia::Shown;

pub(super) fn routes() -> Routes {
    const PATHS: [&str; 2] =
        ["/_matrix/client/v3/account/password", "/_matrix/client/r0/account/password"];
    Routes::default().raw_flow(Method::POST, &PATHS, Auth::Optional, change)
}

#[derive(Deserialize)]
struct Body {
    auth: Option<Interactive>,
    new_password: Option<String>,
    logout_devices: Option<bool>,
}

async fn change(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let body: Body = asked.json()?;
    // Without a token only a validated address could say whose password it is; the server knows no addresses.
    let caller = required(caller)?;
    let missing = || Error::missing_param("The new password is missing.");
    let new_password = body.new_password.ok_or_else(missing)?;
    let ask = ask_password(["password", caller.id.as_str()]);
    let auth = body.auth.unwrap_or_default();
    let session = auth.session.clone();
    let shown = judge(&outside, Some(&caller), &ask, auth).await?;
    let hash = match &shown {
        Shown::Stage(_) => Some(outside.accounts.hash(new_password).await?),
        _ => None,
    };
    let logout_devices = body.logout_devices.unwrap_or(true);
    let changed = step(&outside, ask, session, shown, move |tx| {
        let hash = hash.clone().ok_or_else(|| Error::fault("passed without a stage"))?;
        let keep = Some((caller.device.as_str(), caller.token));
        account::set_password(tx, caller.user, hash, keep, logout_devices)
    });
    changed.await?;
    Ok("{}".to_owned().into())
}
