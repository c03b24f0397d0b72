//! `GET /_matrix/client/v1/media/download/{serverName}/{mediaId}[/{fileName}]`.

use base::Reply;
use http::Method;

use super::{fetch, give_up, patience, serve::serve};
use crate::{
    answer::Raw,
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

const PATHS: [&str; 2] = [
    "/_matrix/client/unstable/org.matrix.msc3916/media/download/{serverName}/{mediaId}",
    "/_matrix/client/v1/media/download/{serverName}/{mediaId}",
];
const NAMED: [&str; 2] = [
    "/_matrix/client/unstable/org.matrix.msc3916/media/download/{serverName}/{mediaId}/{fileName}",
    "/_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}",
];

pub(super) fn routes() -> Routes {
    Routes::default().raw_flow(Method::GET, &PATHS, Auth::Required, download).raw_flow(
        Method::GET,
        &NAMED,
        Auth::Required,
        download,
    )
}

async fn download(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    fetch(&outside, &asked).await?;
    let give_up = give_up(outside.stop, patience(&asked)?);
    let mut file = outside.media.find(asked.arg(0), asked.arg(1), give_up).await?;
    if !asked.arg(2).is_empty() {
        file.filename = Some(asked.arg(2).to_owned());
    }
    serve(&outside.media, &file, &asked).await
}
