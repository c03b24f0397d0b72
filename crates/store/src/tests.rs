//! What the store promises, over the memory engine. (That every engine behaves like it, `kv::conformance` shows.)

mod scheduled;
mod witnessed;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use base::{Error, Event, Room, Seq, User};
use kv::Memory;
use proptest::prelude::*;
use ruma::server_name;

use crate::{
    CacheSpace, Kind, Lane, Options, Store, Written,
    log::Entry,
    schema::{CURSORS, FACTS, HEADS, Head, MEMBERS, Member, Standing, TIMELINE},
    state::{self, Part, Root},
};

pub(crate) fn store() -> Store {
    store_on(Arc::new(Memory::default()))
}

pub(crate) fn store_on(engine: Arc<dyn kv::Engine>) -> Store {
    let key = protocol::SigningKey::generate([7; 32], "test").unwrap();
    let options =
        Options { threads: 4, ..Options::new(server_name!("x.test").to_owned(), key.into()) };
    Store::open(engine, options).unwrap()
}

fn message(room: u64, event: u64) -> Entry {
    let (room, event) = (Room(room), Event(event));
    Entry::Event { room, event, sender: User(1), target: None, state: false }
}

/// A send as the rooms domain does it: reads and writes the room's head, takes the next place in its timeline.
fn send(tx: &mut crate::Tx, room: u64) -> base::Reply<Event> {
    let mut head = tx.get(&HEADS, (Room(room),))?.unwrap_or_default();
    head.depth += 1;
    tx.put(&HEADS, (Room(room),), &head);
    let event = Event(tx.fresh()?);
    let at = tx.announce(message(room, event.0));
    tx.put_at(&TIMELINE, at, move |seq| ((Room(room), seq), event));
    Ok(event)
}

fn timeline(store: &Store, room: u64) -> Vec<(Seq, Event)> {
    store
        .read_here(|view| view.under(&TIMELINE, (Room(room),), 100_000))
        .unwrap()
        .into_iter()
        .map(|((_, seq), event): ((Room, Seq), Event)| (seq, event))
        .collect()
}

#[test]
fn a_refusal_writes_nothing() {
    let store = store();
    let outcome = store.write_here(|tx| {
        send(tx, 1)?;
        Err::<(), _>(Error::forbidden("no"))
    });
    assert!(matches!(outcome, Err(Error::Refused(r)) if r.errcode == "M_FORBIDDEN"));
    assert!(timeline(&store, 1).is_empty());
    assert_eq!(store.read_here(|v| v.get(&HEADS, (Room(1),))).unwrap(), None);
}

