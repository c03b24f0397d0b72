//! A request and its answer, with redirects between them.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, LOCATION, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};
use url::Url;

use crate::{
    Answer, Failure, Inner, Request, Trust,
    connect::connect,
    line::{Broken, Line, protocol},
    pool::Destination,
};

/// Between two pieces of an answer.
const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// For a connection to notice that its answer is over.
const SETTLE_TIME_MAX: Duration = Duration::from_millis(100);
/// Connections that had ended before a request went out over them; after so many, a new one is made.
const STALE_MAX: usize = 4;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Althing/", env!("CARGO_PKG_VERSION")));

/// An answer whose head is here and whose body is still to be read.
pub struct Opened {
    /// Whatever it is.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// Where it comes from, after redirects.
    pub url: Url,
    body: Incoming,
    left: usize,
    deadline: Instant,
    egress: Arc<Inner>,
    to: Destination,
    line: Option<Line>,
    _places: [OwnedSemaphorePermit; 2],
}

pub(crate) async fn open(egress: &Arc<Inner>, mut request: Request) -> Result<Opened, Failure> {
    let deadline = Instant::now() + request.timeout;
    let follow = request.redirects > 0 && matches!(request.method, Method::GET | Method::HEAD);
    loop {
        let opened = timeout_at(deadline, once(egress, &request, deadline)).await;
        let opened = opened.map_err(|_| Failure::Timeout)??;
        let moved = matches!(opened.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = opened.headers.get(LOCATION).filter(|_| follow && moved) else {
            return Ok(opened);
        };
        let wrong = |why: &dyn std::fmt::Display| Failure::Protocol(format!("redirect: {why}"));
        let location = location.to_str().map_err(|e| wrong(&e))?;
        let next = request.url.join(location).map_err(|e| wrong(&e))?;
        redirect(&mut request, next)?;
    }
}

/// The same request to where it was sent on to.
fn redirect(request: &mut Request, next: Url) -> Result<(), Failure> {
    let Some(left) = request.redirects.checked_sub(1) else {
        return Err(Failure::Protocol("too many redirects".to_owned()));
    };
    if request.url.scheme() == "https" && next.scheme() != "https" {
        return Err(Failure::Protocol("redirect away from https".to_owned()));
    }
    if request.url.origin() != next.origin() {
        request.trust = Trust::Public;
        request.headers.remove(AUTHORIZATION);
        request.headers.remove(COOKIE);
    }
    request.at.clear();
    request.redirects = left;
    request.url = next;
    Ok(())
}

async fn once(
    egress: &Arc<Inner>,
    request: &Request,
    deadline: Instant,
) -> Result<Opened, Failure> {
    let to = destination(request)?;
    let turns = egress.pool.turns(&to);
    let turn = turns.acquire_owned().await.map_err(|_| Failure::Timeout)?;
    let place = egress.places.clone().acquire_owned().await.map_err(|_| Failure::Timeout)?;
    let mut message = whole(request)?;
    let mut stale = 0;
    loop {
        let kept = egress.pool.take(&to).filter(|_| stale < STALE_MAX);
        let reused = kept.is_some();
        let mut line = match kept {
            Some(line) => line,
            None => connect(egress, &to).await?,
        };
        match line.send(message).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                // Others need not wait for the end of this answer.
                if let Line::Many(many) = &line
                    && !reused
                {
                    egress.pool.keep(&to, Line::Many(many.clone()));
                }
                return Ok(Opened {
                    status: head.status,
                    headers: head.headers,
                    url: request.url.clone(),
                    body,
                    left: request.body_max,
                    deadline,
                    egress: egress.clone(),
                    to,
                    line: Some(line).filter(|line| matches!(line, Line::One(_))),
                    _places: [place, turn],
                });
            }
            Err(Broken::Unsent(again)) if reused => (message, stale) = (*again, stale + 1),
            // The other end may have closed a kept connection at this very moment. What may be said twice is (RFC 9110).
            Err(Broken::Lost(_)) if reused && request.method.is_idempotent() => {
                (message, stale) = (whole(request)?, STALE_MAX);
            }
            Err(Broken::Unsent(_)) => {
                return Err(Failure::Protocol("the connection was closed".to_owned()));
            }
            Err(Broken::Lost(failure)) => return Err(failure),
        }
    }
}

fn destination(request: &Request) -> Result<Destination, Failure> {
    let url = &request.url;
    let tls = match url.scheme() {
        "https" => true,
        "http" => false,
        other => return Err(Failure::Url(format!("the scheme {other}"))),
    };
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| Failure::Url("no host".to_owned()))?.to_owned();
    let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
    let (trust, at, by_proxy) = (request.trust, request.at.clone(), request.by_proxy);
    Ok(Destination { trust, tls, host, port, at, by_proxy })
}

/// The request as it is sent.
fn whole(request: &Request) -> Result<http::Request<Full<Bytes>>, Failure> {
    let url = &request.url;
    let bad = |e: &dyn std::fmt::Display| Failure::Url(e.to_string());
    let host = url.host_str().unwrap_or_default();
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri = http::Uri::builder()
        .scheme(url.scheme())
        .authority(authority)
        .path_and_query(format!("{}{query}", url.path()))
        .build()
        .map_err(|e| bad(&e))?;
    let mut message = http::Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    *message.headers_mut() = request.headers.clone();
    message.headers_mut().entry(USER_AGENT).or_insert(AGENT);
    Ok(message)
}

impl Opened {
    /// The next piece of the body; `None`: that was all.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let until = self.deadline.min(Instant::now() + PIECE_TIME_MAX);
            match timeout_at(until, self.body.frame()).await {
                Err(_) => return Err(Failure::Timeout),
                Ok(Some(Err(error))) => return Err(protocol(error)),
                Ok(Some(Ok(frame))) => {
                    // Trailers are of no use to anyone here.
                    let Ok(piece) = frame.into_data() else { continue };
                    self.left = self.left.checked_sub(piece.len()).ok_or(Failure::TooLarge)?;
                    return Ok(Some(piece));
                }
                Ok(None) => {
                    self.finish().await;
                    return Ok(None);
                }
            }
        }
    }

    /// Keeps the connection for the next request.
    async fn finish(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        if timeout(SETTLE_TIME_MAX, line.becomes_ready()).await.unwrap_or(false) {
            self.egress.pool.keep(&self.to, line);
        }
    }

    /// Reads the rest of the body.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn read_all(mut self) -> Result<Answer, Failure> {
        let told = self.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let expected = told.unwrap_or(self.body.size_hint().lower());
        let expected = usize::try_from(expected).map_err(|_| Failure::TooLarge)?;
        if expected > self.left && !self.body.is_end_stream() {
            return Err(Failure::TooLarge);
        }
        let mut body = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            body.extend_from_slice(&piece);
        }
        let (status, headers, url) = (self.status, self.headers, self.url);
        Ok(Answer { status, headers, body: body.freeze(), url })
    }
}
