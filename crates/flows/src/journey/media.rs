//! Media of other servers: fetched when first asked for, and kept as what this server holds itself (spec: Server-Server API,
//! "Content Repository"; Client-Server API, "Content repository").

use std::time::Duration;

use base::{Error, Reply};
use bytes::Bytes;
use egress::{Request, Trust};
use futures_util::stream;
use http::{HeaderMap, Method, header};
use media::About;
use ruma::ServerName;
use url::{Url, form_urlencoded};

use super::{
    Journeys,
    multipart::{self, Media},
};
use crate::peers::{Patience, Unanswered};

/// For one file.
const FETCH: Duration = Duration::from_secs(60);
/// Beside the file: boundaries, headers, an empty object.
const AROUND_BYTES_MAX: usize = 64 << 10;
/// Redirects behind a `Location`.
const REDIRECTS_MAX: u8 = 3;

impl Journeys {
    /// Fetches media of another server, unless it is here. Who asks for what somebody is fetching waits for that.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` if it is not there; 504 `M_NOT_YET_UPLOADED`; 502 `M_TOO_LARGE` if it has more than `bytes_max` bytes; 502
    /// `M_UNKNOWN` if nothing comes back.
    pub async fn fetch_media(&self, origin: &str, media_id: &str, bytes_max: u64) -> Reply<()> {
        let missing = || Error::not_found("no such media");
        let server = <&ServerName>::try_from(origin).map_err(|_| missing())?;
        if !media::is_media_id(media_id) {
            return Err(missing());
        }
        let (journey, server, id) = (self.clone(), server.to_owned(), media_id.to_owned());
        let way = async move {
            let _turn = journey.0.rooms.take(&format!("media {server}/{id}")).await;
            if journey.0.media.holds(server.as_str(), &id).await? {
                return Ok(());
            }
            let _place = journey.0.fetches.acquire().await.map_err(|_| Error::fault("closed"))?;
            let (about, bytes) = journey.get_media(&server, &id, bytes_max).await?;
            if bytes.len() as u64 > bytes_max {
                return Err(too_large());
            }
            let chunks = stream::iter([Ok(bytes)]);
            journey.0.media.keep(server.as_str(), &id, about, chunks, bytes_max).await
        };
        self.go(way).await
    }

    async fn get_media(
        &self,
        server: &ServerName,
        id: &str,
        bytes_max: u64,
    ) -> Reply<(About, Bytes)> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let body_max = bytes_max.saturating_add(AROUND_BYTES_MAX);
        let patience = Patience { timeout: FETCH, insist: true, body_max };
        let path = format!("/_matrix/federation/v1/media/download/{id}?timeout_ms=20000");
        let (headers, body) = match self.0.peers.fetch(server, &path, patience).await {
            Ok(answer) => answer,
            Err(Unanswered::Refused(no)) if no.status == 404 && no.errcode == "M_UNRECOGNIZED" => {
                return self.get_media_as_before(server, id, patience).await;
            }
            Err(why) => return Err(refused(why)),
        };
        match multipart::read(&headers, &body) {
            Some(Media::Here(about, bytes)) => Ok((about, bytes)),
            Some(Media::At(location)) => self.get_media_at(&location, bytes_max).await,
            None => Err(unreachable("what came is no media")),
        }
    }

    /// From servers that know nothing of authenticated media yet.
    async fn get_media_as_before(
        &self,
        server: &ServerName,
        id: &str,
        patience: Patience,
    ) -> Reply<(About, Bytes)> {
        let origin: String = form_urlencoded::byte_serialize(server.as_str().as_bytes()).collect();
        let path = format!("/_matrix/media/v3/download/{origin}/{id}?allow_remote=false");
        let (headers, body) = self.0.peers.fetch(server, &path, patience).await.map_err(refused)?;
        Ok((said(&headers), body))
    }

    /// From where the other server says that it is: like any address that somebody else names.
    async fn get_media_at(&self, location: &str, bytes_max: usize) -> Reply<(About, Bytes)> {
        let url = Url::parse(location).map_err(|_| unreachable("it lies at no address"))?;
        if url.scheme() != "https" {
            return Err(unreachable("it lies at an address that is not safe"));
        }
        let mut request = Request::new(Method::GET, url, Trust::Public);
        request.timeout = FETCH;
        request.body_max = bytes_max;
        (request.redirects, request.by_proxy) = (REDIRECTS_MAX, true);
        let answer = self.0.egress.send(request).await.map_err(|failure| match failure {
            egress::Failure::TooLarge => too_large(),
            other => unreachable(&other.to_string()),
        })?;
        if !answer.status.is_success() {
            return Err(unreachable(&format!("where it lies, the answer is {}", answer.status)));
        }
        Ok((said(&answer.headers), answer.body))
    }
}

fn said(headers: &HeaderMap) -> About {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    multipart::about(text(header::CONTENT_TYPE), text(header::CONTENT_DISPOSITION))
}

fn refused(why: Unanswered) -> Error {
    match &why {
        Unanswered::Refused(no) if no.errcode == "M_NOT_YET_UPLOADED" => {
            Error::refused(504, "M_NOT_YET_UPLOADED", "the media has not been uploaded yet")
        }
        Unanswered::Refused(no) if no.errcode == "M_TOO_LARGE" => too_large(),
        Unanswered::Refused(no) if no.status == 404 => Error::not_found("no such media"),
        _ => why.into(),
    }
}

/// Spec: `GET /media/download`, 502.
fn too_large() -> Error {
    Error::refused(502, "M_TOO_LARGE", "the media of the other server is too large")
}

fn unreachable(why: &str) -> Error {
    Error::refused(502, "M_UNKNOWN", format!("the other server's media: {why}"))
}