#[test]
fn a_transaction_sees_its_own_writes_in_gets_and_scans() {
    let store = store();
    let put = |n: u64| (Room(1), User(n));
    let member = |n| Member { standing: Standing::Join, event: Event(n) };
    let four = move |tx: &mut crate::Tx| {
        (1..=4).for_each(|n| tx.put(&MEMBERS, put(n), &member(n)));
        Ok(())
    };
    store.write_here(four).unwrap();
    store
        .write_here(move |tx| {
            tx.delete(&MEMBERS, put(2));
            tx.put(&MEMBERS, put(3), &member(33));
            tx.put(&MEMBERS, put(5), &member(5));
            assert_eq!(tx.get(&MEMBERS, put(2))?, None);
            assert_eq!(tx.get(&MEMBERS, put(3))?, Some(member(33)));
            let rows: Vec<((Room, User), Member)> = tx.under(&MEMBERS, (Room(1),), 3)?;
            let seen: Vec<(u64, u64)> = rows.iter().map(|((_, u), m)| (u.0, m.event.0)).collect();
            assert_eq!(seen, [(1, 1), (3, 33), (4, 4)]);
            let (from, to) = (put(0), put(9));
            let back = tx.range(&MEMBERS, from, to, crate::Direction::Backward, 2)?;
            let seen: Vec<u64> = back.iter().map(|((_, u), _)| u.0).collect();
            assert_eq!(seen, [5, 4]);
            let many = tx.get_many(&MEMBERS, [put(1), put(2), put(3), put(9)])?;
            assert_eq!(many, [Some(member(1)), None, Some(member(33)), None]);
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_rooms_stay_linear_and_positions_are_dense() {
    let store = store();
    let mut tasks = Vec::new();
    for n in 0..400u64 {
        let store = store.clone();
        // Half of the writers do not queue: they collide and run again.
        let lane = (n % 2 == 0).then_some(Lane(n % 3));
        tasks.push(tokio::spawn(async move { store.write(lane, move |tx| send(tx, n % 3)).await }));
    }
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.push(task.await.unwrap().unwrap().seq.0);
    }
    seqs.sort_unstable();
    let first = seqs[0];
    assert_eq!(seqs, (first..first + 400).collect::<Vec<_>>());
    let mut all = 0;
    for room in 0..3 {
        let events = timeline(&store, room);
        let head: Head = store.read_here(|v| v.get(&HEADS, (Room(room),))).unwrap().unwrap();
        assert_eq!(head.depth, events.len() as u64, "every send saw the one before");
        all += events.len();
    }
    assert_eq!(all, 400);
}

/// Holds a lane until all that is queued behind is there, so that it runs as one batch.
struct Held<'a> {
    gate: Arc<Barrier>,
    opener: std::pin::Pin<Box<dyn Future<Output = base::Reply<Written<Event>>> + 'a>>,
}

impl Held<'_> {
    fn lane(store: &Store) -> Held<'_> {
        let gate = Arc::new(Barrier::new(2));
        let hold = gate.clone();
        let first = AtomicUsize::new(0);
        let mut opener = Box::pin(store.write(Some(Lane(1)), move |tx| {
            if first.fetch_add(1, SeqCst) == 0 {
                hold.wait();
            }
            send(tx, 1)
        }));
        // The first poll queues the job.
        assert!(futures_poll_once(opener.as_mut()).is_none());
        Held { gate, opener }
    }

    async fn let_go(self) {
        let gate = self.gate;
        tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
        self.opener.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_lane_a_refused_job_leaves_its_neighbours_alone() {
    let store = store();
    let held = Held::lane(&store);
    let mut jobs = Vec::new();
    for n in 0..10 {
        let future = store.write(Some(Lane(1)), move |tx| {
            let event = send(tx, 1)?;
            if n % 3 == 0 { Err(Error::forbidden("no")) } else { Ok(event) }
        });
        let mut future = Box::pin(future);
        assert!(futures_poll_once(future.as_mut()).is_none());
        jobs.push(future);
    }
    held.let_go().await;
    let mut sent = Vec::new();
    for (n, job) in jobs.into_iter().enumerate() {
        match job.await {
            Ok(done) => sent.push((done.seq, done.value)),
            Err(_) => assert_eq!(n % 3, 0),
        }
    }
    assert_eq!(sent.len(), 6);
    let events = timeline(&store, 1);
    assert_eq!(events.len(), 7, "the opener and those not refused");
    assert_eq!(events[1..], sent, "each was told its own position");
    let head: Head = store.read_here(|v| v.get(&HEADS, (Room(1),))).unwrap().unwrap();
    assert_eq!(head.depth, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_to_be_first_sees_what_others_in_the_lane_wrote_under_their_positions() {
    let store = store();
    let held = Held::lane(&store);
    let count = |tx: &mut crate::Tx| {
        let seen = tx.under::<_, (Room, Seq), Event>(&TIMELINE, (Room(1),), 100)?.len();
        send(tx, 1).map(|_| seen)
    };
    let mut jobs = Vec::new();
    for n in 0..9 {
        let mut job: std::pin::Pin<Box<dyn Future<Output = _>>> = match n % 3 {
            2 => Box::pin(store.write_first(Lane(1), count)),
            _ => Box::pin(store.write(Some(Lane(1)), count)),
        };
        assert!(futures_poll_once(job.as_mut()).is_none());
        jobs.push(job);
    }
    held.let_go().await;
    let mut seen = Vec::new();
    for job in jobs {
        seen.push(job.await.unwrap().value);
    }
    // The first two may share the opener's transaction. Each that asks begins one, and two more share it.
    assert_eq!(seen[2..], [3, 3, 3, 6, 6, 6, 9]);
}

fn futures_poll_once<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let waker = std::task::Waker::noop();
    match future.poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(out) => Some(out),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_key_that_no_engine_can_hold_is_a_fault_of_its_own_job() {
    let store = store();
    let outcome = store.write_here(|tx| {
        tx.put(&FACTS, ("x".repeat(600),), &String::new());
        Ok(())
    });
    assert!(matches!(outcome, Err(Error::Fault(_))));
    assert_eq!(store.read_here(|v| v.get(&FACTS, ("x".repeat(600),))).unwrap(), None);
    store.write_here(|tx| send(tx, 1)).unwrap();
}

#[tokio::test]
async fn a_panic_in_a_transaction_is_a_fault_and_the_next_one_works() {
    let store = store();
    let outcome = store.write(Some(Lane(1)), |_| -> base::Reply<()> { panic!("on purpose") }).await;
    assert!(matches!(outcome, Err(Error::Fault(_))));
    assert!(store.write(Some(Lane(1)), |tx| send(tx, 1)).await.is_ok());
    assert!(matches!(
        store.read(|_| -> base::Reply<()> { panic!("on purpose") }).await,
        Err(Error::Fault(_))
    ));
}

#[test]
fn no_write_skew_between_two_that_read_what_the_other_writes() {
    let store = store();
    let meet = Arc::new(Barrier::new(2));
    let fact = |name: &str| (name.to_owned(),);
    let run = |mine: &'static str, other: &'static str| {
        let (store, meet) = (store.clone(), meet.clone());
        let tries = AtomicUsize::new(0);
        std::thread::spawn(move || {
            store
                .write_here(move |tx| {
                    let taken = tx.has(&FACTS, fact(other))?;
                    // The first attempts meet after reading and before committing.
                    if tries.fetch_add(1, SeqCst) == 0 {
                        meet.wait();
                    }
                    if !taken {
                        tx.put(&FACTS, fact(mine), &"me".to_owned());
                    }
                    Ok(!taken)
                })
                .unwrap()
                .value
        })
    };
    let (a, b) = (run("a", "b"), run("b", "a"));
    let (a, b) = (a.join().unwrap(), b.join().unwrap());
    assert!(a ^ b, "exactly one may believe that the other was not there: {a} {b}");
}

#[test]
fn a_scan_is_relied_on_so_there_are_no_phantoms() {
    let store = store();
    let meet = Arc::new(Barrier::new(2));
    let join = |user: u64| {
        let (store, meet) = (store.clone(), meet.clone());
        let tries = AtomicUsize::new(0);
        std::thread::spawn(move || {
            store
                .write_here(move |tx| {
                    let there: Vec<((Room, User), Member)> = tx.under(&MEMBERS, (Room(1),), 10)?;
                    if tries.fetch_add(1, SeqCst) == 0 {
                        meet.wait();
                    }
                    // Only one place.
                    if there.is_empty() {
                        let member = Member { standing: Standing::Join, event: Event(user) };
                        tx.put(&MEMBERS, (Room(1), User(user)), &member);
                    }
                    Ok(())
                })
                .unwrap();
        })
    };
    let (a, b) = (join(1), join(2));
    a.join().unwrap();
    b.join().unwrap();
    let there: Vec<((Room, User), Member)> =
        store.read_here(|v| v.under(&MEMBERS, (Room(1),), 10)).unwrap();
    assert_eq!(there.len(), 1);
}

#[test]
fn a_cached_value_is_made_again_when_its_owner_changed_and_not_before() {
    static SPACE: CacheSpace = CacheSpace { tag: 200, owned: Some(Kind::Room) };
    let store = store();
    let made = Arc::new(AtomicUsize::new(0));
    let depth = |store: &Store| {
        let made = made.clone();
        store
            .read_here(|view| {
                view.cached(&SPACE, 1, |view| {
                    made.fetch_add(1, SeqCst);
                    Ok((view.get(&HEADS, (Room(1),))?.unwrap_or_default().depth, 8))
                })
            })
            .unwrap()
    };
    store.write_here(|tx| send(tx, 1)).unwrap();
    assert_eq!((*depth(&store), *depth(&store), made.load(SeqCst)), (1, 1, 1));
    store.write_here(|tx| send(tx, 2)).unwrap();
    assert_eq!((*depth(&store), made.load(SeqCst)), (1, 1), "another room is no reason");
    store.write_here(|tx| send(tx, 1)).unwrap();
    assert_eq!((*depth(&store), made.load(SeqCst)), (2, 2));
    // Within a transaction its own change counts.
    let outcome = store.write_here(|tx| {
        send(tx, 1)?;
        let seen = tx.cached(&SPACE, 1, |view| {
            Ok((view.get(&HEADS, (Room(1),))?.unwrap_or_default().depth, 8))
        })?;
        assert_eq!(*seen, 3);
        Err::<(), _>(Error::forbidden("taken back"))
    });
    // Not a fault, as a panic would be.
    assert!(matches!(outcome, Err(Error::Refused(_))), "{outcome:?}");
    assert_eq!(*depth(&store), 2, "and leaves nothing in the cache");
}

#[test]
fn a_reader_of_an_old_view_is_not_served_what_came_later() {
    static SPACE: CacheSpace = CacheSpace { tag: 201, owned: Some(Kind::Room) };
    let store = store();
    store.write_here(|tx| send(tx, 1)).unwrap();
    let load = |view: &crate::View| {
        view.cached(&SPACE, 1, |v| Ok((v.get(&HEADS, (Room(1),))?.unwrap_or_default().depth, 8)))
    };
    store
        .read_here(|old| {
            store.write_here(|tx| send(tx, 1)).unwrap();
            assert_eq!(*store.read_here(load)?, 2);
            assert_eq!(*load(old)?, 1);
            // What the old reader made must not be served to new ones.
            assert_eq!(*store.read_here(load)?, 2);
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_wakes_for_its_rooms_and_itself_and_for_nothing_else() {
    let store = store();
    let rooms: Arc<[Room]> = Arc::new([Room(1), Room(2)]);
    let mut listener = store.listen(User(9));
    assert!(listener.set_rooms(&rooms));
    assert!(!listener.set_rooms(&rooms));
    let announce = |entry: Entry| {
        let store = store.clone();
        async move {
            let seq = store
                .write(None, move |tx| {
                    tx.announce(entry.clone());
                    Ok(())
                })
                .await
                .unwrap()
                .seq;
            let mut head = store.watch_head();
            head.wait_for(|h| *h >= seq).await.unwrap();
        }
    };
    let woken = |listener: &mut crate::Listener| {
        let waiting = std::pin::pin!(listener.changed());
        futures_poll_once(waiting).is_some()
    };
    let kind = || "m.x".to_owned();
    for (entry, wakes) in [
        (message(1, 1), true),
        (message(3, 1), false),
        (
            Entry::Event {
                room: Room(3),
                event: Event(1),
                sender: User(1),
                target: Some(User(9)),
                state: true,
            },
            true,
        ),
        (Entry::Receipt { room: Room(2), user: User(1), private: false }, true),
        (Entry::Receipt { room: Room(2), user: User(1), private: true }, false),
        (Entry::Receipt { room: Room(2), user: User(9), private: true }, true),
        (Entry::AccountData { user: User(9), room: None, kind: kind() }, true),
        (Entry::AccountData { user: User(1), room: None, kind: kind() }, false),
        (Entry::ToDevice { user: User(9), device: "D".into() }, true),
    ] {
        listener.mark_seen();
        announce(entry.clone()).await;
        assert_eq!(woken(&mut listener), wakes, "{entry:?}");
    }
}

struct Counting;
impl crate::follow::Follower for Counting {
    fn id(&self) -> &'static str {
        "counting"
    }
    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::Event { room: Room(1), .. })
    }
    fn step(&self, tx: &mut crate::Tx, _: Seq, _: &Entry) -> base::Reply<()> {
        let mut head = tx.get(&HEADS, (Room(100),))?.unwrap_or_default();
        head.depth += 1;
        tx.put(&HEADS, (Room(100),), &head);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_take_each_entry_once_however_many_run() {
    let store = store();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let runners: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn(crate::follow::run(store.clone(), Arc::new(Counting), stopped.clone()))
        })
        .collect();
    let mut last = Seq(0);
    for n in 0..200 {
        last = store.write(None, move |tx| send(tx, n % 2)).await.unwrap().seq;
    }
    let caught_up = async {
        loop {
            let at = store.read(|v| v.get(&CURSORS, ("counting".into(),))).await.unwrap();
            if at.unwrap_or_default() >= last {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), caught_up).await.unwrap();
    stop.send(true).unwrap();
    for runner in runners {
        runner.await.unwrap();
    }
    let counted: Head = store.read_here(|v| v.get(&HEADS, (Room(100),))).unwrap().unwrap();
    assert_eq!(counted.depth, 100);
}

/// Wants every event; only those of one room concern it.
struct Choosy;
impl crate::follow::Follower for Choosy {
    fn id(&self) -> &'static str {
        "choosy"
    }
    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::Event { .. })
    }
    fn concerns(&self, _: &crate::View, entry: &Entry) -> base::Reply<bool> {
        Ok(matches!(entry, Entry::Event { room: Room(1), .. }))
    }
    fn step(&self, tx: &mut crate::Tx, at: Seq, entry: &Entry) -> base::Reply<()> {
        Counting.step(tx, at, entry)
    }
}

#[tokio::test]
async fn what_does_not_concern_a_follower_costs_no_commit() {
    let store = store();
    let follower: Arc<dyn crate::follow::Follower> = Arc::new(Choosy);
    let taken = || store.read_here(|v| v.get(&CURSORS, ("choosy".into(),))).unwrap();
    let others = store.write(None, |tx| send(tx, 2)).await.unwrap().seq;
    let upto = crate::follow::advance(&store, &follower, None).await.unwrap();
    assert!(upto >= others && taken().is_none());
    let own = store.write(None, |tx| send(tx, 1)).await.unwrap().seq;
    crate::follow::advance(&store, &follower, Some(upto)).await.unwrap();
    assert_eq!(taken(), Some(own));
}

/// A state map and the naive map it stands for.
fn build(store: &Store, changes: Vec<(u8, u16, u64)>) -> (Root, BTreeMap<(String, String), Event>) {
    let mut naive = BTreeMap::new();
    for (kind, key, event) in &changes {
        naive.insert((format!("k{}", kind % 3), format!("s{}", key % 300)), Event(*event));
    }
    let root = store
        .write_here(move |tx| {
            let mut root = Root::default();
            for (kind, key, event) in &changes {
                let (kind, key) = (format!("k{}", kind % 3), format!("s{}", key % 300));
                root = state::set(tx, root, &kind, &key, Event(*event))?;
            }
            Ok(root)
        })
        .unwrap()
        .value;
    (root, naive)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_state_map_holds_what_a_plain_map_does(
        changes in proptest::collection::vec((0u8..3, 0u16..300, 1u64..50), 0..400)
    ) {
        let store = store();
        let (root, naive) = build(&store, changes);
        store.read_here(|view| {
            assert_eq!(state::len(view, root)?, naive.len());
            for ((kind, key), event) in &naive {
                assert_eq!(state::get(view, root, kind, key)?, Some(*event));
            }
            assert_eq!(state::get(view, root, "k0", "absent")?, None);
            for kind in ["k0", "k1", "none"] {
                let mut only = state::list(view, root, Part::Only(kind))?;
                let mut except = state::list(view, root, Part::Except(kind))?;
                only.sort_unstable();
                except.sort_unstable();
                let pick = |is: bool| {
                    let mut events: Vec<Event> =
                        naive.iter().filter(|((k, _), _)| (k == kind) == is).map(|(_, e)| *e).collect();
                    events.sort_unstable();
                    events
                };
                assert_eq!((only, except), (pick(true), pick(false)));
            }
            Ok(())
        }).unwrap();
    }

    #[test]
    fn equal_states_have_equal_roots_whatever_their_history(
        changes in proptest::collection::vec((0u8..3, 0u16..300, 1u64..50), 0..300), seed: u64
    ) {
        let store = store();
        let (root, naive) = build(&store, changes);
        // The same map in another order.
        let mut shuffled: Vec<_> = naive.into_iter().collect();
        shuffled.sort_by_key(|(key, _)| {
            blake3::hash(format!("{seed}{key:?}").as_bytes()).as_bytes().to_vec()
        });
        let again = store.write_here(move |tx| {
            let mut root = Root::default();
            for ((kind, key), event) in &shuffled {
                root = state::set(tx, root, kind, key, *event)?;
            }
            Ok(root)
        }).unwrap().value;
        prop_assert_eq!(root, again);
    }

    #[test]
    fn a_difference_leads_from_one_state_to_the_other(
        before in proptest::collection::vec((0u8..3, 0u16..300, 1u64..50), 0..300),
        more in proptest::collection::vec((0u8..3, 0u16..300, 50u64..90), 0..40),
        apart: bool,
    ) {
        let store = store();
        let (a, mut naive) = build(&store, before.clone());
        let all = if apart { more } else { [before, more].concat() };
        let (b, after) = build(&store, all);
        let mut changes = store.read_here(|view| state::diff(view, a, b)).unwrap();
        changes.sort_by_key(|c| c.slot);
        let mut want = Vec::new();
        let slot = |(kind, key): &(String, String)| state::Slot::of(kind, key);
        for (key, event) in &after {
            let was = naive.remove(key);
            if was != Some(*event) {
                want.push(state::Change { slot: slot(key), before: was, after: Some(*event) });
            }
        }
        want.extend(naive.iter().map(|(key, event)| {
            state::Change { slot: slot(key), before: Some(*event), after: None }
        }));
        want.sort_by_key(|c| c.slot);
        prop_assert_eq!(changes, want);
    }

    #[test]
    fn many_changes_at_once_lead_where_one_after_the_other_does_and_nothing_stays_of_what_is_taken_out(
        before in proptest::collection::vec((0u8..3, 0u16..300, 1u64..50), 0..300),
        sets in proptest::collection::vec((0u8..3, 0u16..300, 50u64..90), 0..60),
        takes in proptest::collection::vec((0u8..4, 0u16..300), 0..200),
        emptied: bool,
    ) {
        let store = store();
        let (start, mut naive) = build(&store, before);
        let name = |kind: u8, key: u16| (format!("k{kind}"), format!("s{key}"));
        let mut taken: Vec<_> = takes.iter().map(|(kind, key)| name(*kind, *key)).collect();
        taken.extend(naive.keys().filter(|_| emptied).cloned());
        let mut edits = Vec::new();
        for key in taken {
            edits.push((state::Slot::of(&key.0, &key.1), None));
            naive.remove(&key);
        }
        for (kind, key, event) in sets {
            let key = name(kind, key);
            edits.push((state::Slot::of(&key.0, &key.1), Some(Event(event))));
            naive.insert(key, Event(event));
        }
        let ended = store.write_here(move |tx| state::apply(tx, start, edits.clone())).unwrap().value;
        let fresh = store.write_here(move |tx| {
            let set = |(key, event): (&(String, String), &Event)| {
                (state::Slot::of(&key.0, &key.1), Some(*event))
            };
            state::apply(tx, Root::default(), naive.iter().map(set).collect())
        }).unwrap().value;
        prop_assert_eq!(ended, fresh);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_far_is_told_by_entries_and_not_by_positions() {
    let engine = Arc::new(Memory::default());
    let store = store_on(engine.clone());
    let before = store.write(None, |tx| send(tx, 1)).await.unwrap().seq;
    let leap = store.write(None, |tx| {
        tx.leap();
        send(tx, 1)
    });
    let after = leap.await.unwrap().seq;
    assert_eq!(after.0 - before.0, kv::LEAP + 1);
    let far = |most| store.read(move |view| view.is_far(before, most));
    assert!(!far(1).await.unwrap());
    for _ in 0..3 {
        store.write(None, |tx| send(tx, 1)).await.unwrap();
    }
    assert!(far(3).await.unwrap());
    assert!(!far(4).await.unwrap());
    // After a restart nothing is in memory.
    let store = store_on(engine);
    let far = |most| store.read(move |view| view.is_far(before, most));
    assert!(far(3).await.unwrap());
    assert!(!far(4).await.unwrap());
}
