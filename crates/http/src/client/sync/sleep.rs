//! How a long-poll sleeps: without a thread and without a view.

use std::future::Future;

use tokio::time::{Instant, sleep_until};

use crate::outside::Stop;

/// Sleeps until `wake`. `false`: the time is over, or the server stops.
pub(super) async fn woken(
    wake: impl Future<Output = ()>,
    deadline: Instant,
    stop: &mut Stop,
) -> bool {
    tokio::select! {
        biased;
        () = wake => true,
        () = sleep_until(deadline) => false,
        () = stop.stopped() => false,
    }
}
