//! The first three checks on receipt of events (spec: Server-Server API, "Checks performed on receipt of a PDU"): format,
//! signatures, hashes.
//!
//! All events of a call are read first, then the keys of all who signed are looked up together, then all signatures are
//! verified. Reading and verifying are arithmetic: they run on threads for that, a few at a time for the whole process.

use std::{collections::BTreeMap, sync::Arc};

use base::{Error, Refusal, Reply};
use futures_util::{StreamExt as _, stream};
use protocol::{Pdu, pdu, policy_server::KEY_ID};
use ruma::{OwnedServerName, RoomVersionId};
use serde_json::value::RawValue;
use store::Scheduler;
use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
};

use super::keys::{Keyring, Need, Obtained};

/// Events that one thread takes at a time: some milliseconds of work.
const CHUNK: usize = 64;

type Checked<T> = Result<T, Refusal>;

/// Who must have signed an event, and the keys with which each did.
type Signers = Vec<(OwnedServerName, Vec<String>)>;

/// Threads for reading and verifying.
pub(super) struct Threads {
    free: Arc<Semaphore>,
    count: usize,
    /// Where the work is done instead.
    scheduler: Option<Scheduler>,
}

impl Threads {
    /// As many as there are cores; with a scheduler none, then it is that which decides when what is done.
    pub(super) fn new(scheduler: Option<Scheduler>) -> Threads {
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        Threads { free: Arc::new(Semaphore::new(count)), count, scheduler }
    }

    /// The same for each of many, in their order.
    async fn each<T, U>(
        &self,
        all: Vec<T>,
        f: impl Fn(T) -> U + Send + Sync + 'static,
    ) -> Reply<Vec<U>>
    where
        T: Send + 'static,
        U: Send + 'static,
    {
        let f = Arc::new(f);
        let mut chunks = Vec::with_capacity(all.len() / CHUNK + 1);
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            chunks.push(all.by_ref().take(CHUNK).collect::<Vec<T>>());
        }
        let work = chunks.into_iter().map(|chunk| {
            let (f, free, scheduler) = (f.clone(), self.free.clone(), self.scheduler.clone());
            async move {
                let place = free.acquire_owned().await;
                let place = place.map_err(|_| Error::fault("the threads are gone"))?;
                let (tell, told) = oneshot::channel();
                let work = move || {
                    let done: Vec<U> = chunk.into_iter().map(|one| f(one)).collect();
                    drop(place);
                    // Nobody may wait any more.
                    drop(tell.send(done));
                };
                match scheduler {
                    Some(scheduler) => scheduler(Box::new(work)),
                    None => drop(spawn_blocking(work)),
                }
                told.await.map_err(|_| Error::fault("a check panicked"))
            }
        });
        let mut work = stream::iter(work).buffered(self.count);
        let mut done = Vec::new();
        while let Some(chunk) = work.next().await {
            done.extend(chunk?);
        }
        Ok(done)
    }
}

/// See [`super::Peers::check`]. `also`: must have signed each of them, too.
pub(super) async fn check(
    threads: &Threads,
    keyring: &Keyring,
    version: &RoomVersionId,
    events: Vec<Box<RawValue>>,
    also: Option<OwnedServerName>,
) -> Reply<Vec<Checked<Pdu>>> {
    let of_room = version.clone();
    let read = threads.each(events, move |event| read(&of_room, &event, also.as_ref())).await?;
    let obtained = Arc::new(keyring.obtain(needs(version, &read)).await?);
    let version = version.clone();
    threads
        .each(read, move |read| {
            let (pdu, signers) = read?;
            verify(&version, pdu, &signers, &obtained).map_err(refusal)
        })
        .await
}

/// Check 1.
fn read(
    version: &RoomVersionId,
    event: &RawValue,
    also: Option<&OwnedServerName>,
) -> Checked<(Pdu, Signers)> {
    let pdu = pdu::parse(version, event.get()).map_err(refusal)?;
    let mut signers = pdu.required_signers(version);
    signers.extend(also.cloned());
    let signers = signers.into_iter().map(|server| {
        let mut keys = pdu.keys_of(&server);
        // Of a policy server, not of a server: nobody publishes it.
        keys.retain(|key| key != KEY_ID);
        (server, keys)
    });
    let signers = signers.collect();
    Ok((pdu, signers))
}

/// The keys that are needed for all of them. Where one has not signed, none.
fn needs(
    version: &RoomVersionId,
    events: &[Checked<(Pdu, Signers)>],
) -> BTreeMap<OwnedServerName, Need> {
    let rules = protocol::rules(version);
    let ages = rules.is_none_or(|rules| rules.enforce_key_validity);
    let mut needs: BTreeMap<OwnedServerName, Need> = BTreeMap::new();
    for (pdu, signers) in events.iter().flatten() {
        let at = if ages { pdu.origin_server_ts } else { 0 };
        for (server, keys) in signers.iter().filter(|(_, keys)| !keys.is_empty()) {
            let need = needs.entry(server.clone()).or_default();
            for key in keys {
                let until = need.entry(key.clone()).or_default();
                *until = at.max(*until);
            }
        }
    }
    needs
}

/// Checks 2 and 3.
fn verify(version: &RoomVersionId, pdu: Pdu, signers: &Signers, obtained: &Obtained) -> Reply<Pdu> {
    for (server, key_ids) in signers {
        let keys = obtained.keys.get(server);
        let holds = |id: &String| {
            keys.and_then(|keys| keys.get(id)).is_some_and(|key| {
                key.counts_for(version, pdu.origin_server_ts)
                    && pdu.signature_holds(version, server, id, &key.public)
            })
        };
        if !key_ids.iter().any(holds) && obtained.silent.contains(server) {
            let text = format!("the keys of {server} cannot be had just now");
            return Err(Error::refused(503, "M_UNKNOWN", text));
        }
        if !key_ids.iter().any(holds) {
            let text =
                format!("{server} has not signed {}, or not with a key that counts", pdu.event_id);
            return Err(Error::forbidden(text));
        }
    }
    if pdu.content_hash_holds(version) { Ok(pdu) } else { pdu.redacted(version) }
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Refused(refusal) => *refusal,
        Error::Fault(fault) => {
            tracing::error!(%fault, "an event cannot be checked");
            Error::refusal(500, "M_UNKNOWN", "the event cannot be checked")
        }
    }
}

/// May a check that failed succeed a little later?
#[must_use]
pub fn is_passing(refusal: &Refusal) -> bool {
    refusal.status >= 500
}
