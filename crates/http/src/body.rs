//! Bodies: those that we send, and those that arrive.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use base::{Error, Reply, limits::BODY_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// The body of a response.
pub struct Body(Content);

enum Content {
    Whole(Bytes),
    Stream { chunks: Chunks, left: Option<u64> },
}

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Body {
    /// Nothing.
    #[must_use]
    pub fn empty() -> Body {
        Body(Content::Whole(Bytes::new()))
    }

    /// Chunks as they come. `length`: how many bytes they are together, if known. An error ends the connection.
    pub fn stream(
        chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        length: Option<u64>,
    ) -> Body {
        Body(Content::Stream { chunks: Box::pin(chunks), left: length })
    }

    /// The bytes, if it is no stream.
    #[must_use]
    pub fn into_bytes(self) -> Option<Bytes> {
        match self.0 {
            Content::Whole(bytes) => Some(bytes),
            Content::Stream { .. } => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body(Content::Whole(bytes))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Content::Whole(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Content::Stream { .. } => f.write_str("Body(stream)"),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Stream { chunks, left } => chunks.as_mut().poll_next(cx).map_ok(|chunk| {
                if let Some(left) = left {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                Frame::data(chunk)
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Content::Stream { left: None, .. } => SizeHint::default(),
        }
    }
}

/// The body of a request: from a connection, or whole ([`crate::Local`]).
pub(crate) enum Arriving {
    Socket(Incoming),
    Whole(Bytes),
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut *self {
            Arriving::Socket(body) => Pin::new(body).poll_frame(cx),
            Arriving::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Arriving::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Arriving::Socket(body) => body.is_end_stream(),
            Arriving::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Arriving::Socket(body) => body.size_hint(),
            Arriving::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// A whole body of ordinary size has to arrive within this: a slow phone sends 1 MiB in less.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two chunks of an upload.
const UPLOAD_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Keys of rooms for a backup: clients send some hundreds at a time, of a thousand bytes each.
const ROOM_KEYS_BYTES_MAX: usize = 8 << 20;

/// A message of a device that signs in by a QR code (MSC4108, "Maximum payload size").
const RENDEZVOUS_BYTES_MAX: usize = 4 << 10;
/// The same in JSON, where a character may take twelve bytes (MSC4388).
const RENDEZVOUS_JSON_BYTES_MAX: usize = 64 << 10;

/// The largest body of an endpoint for clients, by its path.
pub(crate) fn bytes_max(path: &str) -> usize {
    let special = [
        ("/room_keys/keys", ROOM_KEYS_BYTES_MAX),
        ("/org.matrix.msc4108/rendezvous", RENDEZVOUS_BYTES_MAX),
        ("/io.element.msc4388/rendezvous", RENDEZVOUS_JSON_BYTES_MAX),
    ];
    let special = special.into_iter().find(|(part, _)| path.contains(part));
    special.map_or(BODY_BYTES_MAX, |(_, max)| max)
}

/// Bodies in memory, all together. Beyond that, newcomers are sent away instead of taking the memory of the rest.
const BODIES_BYTES_MAX: usize = 256 << 20;

/// How many bytes of bodies are in memory.
#[derive(Default)]
pub(crate) struct Bodies(AtomicUsize);

/// The part of [`Bodies`] that belongs to one request.
pub(crate) struct Claim<'a> {
    of: &'a Bodies,
    bytes: usize,
}

impl Bodies {
    pub(crate) fn claim(&self) -> Claim<'_> {
        Claim { of: self, bytes: 0 }
    }
}

impl Claim<'_> {
    fn more(&mut self, bytes: usize) -> Reply<()> {
        self.bytes += bytes;
        let before = self.of.0.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > BODIES_BYTES_MAX { Err(busy()) } else { Ok(()) }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// 503: come back in a second.
pub(crate) fn busy() -> Error {
    let mut no = Error::refusal(503, "M_LIMIT_EXCEEDED", "the server is too busy");
    no.retry_after_ms = Some(1_000);
    no.into()
}

/// Reads a body into memory.
///
/// # Errors
/// 413 `M_TOO_LARGE` over `bytes_max` (at once, if the length is announced), 408 if it takes too long, 400 if the
/// client breaks off, 503 if there are too many bodies already.
pub(crate) async fn read_whole(
    body: Arriving,
    bytes_max: usize,
    within: Duration,
    claim: &mut Claim<'_>,
) -> Reply<Bytes> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max as u64));
    }
    timeout(within, gather(body, bytes_max, claim)).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn gather(mut body: Arriving, bytes_max: usize, claim: &mut Claim<'_>) -> Reply<Bytes> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| broken_off())?.into_data() else { continue };
        if first.len() + all.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max as u64));
        }
        claim.more(chunk.len())?;
        // Most bodies are one chunk, which then is not copied.
        if first.is_empty() && all.is_empty() {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large(bytes_max: u64) -> Error {
    Error::too_large(format!("the body is larger than {bytes_max} bytes"))
}
fn too_slow() -> Error {
    Error::refused(408, "M_UNKNOWN", "the body did not arrive in time")
}
fn broken_off() -> Error {
    Error::refused(400, "M_UNKNOWN", "the body broke off")
}

/// A body that is taken as it arrives: at most so many bytes, and none of the pauses too long.
pub struct Upload {
    body: Arriving,
    taken: u64,
    bytes_max: u64,
}

impl Upload {
    /// # Errors
    /// 413 `M_TOO_LARGE` if it announces more than `bytes_max`.
    pub(crate) fn new(body: Arriving, bytes_max: u64) -> Reply<Upload> {
        if body.size_hint().lower() > bytes_max {
            return Err(too_large(bytes_max));
        }
        Ok(Upload { body, taken: 0, bytes_max })
    }

    /// The announced length.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// 413 `M_TOO_LARGE`, 408 if nothing comes, 400 if the client breaks off.
    pub async fn next(&mut self) -> Reply<Option<Bytes>> {
        loop {
            let Ok(frame) = timeout(UPLOAD_PAUSE_MAX, self.body.frame()).await else {
                return Err(too_slow());
            };
            let Some(frame) = frame else { return Ok(None) };
            let Ok(chunk) = frame.map_err(|_| broken_off())?.into_data() else { continue };
            self.taken += chunk.len() as u64;
            if self.taken > self.bytes_max {
                return Err(too_large(self.bytes_max));
            }
            return Ok(Some(chunk));
        }
    }

    /// The chunks as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Reply<Bytes>> + Send {
        futures_util::stream::try_unfold(self, |mut upload| async move {
            Ok(upload.next().await?.map(|chunk| (chunk, upload)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_together_are_bounded_and_what_is_done_makes_room() {
        let bodies = Bodies::default();
        let (mut one, mut two) = (bodies.claim(), bodies.claim());
        one.more(BODIES_BYTES_MAX).unwrap();
        assert!(two.more(1).is_err());
        drop((one, two));
        bodies.claim().more(BODIES_BYTES_MAX).unwrap();
    }
}
