//! `GET /openid/userinfo`: who showed a third party an OpenID token.

use accounts::openid;
use base::{Error, Reply};
use ruma::api::federation::openid::get_openid_userinfo::v1::{Request, Response};
use store::View;

use crate::handler::{Anyone, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().read(holder)
}

fn holder(view: &View, _: Anyone, request: Request) -> Reply<Response> {
    let unknown = || Error::refused(401, "M_UNKNOWN_TOKEN", "Access token unknown or expired");
    openid::holder(view, &request.access_token)?.map(Response::new).ok_or_else(unknown)
}
