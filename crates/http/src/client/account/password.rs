//! `POST /account/password`.

use accounts::{
    account,
    threepid::{self, Purpose},
    uia::{self, Ask, Auth as Interactive, Shown},
};
use base::{Error, Reply};
use http::Method;
use serde::Deserialize;
use serde_json::json;

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
    // Without a token only a validated address can say whose password it is.
    if caller.is_none() && outside.settings.mail {
        return reset(&outside, body).await;
    }
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
    let changed = step(&outside, ask, session, shown, move |tx, _| {
        let hash = hash.clone().ok_or_else(|| Error::fault("passed without a stage"))?;
        let keep = Some((caller.device.as_str(), caller.token));
        account::set_password(tx, caller.user, hash, keep, logout_devices)
    });
    changed.await?;
    Ok("{}".to_owned().into())
}

/// Whoever reads the mail of an account's address is its owner.
const BY_ADDRESS: &[&[&str]] = &[&[uia::EMAIL_IDENTITY]];

/// A new password for the account of whoever reads the mail of its address.
async fn reset(outside: &Outside, body: Body) -> Reply<Json> {
    let missing = || Error::missing_param("The new password is missing.");
    let new_password = body.new_password.ok_or_else(missing)?;
    let ask = Ask {
        request: uia::bind(["reset password"]),
        flows: BY_ADDRESS,
        registration_token: None,
        params: json!({}),
        address_for: Purpose::Password,
    };
    let auth = body.auth.unwrap_or_default();
    let session = auth.session.clone();
    let shown = judge(outside, None, &ask, auth).await?;
    let hash = match &shown {
        Shown::Address(_) => Some(outside.accounts.hash(new_password).await?),
        _ => None,
    };
    let logout_devices = body.logout_devices.unwrap_or(true);
    let changed = step(outside, ask, session, shown, move |tx, proven| {
        let lost = || Error::fault("passed without an address");
        let (hash, proven) = (hash.clone().ok_or_else(lost)?, proven.ok_or_else(lost)?);
        // It may have been taken from the account while the letter was under way.
        let gone = || Error::refused(400, "M_THREEPID_NOT_FOUND", "No account has this address.");
        let user = threepid::owner(tx, &proven.address)?.ok_or_else(gone)?;
        account::set_password(tx, user, hash, None, logout_devices)
    });
    changed.await?;
    Ok("{}".to_owned().into())
}
