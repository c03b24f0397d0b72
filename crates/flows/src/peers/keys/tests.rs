//! Keys of a server that is made up, and events signed with them.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use base::{Error, Refusal, Seq, UnixMs};
use http::{Request, Response};
use kv::{Batch, Clock, Engine, KvError, KvResult, Snapshot, Verdict};
use protocol::{Draft, Pdu, SigningKey, server_keys};
use ruma::{RoomVersionId, owned_room_id, owned_user_id, server_name};
use serde_json::json;
use store::{Options as StoreOptions, Store};

use super::*;
use crate::peers::{Options, Peers, Wire};

const NOW: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The server `far.org`, which shows these keys; nothing: it is away.
#[derive(Default)]
struct Far {
    shown: Mutex<Option<String>>,
    asked: AtomicU64,
}

impl Wire for Far {
    fn exchange(
        &self,
        _: OwnedServerName,
        request: Request<Bytes>,
        _: Patience,
    ) -> BoxFuture<'_, Result<Response<Bytes>, String>> {
        assert_eq!(request.uri().path(), "/_matrix/key/v2/server");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let shown = self.shown.lock().clone();
        Box::pin(async move {
            let body = shown.ok_or_else(|| "away".to_owned())?;
            Ok(Response::new(Bytes::from(body)))
        })
    }
}

struct World {
    far: Arc<Far>,
    disk: Arc<Disk>,
    peers: Peers,
    now: Arc<AtomicU64>,
}

fn key(seed: u8, name: &str) -> SigningKey {
    SigningKey::generate([seed; 32], name).unwrap()
}

/// A disk that can be full.
#[derive(Default)]
struct Disk {
    memory: kv::Memory,
    full: AtomicBool,
}

impl Engine for Disk {
    fn snapshot(&self) -> KvResult<Box<dyn Snapshot>> {
        self.memory.snapshot()
    }

    fn commit(&self, group: Vec<Batch>) -> KvResult<Vec<Verdict>> {
        if self.full.load(Ordering::Relaxed) {
            return Err(KvError::Unavailable("full".to_owned()));
        }
        self.memory.commit(group)
    }

    fn on_commit(&self, listener: Arc<dyn Fn(Seq) + Send + Sync>) {
        self.memory.on_commit(listener);
    }

    fn clock(&self) -> &Clock {
        self.memory.clock()
    }

    fn backup(&self, to: &Path) -> KvResult<()> {
        self.memory.backup(to)
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn name(&self) -> &'static str {
        "full"
    }
}

impl World {
    fn new() -> World {
        let own = Arc::new(key(7, "own"));
        let mut options = StoreOptions::new(server_name!("x.org").to_owned(), own);
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = now.clone();
        options.now = Arc::new(move || UnixMs(clock.load(Ordering::Relaxed)));
        let disk = Arc::new(Disk::default());
        let store = Store::open(disk.clone(), options).unwrap();
        let far = Arc::new(Far::default());
        let options = Options { enabled: true, ..Options::default() };
        World { peers: Peers::with_wire(store, options, far.clone()), far, disk, now }
    }

    /// It shows its key, those it has retired, and until when that counts.
    fn shows(&self, key: &SigningKey, retired: &[Retired], until: u64) {
        let object = server_keys::publish(server_name!("far.org"), key, retired, until);
        *self.far.shown.lock() = Some(object.unwrap());
    }

