use bytes::Bytes;
use devices::lists::Told;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use ruma::server_name;
use serde_json::json;
use store::{View, log::Entry, schema::Standing};

use super::*;
use crate::{
    peers::{self, Wire},
    testing,
};

const BOB: &str = "@bob:b.org";
type Answer = Box<dyn FnMut(&str) -> Result<Value, String> + Send>;

/// A server that answers what a test says, and counts.
struct Fake {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<String>>,
}

impl Wire for Fake {
    fn exchange(
        &self,
        _: OwnedServerName,
        request: Request<Bytes>,
        _: Patience,
    ) -> BoxFuture<'_, Result<Response<Bytes>, String>> {
        Box::pin(async move {
            let what = request.uri().path().rsplit('/').nth(1).unwrap_or_default().to_owned();
            self.asked.lock().push(what.clone());
            tokio::task::yield_now().await;
            let answer = (self.answer.lock())(&what)?;
            Ok(Response::new(answer.to_string().into()))
        })
    }
}

struct World {
    store: Store,
    lists: DeviceLists,
    fake: Arc<Fake>,
    alice: User,
    bob: User,
    rooms: Vec<Room>,
}

fn keys(device: &str, key: &str) -> Value {
    json!({"user_id": BOB, "device_id": device, "algorithms": [], "keys": {"x": key}})
}

/// What bob's server answers to either question.
fn answers(devices: &[(&str, &str)], version: u64) -> Answer {
    let devices: Vec<(String, Value)> =
        devices.iter().map(|(id, key)| ((*id).to_owned(), keys(id, key))).collect();
    Box::new(move |what| match what {
        "devices" => {
            let devices: Vec<Value> = devices
                .iter()
                .map(|(id, keys)| json!({"device_id": id, "keys": keys}))
                .chain([json!({"device_id": "NOKEYS"})])
                .collect();
            Ok(json!({"user_id": BOB, "stream_id": version, "devices": devices}))
        }
        _ => {
            let devices: Map<String, Value> = devices.iter().cloned().collect();
            Ok(json!({"device_keys": {BOB: devices, "@alice:x.org": {"A": {}}}}))
        }
    })
}

impl World {
    /// alice of this server and bob of b.org are in two rooms.
    fn new() -> World {
        let store = testing::store();
        let answer = Mutex::new(answers(&[("B", "1")], 5));
        let fake = Arc::new(Fake { answer, asked: Mutex::default() });
        let options = peers::Options { enabled: true, ..peers::Options::default() };
        let peers = Peers::with_wire(store.clone(), options, fake.clone());
        let made = store.write_here(move |tx| {
            let alice = user::intern(tx, ruma::user_id!("@alice:x.org"))?;
            let bob = user::intern(tx, ruma::user_id!("@bob:b.org"))?;
            let rooms = vec![testing::room(tx, alice)?, testing::room(tx, alice)?];
            Ok((alice, bob, rooms))
        });
        let (alice, bob, rooms) = made.unwrap().value;
        let lists = DeviceLists::new(store.clone(), peers);
        let world = World { store, lists, fake, alice, bob, rooms };
        world.stands(bob, 0, Standing::Join);
        world.stands(bob, 1, Standing::Join);
        world
    }

    fn stands(&self, user: User, room: usize, standing: Standing) {
        let room = self.rooms[room];
        let moved = self.store.write_here(move |tx| testing::stands(tx, room, user, standing));
        moved.unwrap();
    }

    fn answers(&self, answer: Answer) {
        *self.fake.answer.lock() = answer;
    }

