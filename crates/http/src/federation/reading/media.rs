//! `GET /media/download/{mediaId}`, `GET /media/thumbnail/{mediaId}`: media of this server, as `multipart/mixed` (spec:
//! Server-Server API, "Content Repository").

use base::{Error, Reply};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Method, header};
use media::{File, Library};
use rand::RngExt as _;

use crate::{
    answer::{Raw, Response},
    asked::Asked,
    body::Body,
    client::media::{give_up, patience, wanted},
    handler::{Origin, Routes},
    outside::Outside,
};

/// Letters of the line between the parts: none that occurs in a file by chance.
const BOUNDARY_LETTERS: usize = 32;

pub(super) fn routes() -> Routes {
    const DOWNLOAD: [&str; 2] = [
        "/_matrix/federation/v1/media/download/{mediaId}",
        "/_matrix/federation/unstable/org.matrix.msc3916.v2/media/download/{mediaId}",
    ];
    const THUMBNAIL: [&str; 2] = [
        "/_matrix/federation/v1/media/thumbnail/{mediaId}",
        "/_matrix/federation/unstable/org.matrix.msc3916.v2/media/thumbnail/{mediaId}",
    ];
    Routes::default().raw_server_flow(Method::GET, &DOWNLOAD, download).raw_server_flow(
        Method::GET,
        &THUMBNAIL,
        thumbnail,
    )
}

async fn download(outside: Outside, _: Origin, asked: Asked) -> Reply<Raw> {
    let give_up = give_up(outside.stop, patience(&asked)?);
    let own = outside.settings.server_name.as_str();
    let file = outside.media.find(own, asked.arg(0), give_up).await?;
    serve(&outside.media, &file).await
}

async fn thumbnail(outside: Outside, _: Origin, asked: Asked) -> Reply<Raw> {
    let give_up = give_up(outside.stop, patience(&asked)?);
    let (own, wanted) = (outside.settings.server_name.as_str(), wanted(&asked)?);
    let file = outside.media.thumbnail(own, asked.arg(0), wanted, give_up).await?;
    serve(&outside.media, &file).await
}

/// What is known of the file, which is nothing so far, and the file.
async fn serve(library: &Library, file: &File) -> Reply<Raw> {
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric);
    let line: String = letters.take(BOUNDARY_LETTERS).map(char::from).collect();
    let head = format!(
        "\r\n--{line}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{line}\r\nContent-Type: {}\r\n\
         Content-Disposition: {}\r\n\r\n",
        file.content_type,
        file.disposition(),
    );
    let tail = format!("\r\n--{line}--\r\n");
    let length = (head.len() + tail.len()) as u64 + file.size;
    let chunks = library.read(file, 0..file.size).await?;
    let part = |text: String| stream::iter([Ok(Bytes::from(text))]);
    let body = part(head).chain(chunks).chain(part(tail));
    let mut response = Response::new(Body::stream(body, Some(length)));
    let kind = HeaderValue::from_str(&format!("multipart/mixed; boundary={line}"))
        .map_err(|e| Error::fault(format!("a boundary of letters: {e}")))?;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(Raw(response))
}
