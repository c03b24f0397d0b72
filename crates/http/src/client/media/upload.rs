//! `POST /_matrix/media/v3/upload`, and in two steps: `POST /_matrix/media/v1/create` and
//! `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`.

use base::Reply;
use http::{Method, header};
use media::About;
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt, api::client::media::create_mxc_uri::v1 as create_mxc_uri,
};
use store::Tx;

use super::proven;
use crate::{
    answer::Json,
    asked::Asked,
    body::Upload,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

const UPLOAD: [&str; 2] = ["/_matrix/media/r0/upload", "/_matrix/media/v3/upload"];
const RESERVED: [&str; 2] = [
    "/_matrix/media/unstable/fi.mau.msc2246/upload/{serverName}/{mediaId}",
    "/_matrix/media/v3/upload/{serverName}/{mediaId}",
];

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_stream(Method::POST, &UPLOAD, Auth::Required, upload)
        .write(create)
        .raw_stream(Method::PUT, &RESERVED, Auth::Required, upload_reserved)
}

async fn upload(
    outside: Outside,
    caller: Option<Caller>,
    asked: Asked,
    body: Upload,
) -> Reply<Json> {
    let caller = proven(caller)?;
    let (about, max) = (about(&asked)?, outside.settings.max_upload);
    let id = outside.media.upload(caller.user, about, body.into_stream(), max).await?;
    // Neither part has a character that JSON escapes.
    let server_name = outside.store.server_name();
    Ok(format!(r#"{{"content_uri":"mxc://{server_name}/{id}"}}"#).into())
}

fn create(
    tx: &mut Tx,
    caller: Caller,
    _: create_mxc_uri::Request,
) -> Reply<create_mxc_uri::Response> {
    let reserved = media::reserve(tx, caller.user)?;
    let uri = format!("mxc://{}/{}", tx.server_name(), reserved.media_id);
    let mut response = create_mxc_uri::Response::new(uri.into());
    let expires = UInt::new_saturating(reserved.expires.0);
    response.unused_expires_at = Some(MilliSecondsSinceUnixEpoch(expires));
    Ok(response)
}

async fn upload_reserved(
    outside: Outside,
    caller: Option<Caller>,
    asked: Asked,
    body: Upload,
) -> Reply<Json> {
    let caller = proven(caller)?;
    let (about, max) = (about(&asked)?, outside.settings.max_upload);
    let at = (asked.arg(0), asked.arg(1));
    outside.media.fill(caller.user, at, about, body.into_stream(), max).await?;
    Ok("{}".to_owned().into())
}

fn about(asked: &Asked) -> Reply<About> {
    About::new(asked.header(header::CONTENT_TYPE), asked.query("filename").as_deref())
}
