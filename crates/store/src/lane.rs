//! Transactions: run on the pool, committed in groups, run again on a conflict.
//!
//! Writers of one room queue in a **lane** instead of colliding. When a lane is free it takes everything that waits in
//! it and runs it in one transaction, each job behind a savepoint: a hot room shares its commits, and its event
//! graph stays linear. What a job writes under its position in the log those behind it in the transaction do not see: a job that
//! reads such rows asks to be the first of one.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use base::{Error, Fault, Seq};
use kv::Verdict;
use parking_lot::Mutex;

use crate::{Shared, keyspace::Tenant, view::Tx};

/// What queues together. Any number; two different things with one number merely wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane(pub u64);

impl Lane {
    /// The lane in which the writers of a room queue.
    #[must_use]
    pub fn of_room(room_id: &str) -> Lane {
        let mut hasher = DefaultHasher::new();
        room_id.hash(&mut hasher);
        Lane(hasher.finish())
    }
}

/// Jobs of one lane in one transaction: bounds what is run again on a conflict.
const LANE_BATCH_MAX: usize = 64;
/// Runs of a batch before it is given up as a fault: conflicts with other nodes or lanes are rare.
const ATTEMPTS_MAX: usize = 50;

/// Runs of a transaction outside lanes before it queues with all others that keep colliding.
const ALONE_MAX: usize = 3;
/// Where they queue.
const COLLIDERS: Lane = Lane(u64::MAX);

/// A queued transaction: `run` says whether its writes are to be kept, `done` is told the outcome, once.
pub(crate) struct Job {
    pub(crate) tenant: Tenant,
    /// It reads rows under positions of the log: it cannot share a transaction with jobs before it, whose positions are not known yet.
    pub(crate) first: bool,
    pub(crate) run: Box<dyn FnMut(&mut Tx) -> bool + Send>,
    pub(crate) done: Box<dyn FnOnce(Result<Seq, Fault>) + Send>,
}

#[derive(Default)]
pub(crate) struct Lanes {
    /// A key is there as long as the lane is being worked on.
    waiting: Mutex<HashMap<(Tenant, Lane), VecDeque<Job>>>,
}

/// Queues a job, in a lane or alone.
pub(crate) fn submit(shared: &Arc<Shared>, lane: Option<Lane>, job: Job) -> base::Reply<()> {
    let Some(lane) = lane else {
        let for_pool = shared.clone();
        let tenant = job.tenant;
        return shared.pool.run(Box::new(move || attempt(&for_pool, tenant, None, vec![job], 0)));
    };
    let key = (job.tenant, lane);
    {
        let mut waiting = shared.lanes.waiting.lock();
        if let Some(queue) = waiting.get_mut(&key) {
            queue.push_back(job);
            return Ok(());
        }
        waiting.insert(key, VecDeque::from([job]));
    }
    drive(shared, key.0, lane)
}

/// Takes what waits in a lane and runs it; closes the lane if nothing waits.
fn drive(shared: &Arc<Shared>, tenant: Tenant, lane: Lane) -> base::Reply<()> {
    let for_pool = shared.clone();
    let queued = shared.pool.run(Box::new(move || {
        let jobs: Vec<Job> = {
            let mut waiting = for_pool.lanes.waiting.lock();
            let Some(queue) = waiting.get_mut(&(tenant, lane)) else { return };
            if queue.is_empty() {
                waiting.remove(&(tenant, lane));
                return;
            }
            let most = queue.len().min(LANE_BATCH_MAX);
            let many = queue.iter().take(most).skip(1).position(|job| job.first);
            queue.drain(..many.map_or(most, |behind| behind + 1)).collect()
        };
        attempt(&for_pool, tenant, Some(lane), jobs, 0);
    }));
    if queued.is_err() {
        let jobs = shared.lanes.waiting.lock().remove(&(tenant, lane)).unwrap_or_default();
        refuse(jobs.into(), &Fault("the server is too busy or stopping".into()));
    }
    queued
}

