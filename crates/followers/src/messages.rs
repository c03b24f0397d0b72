//! Keeps the index of messages up to the log, in the background: not event by event, which would cost more than the
//! events themselves, but some seconds after something has happened.

use std::{sync::Arc, time::Duration};

use search::Messages;
use store::Store;
use tokio::sync::watch;

/// From the first thing that happened until it is taken in, together with what else has happened by then.
const DELAY: Duration = Duration::from_secs(10);
/// After a fault, before the next try.
const RETRY: Duration = Duration::from_secs(30);

/// Runs until `stop` turns true. Logs faults and goes on.
pub async fn index_messages(store: Store, index: Arc<Messages>, mut stop: watch::Receiver<bool>) {
    let mut head = store.watch_head();
    while !*stop.borrow() {
        let wait = match catch_up(&store, &index).await {
            Ok(true) => continue,
            Ok(false) => DELAY,
            Err(e) => {
                tracing::error!(error = %e, "the search index cannot be brought up to date");
                RETRY
            }
        };
        let lag = store.head().0.saturating_sub(index.position().0);
        metrics::gauge!("althing_follower_lag", "follower" => "messages").set(lag as f64);
        head.borrow_and_update();
        if store.head() <= index.position() {
            index.rest();
            tokio::select! {
                biased;
                _ = stop.changed() => continue,
                _ = head.changed() => {}
            }
        }
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn catch_up(store: &Store, index: &Arc<Messages>) -> base::Reply<bool> {
    let (store, index) = (store.clone(), index.clone());
    let done = tokio::task::spawn_blocking(move || index.catch_up(&store)).await;
    done.map_err(|e| base::Error::fault(format!("indexing ended: {e}")))?
}
