//! `GET /_matrix/client/v1/media/preview_url`, and under its old path.

use base::{Error, Reply};
use http::{Method, header};

use super::proven;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

const PATHS: [&str; 2] = ["/_matrix/client/v1/media/preview_url", "/_matrix/media/v3/preview_url"];
/// Bytes of `Accept-Language` that are passed on.
const LANGUAGE_BYTES_MAX: usize = 128;

pub(super) fn routes() -> Routes {
    Routes::default().raw_flow(Method::GET, &PATHS, Auth::Required, preview)
}

async fn preview(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = proven(caller)?;
    let previews = outside.previews.as_ref();
    let previews = previews.ok_or_else(|| Error::forbidden("this server makes no previews"))?;
    let url = asked.query("url").ok_or_else(|| Error::missing_param("url is missing"))?;
    let language = asked.header(header::ACCEPT_LANGUAGE);
    let language = language.filter(|text| text.len() <= LANGUAGE_BYTES_MAX);
    let body = previews.preview(caller.user, &url, language).await?;
    Ok(body.to_string().into())
}
