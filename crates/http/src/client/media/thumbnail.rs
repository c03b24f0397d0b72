//! `GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`.

use base::{Error, Reply};
use http::Method;
use media::Wanted;

use super::{fetch, give_up, patience, serve::serve};
use crate::{
    answer::Raw,
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

const PATHS: [&str; 2] = [
    "/_matrix/client/unstable/org.matrix.msc3916/media/thumbnail/{serverName}/{mediaId}",
    "/_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}",
];

pub(super) fn routes() -> Routes {
    Routes::default().raw_flow(Method::GET, &PATHS, Auth::Required, thumbnail)
}

async fn thumbnail(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let wanted = wanted(&asked)?;
    fetch(&outside, &asked).await?;
    let give_up = give_up(outside.stop, patience(&asked)?);
    let file = outside.media.thumbnail(asked.arg(0), asked.arg(1), wanted, give_up).await?;
    serve(&outside.media, &file, &asked).await
}

/// The thumbnail that a request asks for. The spec answers 400 `M_UNKNOWN` to sizes that make no sense.
pub(crate) fn wanted(asked: &Asked) -> Reply<Wanted> {
    let method = match asked.query("method").as_deref() {
        None | Some("scale") => media::Method::Scale,
        Some("crop") => media::Method::Crop,
        Some(_) => return Err(nonsense("method")),
    };
    let animated = match asked.query("animated").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(nonsense("animated")),
    };
    Wanted::new(side(asked, "width")?, side(asked, "height")?, method, animated)
}

fn side(asked: &Asked, name: &str) -> Reply<u32> {
    let Some(text) = asked.query(name) else {
        return Err(Error::missing_param(format!("missing {name}")));
    };
    text.parse().map_err(|_| nonsense(name))
}

fn nonsense(name: &str) -> Error {
    Error::refused(400, "M_UNKNOWN", format!("{name} makes no sense"))
}
