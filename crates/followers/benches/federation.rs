//! `cargo bench -p followers --bench federation`: what it takes to tell other servers, in CPU time of the whole process for each event
//! and destination: routing, writing down, composing, signing; all but the network.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a bench that fails panics")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base::{Room, User};
use bytes::Bytes;
use flows::peers::{self, Patience, Peers};
use followers::federation::{Doing, Federation, Network, Outlet};
use http::{Request, Response};
use ruma::{OwnedServerName, OwnedUserId, RoomVersionId, api::IncomingRequestExt as _};
use serde_json::{json, value::to_raw_value};
use store::{
    Options, Store, room,
    schema::{Member, Standing},
    user,
};
use tokio::sync::watch;

const DESTINATIONS: usize = 100;
const EVENTS: usize = 300;

/// Servers that say yes, and count the events.
struct Others {
    events: AtomicUsize,
    transactions: AtomicUsize,
    moved: watch::Sender<()>,
}

impl peers::Wire for Others {
    fn exchange(
        &self,
        _to: OwnedServerName,
        request: Request<Bytes>,
        _patience: Patience,
    ) -> Doing<'_, Result<Response<Bytes>, String>> {
        // Every message says it once.
        let body = request.into_body();
        let events = body.windows(6).filter(|w| *w == b"m.text").count();
        self.events.fetch_add(events, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.moved.send_replace(());
        Box::pin(async { Ok(Response::new(Bytes::from_static(br#"{"pdus":{}}"#))) })
    }
}

fn open() -> Store {
    let key = protocol::SigningKey::generate([7; 32], "t").unwrap();
    let name = ruma::server_name!("x.org").to_owned();
    Store::open(Arc::new(kv::Memory::default()), Options::new(name, Arc::new(key))).unwrap()
}

/// A room with a user of this server and one of each other.
fn room(store: &Store) -> (User, Room) {
    let body = json!({"preset": "public_chat"}).to_string();
    let made = http::Request::post("/_matrix/client/v3/createRoom").body(body.as_bytes()).unwrap();
    let request =
        ruma::api::client::room::create_room::v3::Request::try_from_http_request(made, &[])
            .unwrap();
    let made = store.write_here(move |tx| {
        let alice = user::intern(tx, ruma::user_id!("@alice:x.org"))?;
        let id = rooms::create::create(tx, alice, &RoomVersionId::V12, &request)?;
        let room = room::find(tx, &id)?.unwrap();
        let event = *room::head(tx, room)?.extremities.first().unwrap();
        for n in 0..DESTINATIONS {
            let id = OwnedUserId::try_from(format!("@bob:s{n}.org")).unwrap();
            let user = user::intern(tx, &id)?;
            room::set_member(tx, room, user, Member { standing: Standing::Join, event })?;
        }
        Ok((alice, room))
    });
    made.unwrap().value
}

fn say(store: &Store, room: Room, sender: User) {
    let body = "A message of a usual length, say one sentence.";
    let content = to_raw_value(&json!({ "msgtype": "m.text", "body": body })).unwrap();
    let said = store.write_here(move |tx| {
        let (kind, content) = ("m.room.message".to_owned(), content.clone());
        let new = rooms::New { sender, kind, state_key: None, content, redacts: None };
        rooms::append(tx, room, new).map(drop)
    });
    said.unwrap();
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Says so many events, one after the other or all at once, and waits until all others have them.
async fn measure(name: &str, paced: bool) {
    let store = open();
    let (alice, room) = room(&store);
    let others = Arc::new(Others {
        events: AtomicUsize::new(0),
        transactions: AtomicUsize::new(0),
        moved: watch::Sender::new(()),
    });
    let options = peers::Options { enabled: true, ..peers::Options::default() };
    let peers = Peers::with_wire(store.clone(), options, others.clone());
    let wire = Arc::new(Network::new(peers, store.clone()));
    let running = Federation::start(Outlet { store: store.clone(), wire, alone: true });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut moved = others.moved.subscribe();
    let (before, began) = (cpu(), Instant::now());
    for n in 1..=EVENTS {
        say(&store, room, alice);
        while paced && others.events.load(Ordering::Relaxed) < n * DESTINATIONS {
            moved.changed().await.unwrap();
        }
    }
    while others.events.load(Ordering::Relaxed) < EVENTS * DESTINATIONS {
        moved.changed().await.unwrap();
    }
    let (spent, took) = (cpu() - before, began.elapsed());
    let each = spent.as_secs_f64() * 1e6 / (EVENTS * DESTINATIONS) as f64;
    let transactions = others.transactions.load(Ordering::Relaxed);
    println!(
        "{name}: {each:.1} µs CPU for each event and destination; {transactions} transactions in {took:?}"
    );
    running.stop().await;
}

#[tokio::main]
async fn main() {
    measure("one event at a time", true).await;
    measure("many at once", false).await;
}
