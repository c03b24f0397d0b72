//! Downloads without authentication (spec: "Content repository", "Client behaviour"). They serve what was uploaded
//! before a server froze them; this one was born frozen.

use base::{Error, Reply};
use http::Method;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

const PATHS: [&str; 9] = [
    "/_matrix/media/v1/download/{serverName}/{mediaId}",
    "/_matrix/media/v1/download/{serverName}/{mediaId}/{fileName}",
    "/_matrix/media/v1/thumbnail/{serverName}/{mediaId}",
    "/_matrix/media/r0/download/{serverName}/{mediaId}",
    "/_matrix/media/r0/download/{serverName}/{mediaId}/{fileName}",
    "/_matrix/media/r0/thumbnail/{serverName}/{mediaId}",
    "/_matrix/media/v3/thumbnail/{serverName}/{mediaId}",
    "/_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}",
    "/_matrix/media/v3/download/{serverName}/{mediaId}",
];

pub(super) fn routes() -> Routes {
    Routes::default().raw_read(Method::GET, &PATHS, Auth::None, nothing)
}

fn nothing(_: &View, _: Around<'_>, _: Option<Caller>, _: Asked) -> Reply<Json> {
    Err(Error::not_found("media is only served to those who log in"))
}