/// Runs jobs in one transaction and hands it to the committer; comes back here on a conflict.
fn attempt(
    shared: &Arc<Shared>,
    tenant: Tenant,
    lane: Option<Lane>,
    mut jobs: Vec<Job>,
    tries: usize,
) {
    let mut tx = match shared.view(tenant) {
        Ok(view) => Tx::new(view),
        Err(e) => {
            refuse(jobs, &fault_of(e));
            return then_drive(shared, tenant, lane);
        }
    };
    let head = tx.head();
    let mut offsets = Vec::with_capacity(jobs.len());
    let mut overlong_jobs = Vec::new();
    for job in &mut jobs {
        let savepoint = tx.savepoint();
        offsets.push(savepoint.entries);
        let keep = catch_unwind(AssertUnwindSafe(|| (job.run)(&mut tx))).unwrap_or(false);
        let overlong = tx.take_overlong();
        if overlong {
            overlong_jobs.push(offsets.len() - 1);
        }
        if !keep || overlong {
            tx.roll_back(savepoint);
        }
    }
    for at in overlong_jobs.into_iter().rev() {
        offsets.remove(at);
        (jobs.remove(at).done)(Err(Fault("a key is longer than the store can hold".into())));
    }
    let Some(batch) = tx.into_batch() else {
        for job in jobs {
            (job.done)(Ok(head));
        }
        return then_drive(shared, tenant, lane);
    };
    let (back, leaps) = (shared.clone(), batch.leaps.clone());
    let verdict = Box::new(move |verdict: Result<Verdict, Fault>| match verdict {
        Ok(Verdict::At { first, .. }) => {
            for (job, offset) in jobs.into_iter().zip(offsets) {
                (job.done)(Ok(leaps.position(first, offset)));
            }
            then_drive(&back, tenant, lane);
        }
        Ok(Verdict::Conflict) if tries + 1 < ATTEMPTS_MAX => {
            metrics::counter!("althing_store_conflicts_total").increment(1);
            again(&back, tenant, lane, jobs, tries + 1);
        }
        Ok(Verdict::Conflict) => {
            refuse(jobs, &Fault("a transaction kept colliding".into()));
            then_drive(&back, tenant, lane);
        }
        Err(fault) => {
            refuse(jobs, &fault);
            then_drive(&back, tenant, lane);
        }
    });
    let committing = shared.clone();
    shared.pool.finish(Box::new(move || committing.commit(batch, verdict)));
}

fn then_drive(shared: &Arc<Shared>, tenant: Tenant, lane: Option<Lane>) {
    if let Some(lane) = lane {
        // A full pool has already told the waiting jobs.
        let _ = drive(shared, tenant, lane);
    }
}

fn again(shared: &Arc<Shared>, tenant: Tenant, lane: Option<Lane>, jobs: Vec<Job>, tries: usize) {
    if lane.is_none() && tries >= ALONE_MAX {
        for job in jobs {
            // A full pool has already told the job.
            let _ = submit(shared, Some(COLLIDERS), job);
        }
        return;
    }
    let for_pool = shared.clone();
    let slot = Arc::new(Mutex::new(Some(jobs)));
    let for_task = slot.clone();
    let queued = shared.pool.run(Box::new(move || {
        if let Some(jobs) = for_task.lock().take() {
            attempt(&for_pool, tenant, lane, jobs, tries);
        }
    }));
    if queued.is_err() {
        let jobs = slot.lock().take().unwrap_or_default();
        refuse(jobs, &Fault("the server is too busy or stopping".into()));
        then_drive(shared, tenant, lane);
    }
}

fn refuse(jobs: Vec<Job>, fault: &Fault) {
    for job in jobs {
        (job.done)(Err(fault.clone()));
    }
}

fn fault_of(error: Error) -> Fault {
    match error {
        Error::Fault(fault) => fault,
        Error::Refused(r) => Fault(r.message),
    }
}
