//! The way to another server: what goes out is signed and whole, what comes back is whole. The real one looks up where the
//! server is and goes out through [`egress`]; a simulator puts another in its place.

use std::time::Duration;

use bytes::Bytes;
use egress::{Egress, Trust};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use ruma::OwnedServerName;
use url::Url;

use super::discovery::Directory;

/// How long an answer may take, and whether a server that could not be reached lately is asked all the same.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the whole exchange.
    pub timeout: Duration,
    /// Asks a resting server too: somebody waits for it, or it has just been heard of.
    pub insist: bool,
    /// The largest answer, bytes.
    pub body_max: usize,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { timeout: Duration::from_secs(30), insist: false, body_max: 16 << 20 }
    }
}

/// A way to other servers.
pub trait Wire: Send + Sync + 'static {
    /// Takes a request to a server and brings back what it answers, whatever the status. The URI of the request is path
    /// and query only. An error is why nothing came back, for a person.
    fn exchange(
        &self,
        to: OwnedServerName,
        request: Request<Bytes>,
        patience: Patience,
    ) -> BoxFuture<'_, Result<Response<Bytes>, String>>;
}

/// The real world.
pub(super) struct World {
    egress: Egress,
    directory: Directory,
}

impl World {
    pub(super) fn new(egress: Egress) -> World {
        World { directory: Directory::new(egress.clone()), egress }
    }
}

impl Wire for World {
    fn exchange(
        &self,
        to: OwnedServerName,
        request: Request<Bytes>,
        patience: Patience,
    ) -> BoxFuture<'_, Result<Response<Bytes>, String>> {
        Box::pin(async move {
            let way = self.directory.find(&to).await;
            let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
            let url = Url::parse(&format!("https://{}{target}", way.authority));
            let url = url.map_err(|e| format!("{}: {e}", way.authority))?;
            let (head, body) = request.into_parts();
            let mut message = egress::Request::new(head.method, url, Trust::Public);
            (message.headers, message.body, message.at) = (head.headers, body, way.at);
            message.by_proxy = true;
            (message.timeout, message.body_max) = (patience.timeout, patience.body_max);
            match self.egress.send(message).await {
                Ok(answer) => {
                    let mut response = Response::new(answer.body);
                    *response.status_mut() = answer.status;
                    *response.headers_mut() = answer.headers;
                    Ok(response)
                }
                Err(failure) => {
                    self.directory.doubt(&to).await;
                    Err(failure.to_string())
                }
            }
        })
    }
}
