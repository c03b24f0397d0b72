//! The keys of other servers: kept in the store, read again when they are needed and no longer count (spec: Server-Server
//! API, "Retrieving server keys").
//!
//! One look-up at a time runs for each server, and after one, found or not, the next has to wait: nobody makes this server
//! ask another one often by naming keys that do not exist.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use base::{Reply, UnixMs};
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, join_all},
    stream,
};
use http::Method;
use parking_lot::Mutex;
use protocol::server_keys::{Key, PUBLISHED_BYTES_MAX, Published, Retired};
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    Tx, View,
    schema::{PUBLISHED_KEYS, PublishedKeys, SERVER_KEYS, ServerKey},
};
use tokio::{sync::Mutex as Turn, time::timeout};

use super::{
    ask::{Asker, Question},
    wire::Patience,
};

/// For one server to show its keys.
const ASK_TIME_MAX: Duration = Duration::from_secs(10);
/// For all keys of one request or one list of events.
const ALL_TIME_MAX: Duration = Duration::from_secs(60);
/// Servers asked at once for one caller.
const AT_ONCE: usize = 64;
/// From so many servers on, notaries are asked first: many of an old room's servers are gone.
const MANY: usize = 4;
/// Servers that a notary is asked about in one request.
const BATCH_MAX: usize = 200;
/// The largest answer of a notary, bytes.
const NOTARY_BYTES_MAX: usize = 8 << 20;
/// After keys were read, they are not read again for a key that was not among them.
const PAUSE_MS: u64 = 30_000;
/// After nobody had them; doubled with each further time.
const FAILED_FIRST_MS: u64 = 1_000;
const FAILED_MAX_MS: u64 = 600_000;
/// Keys are read again this long before they end.
const REFRESH_MS: u64 = 3_600_000;
/// A server whose keys could not be had so often, with longer and longer pauses, is taken for gone.
const GONE: u32 = 6;
/// Servers whose last look-up is remembered.
const REMEMBERED_MAX: usize = 20_000;

/// What is needed of a server: key ids, and until when each has to count (0: however old).
pub(super) type Need = BTreeMap<String, u64>;
/// What was found: server → key id → key.
pub(super) type Found = HashMap<OwnedServerName, HashMap<String, Key>>;

/// What could be had of what is needed.
pub(super) struct Obtained {
    pub(super) keys: Found,
    /// Servers whose keys are missing because nobody could be asked for them just now.
    pub(super) silent: BTreeSet<OwnedServerName>,
}

/// The last look-up of a server's keys.
#[derive(Default)]
struct Tried {
    not_before: u64,
    failures: u32,
}

/// All keys that are known.
pub(super) struct Keyring {
    asker: Arc<Asker>,
    notaries: Vec<OwnedServerName>,
    /// Keys that this server itself has used.
    pub(super) retired: Vec<Retired>,
    tried: Mutex<HashMap<OwnedServerName, Arc<Turn<Tried>>>>,
}

impl Keyring {
    pub(super) fn new(
        asker: Arc<Asker>,
        notaries: Vec<OwnedServerName>,
        retired: Vec<Retired>,
    ) -> Keyring {
        Keyring { asker, notaries, retired, tried: Mutex::default() }
    }

    /// The keys that are needed, as far as they can be had.
    ///
    /// # Errors
    /// Faults: keys that came and could not be kept say nothing of who signed with them.
    pub(super) async fn obtain(&self, needs: BTreeMap<OwnedServerName, Need>) -> Reply<Obtained> {
        let needs = Arc::new(needs);
        let all = |keys| Obtained { keys, silent: BTreeSet::new() };
        let found = self.look(needs.clone()).await?;
        let now = self.asker.store.now().0;
        let others =
            || needs.iter().filter(|(server, _)| *server != self.asker.store.server_name());
        let missing: Vec<_> = others()
            .filter(|(server, need)| !is_enough(found.get(*server), need))
            .map(|(server, _)| server.clone())
            .collect();
        if missing.is_empty() {
            let ending = others().find(|(server, need)| ends_soon(found.get(*server), need, now));
            let Some((server, _)) = ending else { return Ok(all(found)) };
            // It counts still: nobody else waits for it to be read again, and nothing is lost if it is not.
            let turn = self.turn(server);
            let Ok(mut tried) = turn.try_lock() else { return Ok(all(found)) };
            if let Err(error) = self.read_in_turn(server, &needs, &mut tried).await {
                tracing::error!(%error, %server, "its keys are not read again for now");
            }
            return Ok(all(found));
        }
        // What was not found in time is missing.
        if let Ok(read) = timeout(ALL_TIME_MAX, self.read_all(&missing, &needs)).await {
            read?;
        }
        let keys = self.look(needs.clone()).await?;
        let still = |server: &OwnedServerName| {
            let need = needs.get(server);
            need.is_some_and(|need| !is_enough(keys.get(server), need)) && self.is_silent(server)
        };
        let silent = missing.into_iter().filter(still).collect();
        Ok(Obtained { keys, silent })
    }

