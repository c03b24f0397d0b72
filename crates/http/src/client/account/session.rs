//! `POST /refresh`, `/logout`, `/logout/all`, `GET /account/whoami`.

use accounts::{
    device,
    session::{self, Refreshed},
};
use base::Reply;
use ruma::api::client::{
    account::whoami,
    session::{logout, logout_all, refresh_token},
};
use serde_json::json;
use store::{Tx, View};

use crate::{
    answer::Json,
    handler::{Anyone, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    Routes::default().flow(refresh).write(log_out).write(log_out_all).read(who_am_i)
}

/// A flow, because a token that is used twice is an answer that writes.
async fn refresh(outside: Outside, _: Anyone, request: refresh_token::v3::Request) -> Reply<Json> {
    let token = request.refresh_token;
    let written = outside.store.write(None, move |tx| session::refresh(tx, &token)).await?;
    let pair = match written.value {
        Refreshed::Pair(pair) => pair,
        Refreshed::Reused => return Err(session::reused()),
    };
    let answer = json!({
        "access_token": pair.access,
        "refresh_token": pair.refresh,
        "expires_in_ms": pair.expires_in_ms,
    });
    Ok(answer.to_string().into())
}

fn log_out(tx: &mut Tx, caller: Caller, _: logout::v3::Request) -> Reply<logout::v3::Response> {
    device::delete(tx, caller.user, &[caller.device])?;
    Ok(logout::v3::Response::new())
}

fn log_out_all(
    tx: &mut Tx,
    caller: Caller,
    _: logout_all::v3::Request,
) -> Reply<logout_all::v3::Response> {
    device::delete_all(tx, caller.user)?;
    Ok(logout_all::v3::Response::new())
}

fn who_am_i(_: &View, caller: Caller, _: whoami::v3::Request) -> Reply<Json> {
    let mut answer = json!({ "user_id": caller.id, "is_guest": caller.guest });
    if let Some(answer) = answer.as_object_mut().filter(|_| !caller.device.is_empty()) {
        answer.insert("device_id".to_owned(), caller.device.into());
    }
    Ok(answer.to_string().into())
}
