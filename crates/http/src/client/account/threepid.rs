//! `GET /account/3pid`. The server keeps no addresses, so there are none.

use base::Reply;
use ruma::api::client::account::get_3pids;
use store::View;

use crate::{
    answer::Json,
    handler::{Caller, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(list)
}

fn list(_: &View, _: Caller, _: get_3pids::v3::Request) -> Reply<Json> {
    Ok(r#"{"threepids":[]}"#.to_owned().into())
}