    /// What was asked since this was last called.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.fake.asked.lock())
    }

    /// bob's devices with their keys, as a client is told, and whether his server failed.
    async fn query(&self) -> (Vec<(String, String)>, bool) {
        let asked = Asked::from([(BOB.to_owned(), Vec::new())]);
        let (found, failures) = self.lists.query(&asked, None).await.unwrap();
        assert!(!found.device_keys.contains_key("@alice:x.org"), "a server speaks for its own");
        let devices = found.device_keys.get(BOB).and_then(Value::as_object);
        let devices = devices.into_iter().flatten();
        let devices =
            devices.map(|(id, keys)| (id.clone(), keys["keys"]["x"].as_str().unwrap().to_owned()));
        (devices.collect(), failures.contains_key("b.org"))
    }

    fn heard(&self, content: Value) -> bool {
        heard(&self.store, content)
    }

    fn round(&self) -> impl Future<Output = Reply<Duration>> {
        let lists = self.lists.clone();
        async move { lists.round(&BTreeSet::new()).await }
    }

    /// How often it was announced that bob's devices changed.
    fn announced(&self) -> usize {
        let told = |view: &View| {
            let all = view.log(base::Seq::ZERO, base::Seq::MAX, 100_000)?;
            let entry = Entry::Devices { user: self.bob };
            Ok(all.into_iter().filter(|(_, there)| *there == entry).count())
        };
        self.store.read_here(told).unwrap()
    }

    fn is_kept(&self) -> bool {
        self.store.read_here(|view| view.has(&REMOTE_LISTS, (self.bob,))).unwrap()
    }
}

fn heard(store: &Store, content: Value) -> bool {
    let update = serde_json::from_value(content).unwrap();
    let told = Told::Device(update);
    store.write_here(move |tx| lists::heard(tx, "b.org", &told)).unwrap().value
}

fn update(device: &str, key: &str, version: u64, before: &[u64]) -> Value {
    json!({
        "user_id": BOB, "device_id": device, "stream_id": version, "prev_id": before,
        "keys": keys(device, key),
    })
}

fn has(devices: &[(&str, &str)]) -> (Vec<(String, String)>, bool) {
    let devices = devices.iter().map(|(id, key)| ((*id).to_owned(), (*key).to_owned()));
    (devices.collect(), false)
}

#[tokio::test]
async fn a_list_is_asked_for_once_and_kept_current_by_what_its_server_tells() {
    let world = World::new();
    for _ in 0..3 {
        assert_eq!(world.query().await, has(&[("B", "1")]));
    }
    assert_eq!(world.asked(), ["keys"]);
    // The answer had no version, so that nobody knows whether an update follows upon it.
    world.answers(answers(&[("B", "1"), ("C", "1")], 6));
    assert!(world.heard(update("C", "1", 6, &[5])));
    world.round().await.unwrap();
    assert_eq!((world.asked(), world.announced()), (vec!["devices".to_owned()], 1));
    // From here on each follows upon the one before.
    assert!(!world.heard(update("D", "1", 7, &[6])));
    assert!(!world.heard(update("D", "1", 7, &[6])));
    assert_eq!(world.query().await, has(&[("B", "1"), ("C", "1"), ("D", "1")]));
    let deleted =
        json!({"user_id": BOB, "device_id": "B", "stream_id": 8, "prev_id": [7], "deleted": true});
    assert!(!world.heard(deleted));
    assert_eq!(world.query().await, has(&[("C", "1"), ("D", "1")]));
    assert_eq!((world.asked().len(), world.announced()), (0, 3));
    // One that says nothing new is not announced.
    assert!(!world.heard(update("D", "1", 9, &[8])));
    assert_eq!(world.announced(), 3);
}

#[tokio::test]
async fn a_gap_is_found_and_the_list_asked_for_again() {
    let world = World::new();
    world.query().await;
    world.heard(update("B", "1", 5, &[]));
    world.round().await.unwrap();
    world.asked();
    assert!(world.heard(update("D", "1", 9, &[8])), "8 was never heard of");
    assert!(world.heard(update("D", "1", 10, &[9])));
    world.answers(answers(&[("D", "1")], 10));
    world.round().await.unwrap();
    assert_eq!(world.asked(), ["devices"]);
    assert_eq!(world.query().await, has(&[("D", "1")]));
    assert!(!world.heard(update("D", "2", 11, &[10])));
    assert_eq!((world.query().await, world.asked().len()), (has(&[("D", "2")]), 0));
}

