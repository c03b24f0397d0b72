//! Tells application services what concerns them, each in the order of the log, each event once (spec: Application
//! Service API, "Pushing events").
//!
//! There is no queue of events: an application service is a position in the log and at most one transaction on its way.
//! What is in that transaction is written down before it is sent, so that it is the same whenever it has to be sent
//! again, and the position moves only when it was acknowledged. One that cannot be reached stays where it is; when it
//! comes back it is told everything.

mod compose;
mod interest;
mod post;
mod queue;

use std::{sync::Arc, time::Duration};

use base::{Epoch, Reply, Seq};
use flows::appservice::Bridges;
use protocol::appservice::Registration;
use store::Store;
use tokio::sync::watch;

use compose::{Composed, body, compose};
use interest::Interest;
use queue::Line;

/// After a fault of ours, before the next try.
const RETRY: Duration = Duration::from_secs(1);
/// Entries that are nobody's business are passed without a commit, up to this many: a restart reads them again.
const PASSED_MAX: u64 = 10_000;

/// Tells one application service, until `stop` turns true. `alone`: no other process has this store open. What happens from this
/// call on, it is told, however late the future is begun.
pub fn tell(
    store: Store,
    bridges: Bridges,
    service: Arc<Registration>,
    alone: bool,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send {
    let line = Line::new(store.clone(), service.clone(), alone);
    let teller = Teller {
        interest: Some(Interest::new(service.clone())),
        head: store.watch_head(),
        nudges: store.watch_nudges(),
        post: post::Post { bridges, service: service.clone() },
        at: Seq::ZERO,
        typing: Epoch(0),
        line,
        store,
        service,
    };
    keep_telling(teller, stop)
}

async fn keep_telling(mut teller: Teller, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(error) = teller.run(&mut stop).await {
            tracing::error!(appservice = teller.service.id, %error, "cannot tell an application service");
            tokio::select! { () = tokio::time::sleep(RETRY) => {}, _ = stop.changed() => {} }
        }
    }
    if let Err(error) = teller.line.release().await {
        tracing::error!(appservice = teller.service.id, %error, "a queue was not released");
    }
}

struct Teller {
    store: Store,
    service: Arc<Registration>,
    /// Lent to readers.
    interest: Option<Interest>,
    head: watch::Receiver<Seq>,
    nudges: watch::Receiver<u64>,
    post: post::Post,
    line: Line,
    /// Looked at up to here. Not behind what was acknowledged.
    at: Seq,
    typing: Epoch,
}

impl Teller {
    /// Until it is stopped, or no longer ours to do.
    async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Reply<()> {
        let Some(row) = self.line.claim().await? else {
            // Another process tells it. When that is gone, we do.
            tokio::select! { () = tokio::time::sleep(queue::LEASE) => {}, _ = stop.changed() => {} }
            return Ok(());
        };
        self.at = row.upto;
        // Of who typed before this process, nobody knows.
        self.typing = Epoch(0);
        if let Some(sending) = row.sending {
            let (service, events) = (self.service.clone(), sending.events);
            let text = self.store.read(move |view| body(view, &service, &events, &[])).await?;
            if !self.deliver(sending.number, text, stop).await? {
                return Ok(());
            }
            self.at = sending.upto;
            self.line.acknowledged(sending.upto);
        }
        while !*stop.borrow() {
            self.head.mark_unchanged();
            self.nudges.mark_unchanged();
            let composed = self.compose().await?;
            let caught_up = composed.upto >= *self.head.borrow();
            if !composed.is_empty() {
                if !self.send(composed, stop).await? {
                    return Ok(());
                }
            } else {
                (self.at, self.typing) = (composed.upto, composed.typing);
                self.line.pass(self.at, PASSED_MAX).await?;
                if caught_up {
                    self.wait(stop).await?;
                }
            }
            self.gauge();
        }
        Ok(())
    }

    async fn compose(&mut self) -> Reply<Composed> {
        let service = self.service.clone();
        let mut interest = self.interest.take().unwrap_or_else(|| Interest::new(service.clone()));
        let (at, typing) = (self.at, self.typing);
        let read = self.store.read(move |view| {
            let composed = compose(view, &mut interest, &service, at, typing)?;
            Ok((composed, interest))
        });
        let (composed, interest) = read.await?;
        self.interest = Some(interest);
        Ok(composed)
    }

    /// Writes down what is to be sent, sends it, and goes on behind it. Says no if it was stopped before that.
    async fn send(&mut self, composed: Composed, stop: &mut watch::Receiver<bool>) -> Reply<bool> {
        let Composed { upto, events, ephemeral, typing } = composed;
        let Some(number) = self.line.put(self.at, upto, events.clone()).await? else {
            return Ok(false);
        };
        let service = self.service.clone();
        let text = self.store.read(move |view| body(view, &service, &events, &ephemeral)).await?;
        if !self.deliver(number, text, stop).await? {
            return Ok(false);
        }
        (self.at, self.typing) = (upto, typing);
        self.line.acknowledged(upto);
        Ok(true)
    }

    /// Says no if it was stopped, or taken over, before it was acknowledged.
    async fn deliver(
        &mut self,
        number: u64,
        text: String,
        stop: &mut watch::Receiver<bool>,
    ) -> Reply<bool> {
        let id = self.line.transaction_id(number);
        let delivered = self.post.deliver(id, text.into(), stop);
        tokio::select! {
            delivered = delivered => Ok(delivered),
            lost = self.line.hold() => lost.map(|()| false),
        }
    }

    /// Until something has happened, or it is time to say that we are still there.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) -> Reply<()> {
        tokio::select! {
            _ = self.head.changed() => Ok(()),
            _ = self.nudges.changed(), if self.service.ephemeral => Ok(()),
            _ = stop.changed() => Ok(()),
            lost = self.line.hold() => lost,
        }
    }

    fn gauge(&self) {
        let lag = self.store.head().0.saturating_sub(self.at.0);
        metrics::gauge!("althing_appservice_lag", "appservice" => self.service.id.clone())
            .set(lag as f64);
    }
}

#[cfg(test)]
mod tests;
