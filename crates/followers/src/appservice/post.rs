//! Delivering one transaction, however long that takes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use flows::appservice::{Ask, Bridges};
use http::Method;
use protocol::appservice::Registration;
use rand::RngExt as _;
use tokio::{sync::watch, time::timeout};

/// For one try: some bridges answer only when they have handled everything.
const TIMEOUT: Duration = Duration::from_secs(60);
/// After the first failure.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two tries at most: how long a bridge that comes back may have to wait.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What is under way when the server stops may still be answered within this.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(super) struct Post {
    pub(super) bridges: Bridges,
    pub(super) service: Arc<Registration>,
}

impl Post {
    /// Tries until it is acknowledged. Says no if it was stopped before.
    pub(super) async fn deliver(
        &self,
        id: String,
        body: Bytes,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut failures = 0;
        while !*stop.borrow() {
            let once = self.once(&id, &body);
            tokio::pin!(once);
            let done = tokio::select! {
                done = &mut once => done,
                _ = stop.changed() => timeout(LAST_WORDS, once).await.unwrap_or(false),
            };
            if done {
                return true;
            }
            let pause = pause(failures, rand::rng().random_range(0.75..1.25));
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.bridges.awakes(&self.service) => {}
                _ = stop.changed() => {}
            }
        }
        false
    }

    async fn once(&self, id: &str, body: &Bytes) -> bool {
        let ask = Ask {
            method: Method::PUT,
            path: &["transactions", id],
            legacy: &["transactions", id],
            query: &[],
            body: body.clone(),
            timeout: TIMEOUT,
        };
        match self.bridges.ask(&self.service, &ask).await {
            Ok(answer) if answer.status.is_success() => return true,
            Ok(answer) => tracing::warn!(
                appservice = self.service.id, transaction = id, status = %answer.status,
                "a transaction was not acknowledged"
            ),
            Err(failure) => tracing::warn!(
                appservice = self.service.id, transaction = id, %failure,
                "a transaction was not delivered"
            ),
        }
        metrics::counter!("althing_appservice_failures_total", "appservice" => self.service.id.clone())
            .increment(1);
        false
    }
}

/// Twice as long after each failure, up to a limit, and never quite alike, so that what failed together is not tried
/// again together.
fn pause(failures: u32, jitter: f64) -> Duration {
    PAUSE.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(0, 1.0), PAUSE);
        assert_eq!(pause(3, 1.0), PAUSE * 8);
        assert!(pause(3, 0.75) < pause(3, 1.25));
        assert_eq!(pause(100, 1.0), PAUSE_MAX);
    }
}
