//! Device lists of users of other servers: answered from what is kept here ([`devices::lists`]), asked for where nothing is
//! kept, and asked for again where something is known to be missing.
//!
//! Who asks for the same server at once is answered by one question. A server that is down is asked again by one task, ever
//! more rarely, and at once when it is heard from; meanwhile what is kept of its users is told, though it may be old: without
//! keys nobody could write to them at all.

mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use base::{Reply, Room, UnixMs, User};
use devices::{
    keys::query::{Asked, Found},
    lists::{self, Kept, Snapshot},
};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use ruma::{OwnedServerName, OwnedUserId, UserId};
use serde_json::{Map, Value};
use store::{
    Store, Tx, remote_lists,
    schema::{ABANDONED, REMOTE_LISTS, STALE_LISTS, Stale},
    user,
};
use tokio::sync::{Notify, watch};

use crate::{
    device_keys::{Failures, by_server, failure, patience},
    peers::{Patience, Peers, Unanswered},
};

/// Servers that are asked at once for one client.
const SERVERS_AT_ONCE: usize = 64;
/// Servers that are asked at once for lists of which something is missing.
const RESYNCED_AT_ONCE: usize = 8;
/// Lists whose time has come that are looked at in one round.
const ROUND_MAX: usize = 1_000;
/// Lists that wait, looked at in one round.
const STALE_MAX: usize = 100_000;
/// Rooms that were left, looked at in one round.
const ABANDONED_MAX: usize = 1_000;
/// Lists written in one transaction: each may have a thousand devices.
const LISTS_AT_ONCE: usize = 50;
/// The first pause after a list could not be had; twice as long after each further time.
const PAUSE_MIN_MS: u64 = 1_000;
/// The longest.
const PAUSE_MAX_MS: u64 = 3_600_000;
/// How often it is looked whether there is something to do that nobody told of.
const LOOK: Duration = Duration::from_secs(60);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct DeviceLists(Arc<Inner>);

struct Inner {
    store: Store,
    peers: Peers,
    news: Notify,
    /// Held by whoever asks a server for lists that are to be kept.
    asking: Mutex<HashMap<OwnedServerName, Weak<tokio::sync::Mutex<()>>>>,
}

/// What is known of a user before anyone is asked.
enum Known {
    /// Not to be kept: nobody here shares a room with them.
    Stranger,
    /// To be asked for and kept; what there is of it may be old.
    Wanted(Option<Box<Snapshot>>),
    /// Kept.
    Current(Box<Snapshot>),
}

impl DeviceLists {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(store: Store, peers: Peers) -> DeviceLists {
        let (news, asking) = (Notify::new(), Mutex::default());
        DeviceLists(Arc::new(Inner { store, peers, news, asking }))
    }

    /// Something is missing from a list that is kept.
    pub(crate) fn wake(&self) {
        self.0.news.notify_one();
    }

    /// The keys of users of other servers; those of this server are passed over. Why servers gave no answer, for those of
    /// whose users nothing is kept.
    ///
    /// # Errors
    /// Faults of the store.
    pub async fn query(
        &self,
        asked: &Asked,
        timeout: Option<Duration>,
    ) -> Reply<(Found, Failures)> {
        let own = self.0.store.server_name().to_owned();
        let asks = by_server(asked).into_iter().filter(|(server, _)| *server != own);
        let asks: Vec<_> = asks
            .map(|(server, asked)| async move {
                let outcome = self.query_one(&server, &asked, timeout).await;
                (server, outcome)
            })
            .collect();
        let mut answers = stream::iter(asks).buffer_unordered(SERVERS_AT_ONCE);
        let (mut found, mut failures) = (Found::default(), Failures::new());
        while let Some((server, outcome)) = answers.next().await {
            let (part, why) = outcome?;
            found.device_keys.extend(part.device_keys);
            found.master_keys.extend(part.master_keys);
            found.self_signing_keys.extend(part.self_signing_keys);
            failures.extend(why.map(|why| (server.to_string(), failure(why))));
        }
        Ok((found, failures))
    }

    async fn query_one(
        &self,
        server: &OwnedServerName,
        asked: &Asked,
        timeout: Option<Duration>,
    ) -> Reply<(Found, Option<Unanswered>)> {
        let mut found = Found::default();
        let known = self.known(asked).await?;
        let mut open = known.iter().any(|(_, known)| !matches!(known, Known::Current(_)));
        let wanted = known.iter().any(|(_, known)| matches!(known, Known::Wanted(_)));
        if !open {
            put_all(&mut found, asked, known);
            return Ok((found, None));
        }
        let patience = patience(timeout);
        // One question for all who want the same; who waited looks again first.
        let turn = wanted.then(|| self.turn(server));
        let turn = match &turn {
            Some(turn) => match tokio::time::timeout(patience.timeout, turn.lock()).await {
                Ok(turn) => Some(turn),
                Err(_) => {
                    put_all(&mut found, asked, known);
                    let why = Unanswered::Silent("there are too many questions".to_owned());
                    return Ok((found, open.then_some(why)));
                }
            },
            None => None,
        };
        let known = if turn.is_some() { self.known(asked).await? } else { known };
        let ask: Asked = known
            .iter()
            .filter_map(|(id, known)| match known {
                Known::Current(_) => None,
                // A list that is kept is kept whole.
                Known::Wanted(_) => Some((id.clone(), Vec::new())),
                Known::Stranger => Some((id.clone(), asked.get(id).cloned().unwrap_or_default())),
            })
            .collect();
        if ask.is_empty() {
            put_all(&mut found, asked, known);
            return Ok((found, None));
        }
        let questions = self.begin(&known).await?;
        let answer = wire::query(&self.0.peers, server, &ask, patience).await;
        let why = match answer {
            Ok(answer) => {
                self.finish(questions, &answer).await?;
                put_all(&mut found, asked, known);
                put_answer(&mut found, asked, answer);
                None
            }
            Err(why) => {
                open = known
                    .iter()
                    .any(|(_, known)| matches!(known, Known::Stranger | Known::Wanted(None)));
                put_all(&mut found, asked, known);
                open.then_some(why)
            }
        };
        Ok((found, why))
    }

