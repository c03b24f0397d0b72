//! A store without threads: what it promises holds in whatever order its work is run, and the same order has the same end.

use std::sync::Arc;

use base::{Error, Room};
use kv::Memory;
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use ruma::server_name;

use super::{Choosy, Counting, send, timeline};
use crate::{
    Lane, Options, Scheduler, Store, Task, inline,
    schema::{CURSORS, HEADS, Head},
};

fn store(scheduler: Scheduler) -> Store {
    let key = protocol::SigningKey::generate([7; 32], "test").unwrap();
    let mut options = Options::new(server_name!("x.test").to_owned(), key.into());
    (options.scheduler, options.seed) = (Some(scheduler), Some(1));
    Store::open(Arc::new(Memory::default()), options).unwrap()
}

fn head(store: &Store, room: u64) -> Head {
    store.read_here(|v| v.get(&HEADS, (Room(room),))).unwrap().unwrap()
}

#[test]
fn on_the_thread_that_asks_everything_is_done_when_the_call_returns() {
    let store = store(inline());
    store.write_here(|tx| send(tx, 1)).unwrap();
    let mut listener = store.watch_head();
    listener.mark_unchanged();
    let written = store.write_here(|tx| send(tx, 1)).unwrap();
    assert!(listener.has_changed().unwrap() && store.head() == written.seq);
    assert_eq!(timeline(&store, 1).last(), Some(&(written.seq, written.value)));
    store.close();
    assert!(store.write_here(|tx| send(tx, 1)).is_err());
}

#[tokio::test]
async fn a_panic_and_a_refusal_hurt_nobody_else() {
    let store = store(inline());
    let panics = store.write(Some(Lane(1)), |_| -> base::Reply<()> { panic!("on purpose") }).await;
    assert!(matches!(panics, Err(Error::Fault(_))));
    let refused = |tx: &mut crate::Tx| {
        send(tx, 1)?;
        Err::<(), _>(Error::forbidden("no"))
    };
    assert!(matches!(store.write(Some(Lane(1)), refused).await, Err(Error::Refused(_))));
    assert!(store.write(Some(Lane(1)), |tx| send(tx, 1)).await.is_ok());
    let panics = store.read(|_| -> base::Reply<()> { panic!("on purpose") }).await;
    assert!(matches!(panics, Err(Error::Fault(_))));
    assert_eq!(timeline(&store, 1).len(), 1);
}

#[tokio::test]
async fn followers_follow() {
    let store = store(inline());
    for n in 0..20 {
        store.write(None, move |tx| send(tx, n % 2)).await.unwrap();
    }
    let follower: Arc<dyn crate::follow::Follower> = Arc::new(Counting);
    crate::follow::advance(&store, &follower, None).await.unwrap();
    let choosy: Arc<dyn crate::follow::Follower> = Arc::new(Choosy);
    crate::follow::advance(&store, &choosy, None).await.unwrap();
    assert_eq!(head(&store, 100).depth, 20);
    assert!(store.read_here(|v| v.get(&CURSORS, ("choosy".into(),))).unwrap().is_some());
}

/// Many writers, of which half queue and half collide, in an order by chance. Returns what was committed where.
async fn shuffled(seed: u64) -> Vec<Vec<u64>> {
    let waiting: Arc<Mutex<Vec<Task>>> = Arc::default();
    let queue = waiting.clone();
    let store = store(Arc::new(move |task| queue.lock().push(task)));
    let mut dice = StdRng::seed_from_u64(seed);
    let writers = (0..60_u64).map(|n| {
        let (store, lane) = (store.clone(), (n % 2 == 0).then_some(Lane(n % 3)));
        tokio::spawn(async move { store.write(lane, move |tx| send(tx, n % 3)).await })
    });
    let writers: Vec<_> = writers.collect();
    while !writers.iter().all(|writer| writer.is_finished()) {
        tokio::task::yield_now().await;
        let task = {
            let mut waiting = waiting.lock();
            let at = dice.random_range(0..waiting.len().max(1));
            (at < waiting.len()).then(|| waiting.swap_remove(at))
        };
        task.into_iter().for_each(|task| task());
    }
    let mut seqs = Vec::new();
    for writer in writers {
        seqs.push(writer.await.unwrap().unwrap().seq.0);
    }
    let rooms: Vec<Vec<u64>> =
        (0..3).map(|n| timeline(&store, n).iter().map(|(seq, _)| seq.0).collect()).collect();
    for (n, room) in (0..).zip(&rooms) {
        assert_eq!(head(&store, n).depth, room.len() as u64, "every send saw the one before");
    }
    let (mut told, mut there) = (seqs.clone(), rooms.concat());
    told.sort_unstable();
    there.sort_unstable();
    assert_eq!(told, there, "everyone was told where their event is");
    [rooms, vec![seqs]].concat()
}

#[tokio::test]
async fn in_any_order_nothing_is_lost_and_one_order_has_one_end() {
    for seed in 0..20 {
        assert_eq!(shuffled(seed).await, shuffled(seed).await);
    }
    assert_ne!(shuffled(1).await, shuffled(2).await);
}
