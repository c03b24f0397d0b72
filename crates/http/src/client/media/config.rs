//! `GET /_matrix/client/v1/media/config`, and under its old path.

use base::Reply;
use ruma::{
    UInt,
    api::client::{
        authenticated_media::get_media_config as authed, media::get_media_config as old,
    },
};
use store::View;

use crate::{
    answer::Json,
    handler::{Around, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read_with(config).read_with(old_config)
}

fn config(
    _: &View,
    around: Around<'_>,
    _: Caller,
    _: authed::v1::Request,
) -> Reply<authed::v1::Response> {
    Ok(authed::v1::Response::new(UInt::new_saturating(around.settings.max_upload)))
}

#[expect(deprecated, reason = "clients of before v1.11 ask here")]
fn old_config(_: &View, around: Around<'_>, _: Caller, _: old::v3::Request) -> Reply<Json> {
    Ok(format!(r#"{{"m.upload.size":{}}}"#, around.settings.max_upload).into())
}