    fn turn(&self, server: &OwnedServerName) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.0.asking.lock();
        if let Some(turn) = asking.get(server).and_then(Weak::upgrade) {
            return turn;
        }
        asking.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        asking.insert(server.clone(), Arc::downgrade(&turn));
        turn
    }

    async fn known(&self, asked: &Asked) -> Reply<Vec<(String, Known)>> {
        let ids: Vec<String> = asked.keys().cloned().collect();
        let read = self.0.store.read(move |view| {
            let known = |id: String| {
                let user = match <&UserId>::try_from(id.as_str()) {
                    Ok(parsed) => user::find(view, parsed)?,
                    Err(_) => None,
                };
                let known = match user {
                    Some(user) if remote_lists::is_shared(view, user)? => {
                        match lists::kept(view, user)? {
                            Some(Kept { current: true, list }) => Known::Current(list.into()),
                            other => Known::Wanted(other.map(|kept| kept.list.into())),
                        }
                    }
                    _ => Known::Stranger,
                };
                Ok((id, known))
            };
            ids.into_iter().map(known).collect()
        });
        read.await
    }

    /// The numbers of the questions that are asked for lists to be kept.
    async fn begin(&self, known: &[(String, Known)]) -> Reply<BTreeMap<OwnedUserId, u64>> {
        let wanted = known.iter().filter(|(_, known)| matches!(known, Known::Wanted(_)));
        let wanted: Vec<OwnedUserId> =
            wanted.filter_map(|(id, _)| OwnedUserId::try_from(id.as_str()).ok()).collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let begun = self.0.store.write(None, move |tx| {
            let mut questions = BTreeMap::new();
            for id in &wanted {
                let Some(user) = user::find(tx, id)? else { continue };
                if let Some(question) = lists::begin(tx, user)? {
                    questions.insert(id.clone(), question);
                }
            }
            Ok(questions)
        });
        Ok(begun.await?.value)
    }

    async fn finish(
        &self,
        questions: BTreeMap<OwnedUserId, u64>,
        answer: &BTreeMap<String, Snapshot>,
    ) -> Reply<()> {
        let answered = questions.into_iter().filter_map(|(id, question)| {
            let list = answer.get(id.as_str())?.clone();
            Some((id, question, list))
        });
        let answered: Vec<(OwnedUserId, u64, Snapshot)> = answered.collect();
        for some in answered.chunks(LISTS_AT_ONCE) {
            let some = some.to_vec();
            let take = move |tx: &mut Tx| {
                for (id, question, list) in &some {
                    lists::finish(tx, id, *question, list)?;
                }
                Ok(())
            };
            self.0.store.write(None, take).await?;
        }
        Ok(())
    }
}

fn put_all(found: &mut Found, asked: &Asked, known: Vec<(String, Known)>) {
    for (id, known) in known {
        match known {
            Known::Current(list) | Known::Wanted(Some(list)) => put(found, asked, id, *list),
            Known::Wanted(None) | Known::Stranger => {}
        }
    }
}

fn put_answer(found: &mut Found, asked: &Asked, answer: BTreeMap<String, Snapshot>) {
    for (id, list) in answer {
        put(found, asked, id, list);
    }
}

fn put(found: &mut Found, asked: &Asked, id: String, list: Snapshot) {
    let devices = asked.get(&id).map(Vec::as_slice).unwrap_or_default();
    let wants = |device: &String| devices.is_empty() || devices.contains(device);
    let shown: Map<String, Value> =
        list.devices.into_iter().filter(|(device, _)| wants(device)).collect();
    found.device_keys.insert(id.clone(), Value::Object(shown));
    for (key, found) in
        [(list.master, &mut found.master_keys), (list.self_signing, &mut found.self_signing_keys)]
    {
        found.remove(&id);
        found.extend(key.map(|key| (id.clone(), key)));
    }
}

/// Lists that wait to be asked for again, of one server.
type Due = BTreeMap<OwnedServerName, Vec<(User, Stale)>>;

