//! How transactions go out: through [`Peers`], or into a test.

use std::{future::Future, pin::Pin, sync::Arc};

use base::UnixMs;
use flows::peers::{Patience, Peers, Unanswered};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName, ServerName, UInt,
    api::federation::transactions::send_transaction_message::v1::Request, serde::Raw,
};
use serde_json::value::RawValue;
use store::Store;
use tokio::sync::broadcast::error::RecvError;

/// A transaction (spec: Server-Server API, "Transactions").
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its id: the same when it is sent again.
    pub id: String,
    /// When it began, milliseconds since 1970.
    pub at: u64,
    /// Events in federation format.
    pub pdus: Vec<Arc<Box<RawValue>>>,
    /// EDUs, each as JSON text.
    pub edus: Vec<String>,
}

/// What came of it: the events that were refused, with what was said, or why there was no answer.
pub type Outcome = Result<Vec<(String, String)>, Unanswered>;
/// What a [`Wire`] does.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whatever brings a transaction to a server.
pub trait Wire: Send + Sync + 'static {
    /// Sends once.
    fn send<'a>(&'a self, to: &'a str, transaction: Transaction) -> Doing<'a, Outcome>;
    /// Until when there is no use in sending to a server, unless it is heard of.
    fn rests_until(&self, to: &str) -> Option<UnixMs>;
    /// A number that changes when the operator decides anew whom this server talks to.
    fn border_changes(&self) -> u64;
    /// The name of the next server that was heard of after it could not be reached.
    fn heard(&self) -> Doing<'_, String>;
}

/// The network.
pub struct Network {
    peers: Peers,
    store: Store,
}

impl Network {
    /// By way of these peers.
    #[must_use]
    pub fn new(peers: Peers, store: Store) -> Network {
        Network { peers, store }
    }
}

impl Wire for Network {
    fn send<'a>(&'a self, to: &'a str, transaction: Transaction) -> Doing<'a, Outcome> {
        Box::pin(async move {
            let silent = |e: &dyn std::fmt::Display| Unanswered::Silent(e.to_string());
            let to = OwnedServerName::try_from(to).map_err(|e| silent(&e))?;
            let at = UInt::new(transaction.at).unwrap_or(UInt::MAX);
            let mut request = Request::new(
                transaction.id.into(),
                self.store.server_name().to_owned(),
                MilliSecondsSinceUnixEpoch(at),
            );
            request.pdus = transaction.pdus.iter().map(|pdu| (**pdu).clone()).collect();
            for edu in transaction.edus {
                request.edus.push(Raw::from_json_string(edu).map_err(|e| silent(&e))?);
            }
            let answer = self.peers.request(&to, request, Patience::default()).await?;
            let refused = answer.pdus.into_iter();
            Ok(refused.filter_map(|(id, said)| Some((id.to_string(), said.err()?))).collect())
        })
    }

    fn rests_until(&self, to: &str) -> Option<UnixMs> {
        self.peers.rests_until(<&ServerName>::try_from(to).ok()?)
    }

    fn border_changes(&self) -> u64 {
        self.peers.border_changes()
    }

    fn heard(&self) -> Doing<'_, String> {
        let mut returned = self.peers.returned();
        Box::pin(async move {
            loop {
                match returned.recv().await {
                    Ok(server) => return server.to_string(),
                    // Those who were missed have a time at which they are tried.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => std::future::pending::<()>().await,
                }
            }
        })
    }
}
