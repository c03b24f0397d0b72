//! Tells other servers what concerns them (spec: Server-Server API, "Transactions", "EDUs").
//!
//! There is no queue of events: a destination is a position in the log and at most one transaction on its way. One reader takes each
//! entry of the log once and hands it to those whom it concerns ([`router`], [`desk`]); a destination that is down, or not
//! quick enough, keeps only its position, and reads the log from there when it is back. What is in a transaction is written
//! down before it is sent ([`scribe`]), so that it is the same whenever it has to be sent again; a destination's row is written
//! again when it has everything. Idle destinations have no task, and cost nothing.
//!
//! Invariant: the position of the reader that is written down lies behind nothing that a destination has not acknowledged, unless that
//! destination's own row says where to go on.

mod compose;
mod concern;
mod desk;
mod edus;
mod passing;
mod router;
mod scribe;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

use std::{sync::Arc, time::Duration};

use store::Store;
use tokio::{sync::watch, task::JoinHandle};

use scribe::Place;
pub use wire::{Doing, Network, Outcome, Transaction, Wire};

/// After a fault of ours, before the next try.
const RETRY: Duration = Duration::from_secs(1);

/// How other servers are told.
#[derive(Clone)]
pub struct Outlet {
    /// The store.
    pub store: Store,
    /// What brings transactions to them.
    pub wire: Arc<dyn Wire>,
    /// No other process has the store open.
    pub alone: bool,
}

/// The running sender.
pub struct Federation {
    tell: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Federation {
    /// Starts it, where it stopped.
    #[must_use]
    pub fn start(outlet: Outlet) -> Federation {
        let (tell, stop) = watch::channel(false);
        let task = tokio::spawn(run(outlet, stop));
        Federation { tell, task }
    }

    /// Stops it: transactions under way may be acknowledged.
    pub async fn stop(self) {
        self.tell.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "telling other servers had ended");
        }
    }
}

async fn run(outlet: Outlet, mut stop: watch::Receiver<bool>) {
    let place = Place::new(outlet.alone);
    while !*stop.borrow() {
        let ended = match place.claim(&outlet.store).await {
            Ok(true) => router::run(&outlet, place, &mut stop).await,
            // Another process sends. When that is gone, we do.
            Ok(false) => {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(scribe::LEASE) => {}
                    _ = stop.changed() => {}
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "cannot tell other servers");
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
    if let Err(error) = place.release(&outlet.store).await {
        tracing::error!(%error, "the place of the sender was not released");
    }
}
