//! A connection over which requests can be sent: of HTTP/1.1 (one at a time) or HTTP/2 (many at once).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::HOST, uri::PathAndQuery};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Failure;

/// The head of an answer, and what is buffered of it.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How often the other end of an HTTP/2 connection is asked whether it is there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(20);

pub(crate) enum Line {
    One(http1::SendRequest<Full<Bytes>>),
    Many(http2::SendRequest<Full<Bytes>>),
}

/// Why a request over a line got no answer.
pub(crate) enum Broken {
    /// It was not sent at all: the connection had ended before. Here it is again.
    Unsent(Box<Request<Full<Bytes>>>),
    /// The other end may have seen it.
    Lost(Failure),
}

impl Line {
    /// Begins to speak HTTP. The connection is driven by a task that ends with it, or when nobody holds the line.
    pub(crate) async fn begin<T>(stream: T, h2: bool) -> Result<Line, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        if h2 {
            let (line, driver) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(HEAD_BYTES_MAX as u32)
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_EVERY)
                .handshake(io)
                .await
                .map_err(protocol)?;
            tokio::spawn(async move { drop(driver.await) });
            return Ok(Line::Many(line));
        }
        let (line, driver) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(protocol)?;
        tokio::spawn(async move { drop(driver.await) });
        Ok(Line::One(line))
    }

    /// Can it take a request now?
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Line::One(line) => line.is_ready(),
            Line::Many(line) => line.is_ready(),
        }
    }

    /// Waits until it can take one; says no if it never will.
    pub(crate) async fn becomes_ready(&mut self) -> bool {
        match self {
            Line::One(line) => line.ready().await.is_ok(),
            Line::Many(line) => line.ready().await.is_ok(),
        }
    }

    /// Sends; `request` has the whole URL, of which HTTP/1.1 gets path and `Host`.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Broken> {
        let whole = request.uri().clone();
        let sent = match self {
            Line::One(line) => {
                let host = whole.authority().map_or("", |authority| authority.as_str());
                let host = HeaderValue::from_str(host);
                let host = host.map_err(|e| Broken::Lost(Failure::Url(e.to_string())))?;
                request.headers_mut().insert(HOST, host);
                let path = whole.path_and_query().cloned();
                *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
                line.try_send_request(request).await
            }
            Line::Many(line) => line.try_send_request(request).await,
        };
        sent.map_err(|mut error| match error.take_message() {
            // For another try it has to be whole again.
            Some(mut request) => {
                *request.uri_mut() = whole;
                request.headers_mut().remove(HOST);
                Broken::Unsent(Box::new(request))
            }
            None => Broken::Lost(protocol(error.into_error())),
        })
    }
}

pub(crate) fn protocol(error: hyper::Error) -> Failure {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    Failure::Protocol(text)
}
