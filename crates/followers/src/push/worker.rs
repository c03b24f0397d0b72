//! One pusher at work: what is pending is told one by one, in order, each when the one before is known to have arrived.

use std::{sync::Arc, time::Duration};

use accounts::pusher;
use base::{Reply, Seq, User};
use notify::gateway;
use store::{
    View, event,
    schema::{PUSH_CURSORS, PUSHERS, PushCursor, Pusher, PusherId},
    user,
};
use tokio::sync::{Semaphore, watch};

use super::{
    Outlet,
    badge::Badge,
    digest,
    pending::{Found, Me, pending, still},
    post::{Outcome, post},
    slot::{Slot, Work},
    told,
};

/// After the first failure; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// A gateway that comes back is noticed after this at the latest.
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);
/// After a fault of ours, before the next try.
const RETRY: Duration = Duration::from_secs(1);

/// What all workers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) outlet: Outlet,
    pub(super) posts: Arc<Semaphore>,
    pub(super) stop: watch::Receiver<bool>,
}

pub(super) struct Worker {
    pub(super) shared: Shared,
    pub(super) slot: Arc<Slot>,
    pub(super) user: User,
    pub(super) id: PusherId,
    /// Everything up to here was looked at, though perhaps not written down.
    pub(super) at: Seq,
    failures: u32,
}

/// How a round ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Nothing is left to do.
    Done,
    /// The server stops, or the pusher is gone.
    Over,
}

/// What to do next about one event or count.
enum Step {
    /// The pusher is gone or off.
    Over,
    /// It was read meanwhile, or is too old.
    Skip,
    /// This is to be told.
    Tell { pusher: Box<Pusher>, body: String, unread: u64 },
}

impl Worker {
    pub(super) fn new(shared: Shared, slot: Arc<Slot>, user: User, id: PusherId) -> Worker {
        Worker { shared, slot, user, id, at: Seq::ZERO, failures: 0 }
    }

    /// Works until nothing is left, or the server stops.
    pub(super) async fn run(mut self) {
        while let Some(work) = self.slot.take() {
            self.slot.touch(&work.stale);
            match self.round(&work).await {
                Ok(Round::Done) => {}
                Ok(Round::Over) => {
                    // What is left is found again from the cursor, at the next start or when the pusher is set.
                    if self.is_stopping() {
                        return;
                    }
                }
                Err(e) => {
                    tracing::error!(error = %e, "a push failed");
                    self.slot.give(&work);
                    self.wait(RETRY).await;
                }
            }
            if self.is_stopping() {
                return;
            }
        }
    }

    async fn round(&mut self, work: &Work) -> Reply<Round> {
        let (user, id) = (self.user, self.id);
        let store = &self.shared.outlet.store;
        let kind = store.read(move |view| Ok(load(view, user, id)?.map(|(p, _)| p.kind))).await?;
        match kind.as_deref() {
            Some(pusher::HTTP) => self.tell_all(work).await,
            Some(pusher::EMAIL) => digest::write_all(self, work).await,
            _ => Ok(Round::Over),
        }
    }

    /// Tells a gateway of all that is pending, and of an unread count that went to zero.
    async fn tell_all(&mut self, work: &Work) -> Reply<Round> {
        let mut rooms = work.rooms.clone();
        while !rooms.is_empty() {
            let (user, id, at, upto) = (self.user, self.id, self.at, work.upto);
            let read = self.shared.outlet.store.read(move |view| {
                let Some((_, cursor)) = load(view, user, id)? else { return Ok(None) };
                let user_id = user::id(view, user)?;
                let me = Me { user, id: &user_id };
                pending(view, me, &rooms, at.max(cursor.upto), upto).map(Some)
            });
            let Some(pending) = read.await? else { return Ok(Round::Over) };
            for found in pending.found {
                if self.tell_one(Some(found)).await? == Round::Over {
                    return Ok(Round::Over);
                }
                self.at = self.at.max(found.seq);
            }
            self.at = self.at.max(pending.covered);
            rooms = pending.rooms;
        }
        self.tell_one(None).await
    }

    /// Tells of one event (`None`: that nothing is unread any more), however long it takes.
    async fn tell_one(&mut self, found: Option<Found>) -> Reply<Round> {
        loop {
            if self.is_stopping() {
                return Ok(Round::Over);
            }
            let (pusher, body, unread) = match self.step(found).await? {
                Step::Over => return Ok(Round::Over),
                Step::Skip => return Ok(Round::Done),
                Step::Tell { pusher, body, unread } => (pusher, body, unread),
            };
            let Ok(permit) = self.shared.posts.acquire().await else { return Ok(Round::Over) };
            let url = pusher.url.as_deref().unwrap_or_default();
            let outcome = post(&self.shared.outlet.egress, url, body, &pusher.pushkey).await;
            drop(permit);
            count(&outcome);
            match outcome {
                Outcome::Told => {
                    self.succeed();
                    self.write_down(found.map(|found| found.seq), unread).await?;
                    return Ok(Round::Done);
                }
                Outcome::Rejected => {
                    let (user, id, set) = (self.user, self.id, pusher.set);
                    let store = &self.shared.outlet.store;
                    store.write(None, move |tx| pusher::reject(tx, user, id, set)).await?;
                    return Ok(Round::Over);
                }
                Outcome::Failed(why) => {
                    tracing::debug!(app = %pusher.app_id, %why, "a gateway cannot be told");
                    self.fail().await?;
                }
            }
        }
    }

