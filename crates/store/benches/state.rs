//! `cargo bench -p store`: the state map of a room of 100,000 members: what a state event costs on disk, and what the
//! difference of two versions costs.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a bench that fails panics")]

use std::sync::{Arc, OnceLock};

use base::Event;
use divan::Bencher;
use ruma::server_name;
use store::{
    Options, Store,
    schema::STATE_NODES,
    state::{self, NodeId, Root, Slot},
};

fn main() {
    let room = room();
    let (whole, last) = (room.bytes_whole, room.bytes_last);
    println!("{MEMBERS} members: {} bytes of nodes for each state event sent one by one", last);
    println!("{} bytes for each entry of one version, all written at once", whole);
    divan::main();
}

const MEMBERS: u64 = 100_000;
/// Versions that are kept, one for each of the last events.
const VERSIONS: u64 = 1_000;

struct Room {
    store: Store,
    /// The last versions, oldest first.
    roots: Vec<Root>,
    bytes_whole: u64,
    bytes_last: u64,
}

fn member(n: u64) -> String {
    format!("@user{n}:example.org")
}

/// All bytes of stored nodes: payloads, without keys and what an engine adds.
fn node_bytes(store: &Store) -> u64 {
    let mut after: Option<(NodeId,)> = None;
    let mut bytes = 0;
    loop {
        let page = store.read_here(|view| view.everything(&STATE_NODES, after, 10_000)).unwrap();
        let Some((last, _)) = page.last() else { return bytes };
        after = Some(*last);
        for (_, node) in &page {
            let mut payload = Vec::new();
            store::Value::put(node, &mut payload);
            bytes += payload.len() as u64;
        }
    }
}

/// Made once: a room whose members came at once, and then changed their profiles one after the other.
fn room() -> &'static Room {
    static ROOM: OnceLock<Room> = OnceLock::new();
    ROOM.get_or_init(|| {
        let key = protocol::SigningKey::generate([7; 32], "a").unwrap();
        let options = Options::new(server_name!("x.org").to_owned(), Arc::new(key));
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        let first = store.write_here(|tx| {
            let slot = |n| (Slot::of("m.room.member", &member(n)), Some(Event(n + 1)));
            state::apply(tx, Root::default(), (0..MEMBERS).map(slot).collect())
        });
        let mut root = first.unwrap().value;
        let whole = node_bytes(&store);
        let mut roots = vec![root];
        for n in 0..VERSIONS {
            let who = member(n * 7919 % MEMBERS);
            let event = Event(MEMBERS + n + 1);
            let next =
                store.write_here(move |tx| state::set(tx, root, "m.room.member", &who, event));
            root = next.unwrap().value;
            roots.push(root);
        }
        let last = node_bytes(&store) - whole;
        Room { store, roots, bytes_whole: whole / MEMBERS, bytes_last: last / VERSIONS }
    })
}

/// The difference of two versions that are so many events apart.
#[divan::bench(args = [1, 10, 100, 1_000])]
fn diff(bencher: Bencher<'_, '_>, apart: usize) {
    let room = room();
    let (a, b) = (*room.roots.first().unwrap(), *room.roots.get(apart).unwrap());
    bencher.bench_local(|| {
        let changes = room.store.read_here(|view| state::diff(view, a, b)).unwrap();
        assert_eq!(changes.len(), apart);
    });
}

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    let room = room();
    let root = *room.roots.last().unwrap();
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7919) % MEMBERS;
        let found =
            room.store.read_here(|view| state::get(view, root, "m.room.member", &member(n)));
        assert!(found.unwrap().is_some());
    });
}

/// One member event, with its commit in memory.
#[divan::bench]
fn set(bencher: Bencher<'_, '_>) {
    let room = room();
    let root = *room.roots.last().unwrap();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        let (who, event) = (member(n * 7919 % MEMBERS), Event(10 * MEMBERS + n));
        room.store.write_here(move |tx| state::set(tx, root, "m.room.member", &who, event)).unwrap()
    });
}
