//! The door without sockets: requests that are in memory, for simulations and fuzzing. What answers them is the same.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, atomic::AtomicBool},
};

use base::Reply;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::{
    body::Arriving,
    call::{Peer, Resources, Rim},
    handler::Routes,
    outside::Outside,
};

/// A server without listeners. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    rim: Arc<Rim>,
    peer: Arc<Peer>,
}

impl Local {
    /// Answers with these endpoints, all resources, for somebody on this machine. To be made within a tokio runtime.
    ///
    /// # Errors
    /// A fault if two endpoints share a place.
    pub fn new(routes: Routes, outside: Outside) -> Reply<Local> {
        let peer = Peer {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            local: true,
            resources: Resources::all(),
            spoke: AtomicBool::new(false),
        };
        Ok(Local { rim: Arc::new(Rim::new(routes, outside)?), peer: Arc::new(peer) })
    }

    /// The response to a request. Never fails, never panics; of a response that breaks off, what came before.
    pub async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let answer = self.rim.clone().answer(self.peer.clone(), request.map(Arriving::Whole)).await;
        let Ok(response) = answer;
        let (head, mut body) = response.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(chunk) = frame.into_data() {
                bytes.extend_from_slice(&chunk);
            }
        }
        Response::from_parts(head, bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_request_in_memory_is_answered_as_one_from_a_socket() {
        let (store, folder) = (testing::store(), tempfile::TempDir::new().unwrap());
        let (_stop, outside) = testing::outside(&store, &folder, |_| {});
        let local = Local::new(crate::client::routes(), outside).unwrap();
        let ask = |path: &str, body: &'static str| {
            let method = if body.is_empty() { "GET" } else { "POST" };
            let request = Request::builder().method(method).uri(path);
            local.call(request.body(Bytes::from_static(body.as_bytes())).unwrap())
        };
        let versions = ask("/_matrix/client/versions", "").await;
        assert_eq!(versions.status(), 200);
        assert!(std::str::from_utf8(versions.body()).unwrap().contains("v1.11"));
        assert_eq!(ask("/_matrix/client/v3/account/whoami", "").await.status(), 401);
        assert_eq!(ask("/_matrix/client/v3/login", "{").await.status(), 400);
        assert_eq!(ask("/nowhere", "").await.status(), 404);
    }
}