impl DeviceLists {
    /// Asks for lists of which something is missing, and drops those that nobody needs, until `stop` says so.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut returned = self.0.peers.returned();
        let mut back = BTreeSet::new();
        while !*stop.borrow() {
            let round = async {
                let next = self.round(&std::mem::take(&mut back)).await;
                next.unwrap_or_else(|error| {
                    tracing::error!(%error, "device lists of other servers are not asked for");
                    LOOK
                })
            };
            let pause = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                pause = round => pause,
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Ok(server) = returned.recv() => drop(back.insert(server)),
                () = self.0.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does what is due; says how long there is nothing to do.
    async fn round(&self, back: &BTreeSet<OwnedServerName>) -> Reply<Duration> {
        self.drop_unshared().await?;
        let now = self.0.store.now();
        let read = self.0.store.read(|view| view.everything(&STALE_LISTS, None, STALE_MAX)).await;
        let all: Vec<((String, User), Stale)> = read?;
        metrics::gauge!("althing_device_lists_stale").set(all.len() as f64);
        let mut due = Due::new();
        let mut next = None;
        for ((server, user), stale) in all {
            let Ok(server) = OwnedServerName::try_from(server) else { continue };
            let lists = due.values().map(Vec::len).sum::<usize>();
            if (stale.retry <= now || back.contains(&server)) && lists < ROUND_MAX {
                due.entry(server).or_default().push((user, stale));
            } else {
                next = Some(next.map_or(stale.retry, |next: UnixMs| next.min(stale.retry)));
            }
        }
        let tries = stream::iter(due).map(|(server, lists)| self.resync_all(server, lists));
        let mut tries = tries.buffer_unordered(RESYNCED_AT_ONCE);
        while let Some(until) = tries.next().await {
            if let Some(until) = until? {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        let now = self.0.store.now();
        let wait = next.map(|next| Duration::from_millis(next.0.saturating_sub(now.0)));
        Ok(wait.unwrap_or(LOOK).clamp(Duration::from_millis(PAUSE_MIN_MS), LOOK))
    }

    /// Asks a server for lists, one after the other. If it does not answer, the others wait, too: until when, is the answer.
    async fn resync_all(
        &self,
        server: OwnedServerName,
        lists: Vec<(User, Stale)>,
    ) -> Reply<Option<UnixMs>> {
        let mut waiting = lists.into_iter();
        while let Some((user, stale)) = waiting.next() {
            let Err(why) = self.resync(&server, user).await? else {
                metrics::counter!("althing_device_list_resyncs_total", "outcome" => "done")
                    .increment(1);
                continue;
            };
            metrics::counter!("althing_device_list_resyncs_total", "outcome" => "failed")
                .increment(1);
            tracing::debug!(%server, user = user.0, %why, "a device list could not be had");
            let pause = PAUSE_MIN_MS.saturating_mul(1 << stale.failures.min(20)).min(PAUSE_MAX_MS);
            let until = UnixMs(self.0.store.now().0.saturating_add(pause));
            let mut users = vec![user];
            if why.is_passing() {
                users.extend(waiting.by_ref().map(|(user, _)| user));
            }
            let name = server.to_string();
            let postpone = move |tx: &mut Tx| {
                users.iter().try_for_each(|user| lists::postpone(tx, &name, *user, until))
            };
            self.0.store.write(None, postpone).await?;
            if why.is_passing() {
                return Ok(Some(until));
            }
        }
        Ok(None)
    }

    async fn resync(&self, server: &OwnedServerName, user: User) -> Reply<Result<(), Unanswered>> {
        let begun = self.0.store.write(None, move |tx| {
            // Nobody asks for what is not kept any more.
            if !tx.has(&REMOTE_LISTS, (user,))? {
                return Ok(None);
            }
            Ok(lists::begin(tx, user)?.map(|question| (question, user::id(tx, user))))
        });
        let Some((question, id)) = begun.await?.value else { return Ok(Ok(())) };
        let id = id?;
        let list = match wire::list(&self.0.peers, server, &id, Patience::default()).await {
            Ok(list) => list,
            Err(why) => return Ok(Err(why)),
        };
        let finish = move |tx: &mut Tx| lists::finish(tx, &id, question, &list);
        // If more was told meanwhile, it is still among those that wait, and comes in the next round.
        if !self.0.store.write(None, finish).await?.value {
            self.wake();
        }
        Ok(Ok(()))
    }

    /// Drops the lists of those who are known from no room any more.
    async fn drop_unshared(&self) -> Reply<()> {
        let read = self.0.store.read(|view| view.everything(&ABANDONED, None, ABANDONED_MAX));
        let rooms: Vec<((Room,), ())> = read.await?;
        for ((room,), ()) in rooms {
            let kept = self.0.store.read(move |view| remote_lists::kept_of(view, room)).await?;
            for some in kept.chunks(LISTS_AT_ONCE) {
                let some = some.to_vec();
                let forget = move |tx: &mut Tx| remote_lists::drop_unshared(tx, &some);
                self.0.store.write(None, forget).await?;
            }
            let done = move |tx: &mut Tx| {
                tx.delete(&ABANDONED, (room,));
                Ok(())
            };
            self.0.store.write(None, done).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