#[tokio::test]
async fn what_is_told_while_an_answer_is_on_its_way_is_not_lost() {
    let world = World::new();
    let (store, mut old) = (world.store.clone(), answers(&[("B", "1")], 5));
    world.answers(Box::new(move |what| {
        let told = update("B", "2", 6, &[5]);
        std::thread::spawn({
            let store = store.clone();
            move || heard(&store, told)
        })
        .join()
        .unwrap();
        old(what)
    }));
    assert_eq!(world.query().await, has(&[("B", "1")]));
    world.answers(answers(&[("B", "2")], 6));
    assert_eq!(world.query().await, has(&[("B", "2")]));
    assert_eq!(world.announced(), 1);
}

#[tokio::test]
async fn users_of_a_server_that_is_down_have_the_devices_that_are_known() {
    let world = World::new();
    world.answers(Box::new(|_| Err("down".to_owned())));
    assert_eq!(world.query().await, (Vec::new(), true));
    let world = World::new();
    world.query().await;
    world.answers(Box::new(|_| Err("down".to_owned())));
    world.heard(update("D", "1", 9, &[8]));
    world.round().await.unwrap();
    assert_eq!(world.query().await, has(&[("B", "1")]), "old, but better than nothing");
    let stale: Vec<((String, User), Stale)> =
        world.store.read_here(|view| view.everything(&STALE_LISTS, None, 9)).unwrap();
    assert_eq!(stale[0].1.failures, 1);
    assert!(stale[0].1.retry > world.store.now());
    // Heard from again: at once.
    world.answers(answers(&[("D", "1")], 9));
    world.lists.0.peers.heard_from(server_name!("b.org"));
    let back = BTreeSet::from([server_name!("b.org").to_owned()]);
    world.lists.round(&back).await.unwrap();
    world.asked();
    assert_eq!((world.query().await, world.asked().len()), (has(&[("D", "1")]), 0));
}

#[tokio::test]
async fn those_who_ask_for_the_same_at_once_are_answered_by_one_question() {
    let world = World::new();
    let all = futures_util::future::join_all((0..20).map(|_| world.query())).await;
    assert!(all.iter().all(|answer| *answer == has(&[("B", "1")])));
    assert_eq!(world.asked(), ["keys"]);
}

#[tokio::test]
async fn a_list_ends_with_the_last_room_that_is_shared() {
    let world = World::new();
    world.query().await;
    world.stands(world.bob, 0, Standing::Leave);
    assert!(world.is_kept());
    world.stands(world.bob, 1, Standing::Leave);
    assert!(!world.is_kept());
    // Somebody with whom nothing is shared is asked about each time.
    world.asked();
    world.query().await;
    world.query().await;
    assert_eq!((world.asked().len(), world.is_kept()), (2, false));
}

#[tokio::test]
async fn lists_end_when_the_last_of_ours_leaves_even_if_they_come_back_at_once() {
    let world = World::new();
    world.query().await;
    world.stands(world.alice, 0, Standing::Leave);
    world.stands(world.alice, 1, Standing::Leave);
    world.stands(world.alice, 1, Standing::Join);
    assert!(!world.heard(update("B", "9", 6, &[5])), "it concerns nobody");
    assert_eq!(world.announced(), 0);
    world.round().await.unwrap();
    assert!(!world.is_kept());
    world.answers(answers(&[("B", "9")], 6));
    assert_eq!(world.query().await, has(&[("B", "9")]));
    assert!(world.is_kept());
}

#[tokio::test]
async fn the_task_asks_again_by_itself() {
    let world = World::new();
    world.query().await;
    world.heard(update("B", "2", 6, &[5]));
    world.answers(answers(&[("B", "2")], 6));
    let (tell, stop) = watch::channel(false);
    let mut head = world.store.watch_head();
    let task = tokio::spawn(world.lists.clone().run(stop));
    while world.announced() == 0 {
        head.changed().await.unwrap();
    }
    tell.send(true).unwrap();
    task.await.unwrap();
    world.asked();
    assert_eq!((world.query().await, world.asked().len()), (has(&[("B", "2")]), 0));
}
