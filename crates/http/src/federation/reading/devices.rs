//! `GET /user/devices/{userId}`.

use base::Reply;
use ruma::api::federation::device::get_devices;
use store::View;

use crate::{
    answer::Json,
    handler::{Origin, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(devices)
}

fn devices(view: &View, _: Origin, request: get_devices::v1::Request) -> Reply<Json> {
    ::devices::published::of(view, &request.user_id).map(Json::from)
}