    /// Has nobody shown a server's keys lately, though somebody may yet?
    fn is_silent(&self, server: &OwnedServerName) -> bool {
        let turn = self.turn(server);
        // Who is still being asked is not known to have none.
        turn.try_lock().map_or(true, |tried| (1..GONE).contains(&tried.failures))
    }

    /// What the store has.
    async fn look(&self, needs: Arc<BTreeMap<OwnedServerName, Need>>) -> Reply<Found> {
        let own = self.own();
        self.asker
            .store
            .read(move |view| {
                let mut found = known(view, &needs)?;
                if needs.contains_key(view.server_name()) {
                    found.insert(view.server_name().to_owned(), own);
                }
                Ok(found)
            })
            .await
    }

    /// This server's own keys.
    fn own(&self) -> HashMap<String, Key> {
        let key = self.asker.store.signing_key();
        let public = protocol::signed::decode_key(&key.public_key());
        let used = public.map(|public| Key { public, valid_until: u64::MAX, expired: None });
        let used = used.map(|used| (key.key_id().to_owned(), used));
        let retired = self.retired.iter().map(|old| {
            let key = Key { public: old.public, valid_until: 0, expired: Some(old.expired) };
            (old.key_id.clone(), key)
        });
        retired.chain(used).collect()
    }

    /// Reads the keys of servers again, from them and from notaries.
    async fn read_all(
        &self,
        servers: &[OwnedServerName],
        needs: &BTreeMap<OwnedServerName, Need>,
    ) -> Reply<()> {
        let mut left: Vec<&OwnedServerName> = servers.iter().collect();
        if left.len() >= MANY && !self.notaries.is_empty() {
            let got = self.ask_notaries(&left, needs).await?;
            left.retain(|server| !got.contains(*server));
        }
        let mut each: Vec<BoxFuture<'_, Reply<()>>> = Vec::with_capacity(left.len());
        for server in left {
            each.push(Box::pin(self.read(server, needs)));
        }
        let read = stream::iter(each).buffer_unordered(AT_ONCE).collect::<Vec<Reply<()>>>().await;
        read.into_iter().collect()
    }

    /// Reads one server's keys, if it is time.
    async fn read(
        &self,
        server: &OwnedServerName,
        needs: &BTreeMap<OwnedServerName, Need>,
    ) -> Reply<()> {
        let turn = self.turn(server);
        let mut tried = turn.lock().await;
        self.read_in_turn(server, needs, &mut tried).await
    }

    async fn read_in_turn(
        &self,
        server: &OwnedServerName,
        needs: &BTreeMap<OwnedServerName, Need>,
        tried: &mut Tried,
    ) -> Reply<()> {
        if self.asker.store.now().0 < tried.not_before {
            return Ok(());
        }
        let got = self.ask_itself(server).await?
            || (!self.notaries.is_empty()
                && self.ask_notaries(&[server], needs).await?.contains(server));
        let now = self.asker.store.now().0;
        let pause = if got {
            tried.failures = 0;
            PAUSE_MS
        } else {
            let doubled = FAILED_FIRST_MS.saturating_mul(1 << tried.failures.min(20));
            tried.failures = tried.failures.saturating_add(1);
            doubled.min(FAILED_MAX_MS)
        };
        tried.not_before = now.saturating_add(pause);
        Ok(())
    }