    fn later(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    fn asked(&self) -> u64 {
        self.far.asked.load(Ordering::Relaxed)
    }

    async fn check(
        &self,
        version: &RoomVersionId,
        key: &SigningKey,
        sent: u64,
    ) -> Reply<Vec<Result<Pdu, Refusal>>> {
        let text = event(version, key, sent).to_federation(version);
        self.peers.check(version, vec![RawValue::from_string(text).unwrap()]).await
    }

    async fn counts(&self, version: RoomVersionId, key: &SigningKey, sent: u64) -> bool {
        self.check(&version, key, sent).await.unwrap().remove(0).is_ok()
    }
}

fn event(version: &RoomVersionId, key: &SigningKey, sent: u64) -> Pdu {
    let draft = Draft {
        room_id: Some(owned_room_id!("!r:far.org")),
        sender: owned_user_id!("@a:far.org"),
        kind: "m.room.message".to_owned(),
        state_key: None,
        content: serde_json::value::to_raw_value(&json!({ "body": sent })).unwrap(),
        redacts: None,
        prev_events: Vec::new(),
        auth_events: Vec::new(),
        depth: 1,
        origin_server_ts: sent,
    };
    draft.sign(version, server_name!("far.org"), key).unwrap()
}

fn retired(key: &SigningKey, expired: u64) -> Retired {
    let public = protocol::signed::decode_key(&key.public_key()).unwrap();
    Retired { key_id: key.key_id().to_owned(), public, expired }
}

#[tokio::test]
async fn a_key_counts_for_events_of_the_time_for_which_it_was_shown() {
    let (world, used) = (World::new(), key(1, "a"));
    world.shows(&used, &[], NOW + DAY_MS);
    assert!(world.counts(RoomVersionId::V11, &used, NOW).await);
    assert!(world.counts(RoomVersionId::V11, &used, NOW - 100 * DAY_MS).await);
    assert!(!world.counts(RoomVersionId::V11, &used, NOW + 2 * DAY_MS).await, "not shown for then");
    assert!(world.counts(RoomVersionId::V4, &used, NOW + 2 * DAY_MS).await, "times do not matter");
    assert!(!world.counts(RoomVersionId::V11, &key(2, "a"), NOW).await, "another key of that name");
}

#[tokio::test]
async fn a_retired_key_counts_for_what_was_sent_before_it_was_retired() {
    let (world, old, new) = (World::new(), key(1, "old"), key(2, "new"));
    let expired = NOW - 10 * DAY_MS;
    world.shows(&new, &[retired(&old, expired)], NOW + DAY_MS);
    assert!(world.counts(RoomVersionId::V11, &old, expired - 1).await);
    assert!(world.counts(RoomVersionId::V11, &old, expired).await);
    assert!(!world.counts(RoomVersionId::V11, &old, expired + 1).await);
    assert!(world.counts(RoomVersionId::V4, &old, expired + 1).await);
    assert!(world.counts(RoomVersionId::V11, &new, NOW).await);
    assert_eq!(world.asked(), 1, "both were in what was read first");
}

#[tokio::test]
async fn a_key_whose_time_is_over_is_read_again_and_counts_on_for_what_was_sent_before() {
    let (world, used) = (World::new(), key(1, "a"));
    world.shows(&used, &[], NOW + HOUR_MS);
    assert!(world.counts(RoomVersionId::V11, &used, NOW).await);
    world.later(2 * HOUR_MS);
    *world.far.shown.lock() = None;
    assert!(world.counts(RoomVersionId::V11, &used, NOW).await, "it counted then");
    assert!(!world.counts(RoomVersionId::V11, &used, NOW + 2 * HOUR_MS).await, "it is away");
    world.shows(&used, &[], NOW + DAY_MS);
    world.later(HOUR_MS);
    assert!(world.counts(RoomVersionId::V11, &used, NOW + 2 * HOUR_MS).await, "read again");
}

#[tokio::test]
async fn naming_keys_that_do_not_exist_does_not_make_this_server_ask_often() {
    let (world, used) = (World::new(), key(1, "a"));
    world.shows(&used, &[], NOW + DAY_MS);
    for n in 0..20 {
        assert!(!world.counts(RoomVersionId::V11, &key(3, &format!("no{n}")), NOW).await);
    }
    assert_eq!(world.asked(), 1);
    // Nor is the key of a policy server looked for among them.
    let policy = key(4, "policy_server");
    world.later(HOUR_MS);
    assert!(!world.counts(RoomVersionId::V11, &policy, NOW).await);
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn what_is_shown_in_the_name_of_another_server_is_not_believed() {
    let (world, used) = (World::new(), key(1, "a"));
    let other = server_keys::publish(server_name!("other.org"), &used, &[], NOW + DAY_MS);
    *world.far.shown.lock() = Some(other.unwrap());
    assert!(!world.counts(RoomVersionId::V11, &used, NOW).await);
}

#[tokio::test]
async fn a_key_that_came_and_could_not_be_kept_says_nothing_of_who_signed() {
    let (world, used) = (World::new(), key(1, "a"));
    world.shows(&used, &[], NOW + DAY_MS);
    world.disk.full.store(true, Ordering::Relaxed);
    let checked = world.check(&RoomVersionId::V11, &used, NOW).await;
    assert!(matches!(checked, Err(Error::Fault(_))), "{checked:?}");
    world.disk.full.store(false, Ordering::Relaxed);
    assert!(world.counts(RoomVersionId::V11, &used, NOW).await, "asked for again at once");
}