    /// Looks with fresh eyes at what is to be told.
    async fn step(&self, found: Option<Found>) -> Reply<Step> {
        let (user, id) = (self.user, self.id);
        let mut badge = self.slot.badge();
        let read = self.shared.outlet.store.read(move |view| {
            let step = step(view, user, id, found, &mut badge)?;
            Ok((step, badge))
        });
        // After a fault, everything is counted again.
        let (step, badge) = read.await?;
        self.slot.keep(badge);
        Ok(step)
    }

    /// Writes down that something arrived.
    async fn write_down(&self, seq: Option<Seq>, unread: u64) -> Reply<()> {
        self.change(move |cursor, _| {
            if let Some(seq) = seq {
                cursor.upto = cursor.upto.max(seq);
            }
            cursor.badge = unread;
            cursor.failing = None;
        })
        .await
    }

    /// Changes the cursor, if the pusher is still there.
    pub(super) async fn change(
        &self,
        f: impl Fn(&mut PushCursor, base::UnixMs) + Send + 'static,
    ) -> Reply<()> {
        let key = (self.user, self.id);
        let written = self.shared.outlet.store.write(None, move |tx| {
            let Some(before) = tx.get(&PUSH_CURSORS, key)? else { return Ok(()) };
            let mut cursor = before.clone();
            f(&mut cursor, tx.now());
            if cursor != before {
                tx.put(&PUSH_CURSORS, key, &cursor);
            }
            Ok(())
        });
        written.await.map(drop)
    }

    /// Notes a failure and waits before the next try.
    pub(super) async fn fail(&mut self) -> Reply<()> {
        self.change(|cursor, now| {
            cursor.failing.get_or_insert(now);
        })
        .await?;
        let wait = BACKOFF_MIN.saturating_mul(1 << self.failures.min(20)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.wait(wait).await;
        Ok(())
    }

    /// The next failure is the first again.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Waits, unless the pusher is set again or the server stops.
    pub(super) async fn wait(&self, time: Duration) {
        let mut stop = self.shared.stop.clone();
        tokio::select! {
            biased;
            () = tokio::time::sleep(time) => {}
            () = self.slot.again.notified() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.shared.stop.borrow()
    }
}

/// A pusher that is switched on, and how far it has come.
pub(super) fn load(view: &View, user: User, id: PusherId) -> Reply<Option<(Pusher, PushCursor)>> {
    let Some(pusher) = view.get(&PUSHERS, (user, id))?.filter(|pusher| pusher.enabled) else {
        return Ok(None);
    };
    let cursor = view.get(&PUSH_CURSORS, (user, id))?.unwrap_or_default();
    Ok(Some((pusher, cursor)))
}

fn step(
    view: &View,
    user: User,
    id: PusherId,
    found: Option<Found>,
    badge: &mut Badge,
) -> Reply<Step> {
    let Some((pusher, cursor)) = load(view, user, id)? else { return Ok(Step::Over) };
    let user_id = user::id(view, user)?;
    let unread = badge.total(view, user, &user_id)?;
    let Some(found) = found else {
        if cursor.badge == 0 || unread > 0 {
            return Ok(Step::Skip);
        }
        let body = gateway::badge(&pusher, 0)?;
        return Ok(Step::Tell { pusher: Box::new(pusher), body, unread });
    };
    let me = Me { user, id: &user_id };
    let Some(verdict) = still(view, me, found)? else { return Ok(Step::Skip) };
    let stored = event::load(view, found.event)?;
    if gateway::is_old(stored.row.sent_at, cursor.failing, view.now()) {
        metrics::counter!("althing_push_total", "kind" => pusher::HTTP, "outcome" => "given_up")
            .increment(1);
        return Ok(Step::Skip);
    }
    let about = told::about(view, &user_id, &stored, &verdict)?;
    let body = gateway::about(&pusher, &about, unread)?;
    Ok(Step::Tell { pusher: Box::new(pusher), body, unread })
}

fn count(outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Told => "told",
        Outcome::Rejected => "rejected",
        Outcome::Failed(_) => "failed",
    };
    metrics::counter!("althing_push_total", "kind" => pusher::HTTP, "outcome" => outcome)
        .increment(1);
}