    fn turn(&self, server: &OwnedServerName) -> Arc<Turn<Tried>> {
        let mut tried = self.tried.lock();
        if tried.len() >= REMEMBERED_MAX && !tried.contains_key(server) {
            // Those that nobody waits for are forgotten.
            tried.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        tried.entry(server.clone()).or_default().clone()
    }

    /// What a server published of its keys, read again if it does not count until then or half of its time is over.
    pub(super) async fn published(
        &self,
        server: &OwnedServerName,
        at: u64,
    ) -> Reply<Option<String>> {
        let kept = self.kept(server).await?;
        let now = self.asker.store.now().0;
        let fresh = |kept: &PublishedKeys| {
            let half = kept.read_at.0 + kept.valid_until.0.saturating_sub(kept.read_at.0) / 2;
            at <= kept.valid_until.0 && now <= half
        };
        if kept.as_ref().is_some_and(fresh) {
            return Ok(kept.map(|kept| kept.object));
        }
        let needs = BTreeMap::from([(server.clone(), Need::new())]);
        if let Ok(read) = timeout(ALL_TIME_MAX, self.read(server, &needs)).await {
            read?;
        }
        Ok(self.kept(server).await?.map(|kept| kept.object))
    }

    async fn kept(&self, server: &OwnedServerName) -> Reply<Option<PublishedKeys>> {
        let name = server.to_string();
        self.asker.store.read(move |view| view.get(&PUBLISHED_KEYS, (name,))).await
    }

    /// Asks a server for its own keys; says whether it showed them.
    async fn ask_itself(&self, server: &OwnedServerName) -> Reply<bool> {
        let question = Question {
            method: Method::GET,
            target: "/_matrix/key/v2/server",
            body: Bytes::new(),
            signed: false,
        };
        let body_max = PUBLISHED_BYTES_MAX;
        let patience = Patience { timeout: ASK_TIME_MAX, insist: true, body_max };
        let Ok(answer) = self.asker.ask(server, question, patience).await else {
            return Ok(false);
        };
        let Ok(text) = std::str::from_utf8(answer.body()) else { return Ok(false) };
        let published = Published::read(text, self.asker.store.now().0);
        let published = published.ok().filter(|published| published.server == *server);
        let Some(published) = published else {
            tracing::debug!(%server, "the keys that it shows cannot be used");
            return Ok(false);
        };
        self.keep(vec![(published, text.to_owned())]).await?;
        Ok(true)
    }

    /// Asks the notaries about servers; says of which they had keys.
    async fn ask_notaries(
        &self,
        servers: &[&OwnedServerName],
        needs: &BTreeMap<OwnedServerName, Need>,
    ) -> Reply<BTreeSet<OwnedServerName>> {
        let mut got = BTreeSet::new();
        for batch in servers.chunks(BATCH_MAX) {
            let each = self.notaries.iter().map(|notary| self.ask_notary(notary, batch, needs));
            for names in join_all(each).await {
                got.extend(names?);
            }
        }
        Ok(got)
    }

    async fn ask_notary(
        &self,
        notary: &OwnedServerName,
        servers: &[&OwnedServerName],
        needs: &BTreeMap<OwnedServerName, Need>,
    ) -> Reply<Vec<OwnedServerName>> {
        let Some(own) = self.keys_of_notary(notary).await? else { return Ok(Vec::new()) };
        let question = Question {
            method: Method::POST,
            target: "/_matrix/key/v2/query",
            body: query(servers, needs).into(),
            signed: false,
        };
        let body_max = NOTARY_BYTES_MAX;
        let patience = Patience { timeout: ASK_TIME_MAX, insist: false, body_max };
        let Ok(answer) = self.asker.ask(notary, question, patience).await else {
            return Ok(Vec::new());
        };
        #[derive(Deserialize)]
        struct Answer {
            server_keys: Vec<Box<RawValue>>,
        }
        let answer: Answer = match serde_json::from_slice(answer.body()) {
            Ok(answer) => answer,
            Err(_) => return Ok(Vec::new()),
        };
        let now = self.asker.store.now().0;
        let mut found = Vec::new();
        for object in answer.server_keys.iter().take(2 * BATCH_MAX) {
            let Ok(published) = Published::read(object.get(), now) else { continue };
            let asked = servers.iter().any(|server| **server == published.server);
            let sealed = own.iter().any(|(id, key)| {
                key.counts_now(now) && published.signed.holds(notary.as_str(), id, &key.public)
            });
            if asked && sealed {
                found.push((published, object.get().to_owned()));
            }
        }
        let names = found.iter().map(|(published, _)| published.server.clone()).collect();
        self.keep(found).await?;
        Ok(names)
    }

    /// The keys of a notary: those it shows itself.
    async fn keys_of_notary(
        &self,
        notary: &OwnedServerName,
    ) -> Reply<Option<HashMap<String, Key>>> {
        let needs = Arc::new(BTreeMap::from([(notary.clone(), Need::new())]));
        let known = |mut found: Found| {
            let keys = found.remove(notary)?;
            let now = self.asker.store.now().0;
            keys.values().any(|key| key.counts_now(now)).then_some(keys)
        };
        if let Some(keys) = known(self.look(needs.clone()).await?) {
            return Ok(Some(keys));
        }
        // Not by way of `read`, whose turn a look-up of the notary itself may hold.
        self.ask_itself(notary).await?;
        Ok(known(self.look(needs).await?))
    }

    /// Writes down what servers published.
    async fn keep(&self, published: Vec<(Published, String)>) -> Reply<()> {
        let published = Arc::new(published);
        let written = self.asker.store.write(None, move |tx| {
            published.iter().try_for_each(|(published, text)| keep(tx, published, text))
        });
        written.await.map(drop)
    }
}

/// What a notary is asked.
fn query(servers: &[&OwnedServerName], needs: &BTreeMap<OwnedServerName, Need>) -> Vec<u8> {
    let all: serde_json::Map<String, serde_json::Value> = servers
        .iter()
        .map(|server| {
            let keys: serde_json::Map<String, serde_json::Value> = needs
                .get(*server)
                .into_iter()
                .flatten()
                .map(|(id, at)| (id.clone(), serde_json::json!({ "minimum_valid_until_ts": at })))
                .collect();
            (server.to_string(), keys.into())
        })
        .collect();
    serde_json::json!({ "server_keys": all }).to_string().into_bytes()
}

/// Is nothing missing of what is needed?
fn is_enough(known: Option<&HashMap<String, Key>>, need: &Need) -> bool {
    need.iter().all(|(id, at)| {
        let key = known.and_then(|known| known.get(id));
        key.is_some_and(|key| key.expired.is_some() || *at <= key.valid_until)
    })
}

/// Does a key that is needed today end soon?
fn ends_soon(known: Option<&HashMap<String, Key>>, need: &Need, now: u64) -> bool {
    let soon = now.saturating_add(REFRESH_MS);
    need.iter().filter(|(_, at)| soon > **at && **at >= now.saturating_sub(REFRESH_MS)).any(
        |(id, _)| {
            let key = known.and_then(|known| known.get(id));
            key.is_some_and(|key| key.expired.is_none() && key.valid_until < soon)
        },
    )
}

/// Keys that a server may show at once, and more: those that it showed over the years.
const KEYS_MAX: usize = 1_000;

/// The keys that are kept; of a server of which none in particular is needed, all.
pub(super) fn known(view: &View, needs: &BTreeMap<OwnedServerName, Need>) -> Reply<Found> {
    let mut found = Found::new();
    let mut wanted = Vec::new();
    for (server, need) in needs {
        if need.is_empty() {
            let rows = view.under(&SERVER_KEYS, (server.to_string(),), KEYS_MAX)?;
            let keys =
                rows.into_iter().map(|((_, id), row): ((String, String), _)| (id, of_row(&row)));
            let keys = keys.collect();
            found.insert(server.clone(), keys);
        }
        wanted.extend(need.keys().map(|id| (server.to_string(), id.clone())));
    }
    for (row, (server, id)) in
        view.get_many(&SERVER_KEYS, wanted.iter().cloned())?.into_iter().zip(wanted)
    {
        let (Some(row), Ok(server)) = (row, OwnedServerName::try_from(server)) else { continue };
        found.entry(server).or_default().insert(id, of_row(&row));
    }
    Ok(found)
}

fn of_row(row: &ServerKey) -> Key {
    let ServerKey { public, valid_until, expired } = row;
    Key { public: *public, valid_until: valid_until.0, expired: expired.map(|at| at.0) }
}

fn keep(tx: &mut Tx, published: &Published, text: &str) -> Reply<()> {
    let server = || published.server.to_string();
    for (id, key) in &published.keys {
        let place = || (server(), id.clone());
        let before = tx.get(&SERVER_KEYS, place())?.filter(|row| row.public == key.public);
        let mut row = ServerKey {
            public: key.public,
            valid_until: UnixMs(key.valid_until),
            expired: key.expired.map(UnixMs),
        };
        if let Some(before) = &before {
            // Notaries may have an older object than was read here.
            row.valid_until = row.valid_until.max(before.valid_until);
            row.expired = row.expired.or(before.expired);
        }
        if before.as_ref() != Some(&row) {
            tx.put(&SERVER_KEYS, place(), &row);
        }
    }
    let valid_until = UnixMs(published.valid_until);
    let before = tx.get(&PUBLISHED_KEYS, (server(),))?;
    if before.is_none_or(|before| before.valid_until <= valid_until) {
        let (object, read_at) = (text.to_owned(), tx.now());
        tx.put(&PUBLISHED_KEYS, (server(),), &PublishedKeys { object, read_at, valid_until });
    }
    Ok(())
}

/// What one server is needed for now: a key that counts today.
pub(super) fn needed_now(
    server: &ServerName,
    key_id: &str,
    now: u64,
) -> BTreeMap<OwnedServerName, Need> {
    BTreeMap::from([(server.to_owned(), Need::from([(key_id.to_owned(), now)]))])
}

#[cfg(test)]
mod tests;
