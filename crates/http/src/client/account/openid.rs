//! `POST /user/{userId}/openid/request_token`.

use accounts::openid;
use base::Reply;
use ruma::api::client::account::request_openid_token;
use serde_json::json;
use store::Tx;

use super::own;
use crate::{
    answer::Json,
    handler::{Caller, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().write(request)
}

fn request(tx: &mut Tx, caller: Caller, request: request_openid_token::v3::Request) -> Reply<Json> {
    own(&caller, &request.user_id)?;
    let token = openid::issue(tx, caller.user)?;
    let answer = json!({
        "access_token": token,
        "token_type": "Bearer",
        "matrix_server_name": tx.server_name(),
        "expires_in": openid::OPENID_TOKEN_MS / 1_000,
    });
    Ok(answer.to_string().into())
}
