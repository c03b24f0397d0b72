//! Several nodes on one database are as right as one.
#![expect(clippy::unwrap_used, reason = "a test: failing loudly is its purpose")]

#[path = "support/counters.rs"]
mod counters;
mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use counters::{Ending, increment, read_counter};
use kv::{Batch, Engine, KvError, Owner, Row, Seq, Tree, Verdict, Version, position};
use kv_postgres::{Options, Postgres, testing};
use support::{checked_marks, marked};

fn open(url: &str) -> Postgres {
    Postgres::open(url, Options::default()).unwrap()
}

fn version(engine: &Postgres) -> Version {
    engine.snapshot().unwrap().version()
}

fn two_nodes() -> (String, Postgres, Postgres) {
    let url = testing::database().unwrap();
    let nodes = (open(&url), open(&url));
    (url, nodes.0, nodes.1)
}

#[test]
fn no_increment_is_lost_between_nodes() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 25;
    let (_, a, b) = two_nodes();
    let conflicts = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, conflicts) = (if thread % 2 == 0 { &a } else { &b }, &conflicts);
            scope.spawn(move || {
                for n in 0..ROUNDS {
                    // One counter of all, and one of each thread.
                    let met = increment(engine, 0, (thread, 2 * n)).unwrap();
                    conflicts.fetch_add(met, Ordering::Relaxed);
                    let met = increment(engine, 1 + thread as u8, (thread, 2 * n + 1)).unwrap();
                    assert_eq!(met, 0, "owners of others do not refuse");
                }
            });
        }
    });
    for engine in [&a, &b] {
        let snapshot = engine.snapshot().unwrap();
        assert_eq!(read_counter(&*snapshot, 0).unwrap(), THREADS * ROUNDS);
        for thread in 0..THREADS {
            assert_eq!(read_counter(&*snapshot, 1 + thread as u8).unwrap(), ROUNDS);
        }
        assert_eq!(checked_marks(engine).len() as u64, 2 * THREADS * ROUNDS);
        assert_eq!(version(engine), Version(2 * THREADS * ROUNDS));
    }
    assert_ne!(conflicts.into_inner(), 0, "the nodes never met, so nothing was tested");
}

#[test]
fn many_nodes_may_make_the_tables_at_once() {
    let url = testing::database().unwrap();
    thread::scope(|scope| {
        for n in 0..6 {
            let url = &url;
            scope.spawn(move || open(url).commit(vec![marked((n, 0))]).unwrap());
        }
    });
    assert_eq!(checked_marks(&open(&url)).len(), 6);
}

/// Waits until a listener was told of `head`, and of nothing that it couldn't see.
fn hear(engine: &Postgres, told: &mpsc::Receiver<Seq>, head: Seq) {
    loop {
        let heard = told.recv().unwrap();
        assert!(heard <= engine.snapshot().unwrap().head(), "a hint came before its commit");
        if heard >= head {
            assert_eq!(heard, head);
            return;
        }
    }
}

fn listen(engine: &Postgres) -> mpsc::Receiver<Seq> {
    let (tell, told) = mpsc::channel();
    engine.on_commit(Arc::new(move |head| {
        let _gone = tell.send(head);
    }));
    told
}

#[test]
fn a_node_is_told_of_the_commits_of_another() {
    let url = testing::database().unwrap();
    let a = open(&url);
    // Too rare to help: what is heard here came by notification.
    let b = Postgres::open(&url, Options { poll_ms: 3_600_000, ..Options::default() }).unwrap();
    let told = listen(&b);
    for n in 1..=20 {
        a.commit(vec![marked((0, n))]).unwrap();
        hear(&b, &told, position(n));
    }
    b.commit(vec![marked((1, 1)), marked((1, 2))]).unwrap();
    hear(&b, &told, position(22));
}

#[test]
fn a_commit_without_notification_is_found_by_polling() {
    let (url, a, b) = two_nodes();
    let told = listen(&b);
    a.commit(vec![marked((0, 1))]).unwrap();
    hear(&b, &told, position(1));
    let silent = "begin; update log_head set version = version + 1, seq = seq + 1; \
                  insert into commits values (2, 2, '', '\\x00000000'); commit";
    testing::execute(&url, silent).unwrap();
    hear(&b, &told, position(2));
}

#[test]
fn all_goes_on_when_every_connection_is_cut() {
    let (url, a, b) = two_nodes();
    let told = listen(&b);
    for n in 1..=5 {
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where datname = current_database() and pid <> pg_backend_pid()";
        testing::execute(&url, cut).unwrap();
        assert_eq!(a.snapshot().unwrap().head(), position(n - 1));
        a.commit(vec![marked((0, n))]).unwrap();
        hear(&b, &told, position(n));
    }
    assert_eq!(checked_marks(&b).len(), 5);
}

#[test]
fn a_cache_that_believes_the_clock_is_right_across_nodes() {
    const OWNERS: u128 = 5;
    const ROUNDS: u64 = 150;
    let (_, a, b) = two_nodes();
    let done = AtomicBool::new(false);
    let key = |owner: u128| owner.to_be_bytes().to_vec();
    let write = |engine: &Postgres, n: u64| {
        let owner = u128::from(n) % OWNERS;
        let row = Row::Put(Tree(1), key(owner), n.to_be_bytes().to_vec());
        let batch = Batch { changed: vec![Owner(owner)], rows: vec![row], ..Batch::default() };
        engine.commit(vec![batch]).unwrap();
    };
    let read = || {
        let mut cache: HashMap<u128, (Version, Option<Vec<u8>>)> = HashMap::new();
        let mut hits = 0_u64;
        while !done.load(Ordering::SeqCst) || hits == 0 {
            let snapshot = b.snapshot().unwrap();
            assert!(b.clock().seen() >= snapshot.version());
            for owner in 0..OWNERS {
                let changed = b.clock().changed(Owner(owner));
                let truth = snapshot.get(Tree(1), &key(owner)).unwrap().map(|v| v.into_owned());
                if changed > snapshot.version() {
                    continue;
                }
                match cache.get(&owner) {
                    Some((at, value)) if changed <= *at && *at <= snapshot.version() => {
                        hits += 1;
                        assert_eq!(*value, truth, "owner {owner} was believed unchanged");
                    }
                    _ => {
                        cache.insert(owner, (snapshot.version(), truth));
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        let ending = Ending(&done);
        let readers = [scope.spawn(read), scope.spawn(read)];
        let other = scope.spawn(|| (0..ROUNDS).for_each(|n| write(&b, 2 * n)));
        (0..ROUNDS).for_each(|n| write(&a, 2 * n + 1));
        other.join().unwrap();
        drop(ending);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    drop((a.snapshot().unwrap(), b.snapshot().unwrap()));
    for owner in 0..OWNERS {
        assert_eq!(a.clock().changed(Owner(owner)), b.clock().changed(Owner(owner)));
    }
}

#[test]
fn a_node_that_slept_long_believes_nothing_unchanged() {
    let (_, a, b) = two_nodes();
    let before = version(&b);
    for _ in 0..50 {
        a.commit((0..100).map(|_| Batch::default()).collect()).unwrap();
    }
    assert!(!b.clock().any_changed_after(&[Owner(7)], before), "b has not looked yet");
    let snapshot = b.snapshot().unwrap();
    assert_eq!(snapshot.version(), Version(5000));
    assert!(b.clock().any_changed_after(&[Owner(7)], before));
    assert!(!b.clock().any_changed_after(&[Owner(7)], snapshot.version()));
}

#[test]
fn what_is_forgotten_refuses_old_snapshots_only() {
    let url = testing::database().unwrap();
    let options = Options { history: 20, ..Options::default() };
    let node = Postgres::open(&url, options).unwrap();
    let write = |owner| Batch { changed: vec![Owner(owner)], ..Batch::default() };
    for n in 0..50 {
        node.commit(vec![write(n)]).unwrap();
    }
    // The tidying is not waited for by commits, so it is here.
    let left = "select (select count(*) from owners) + (select count(*) from commits)";
    while testing::ask(&url, left).unwrap() != ["40"] {
        thread::yield_now();
    }
    let relying =
        |since| Batch { since: Version(since), relied: vec![Owner(3)], ..Batch::default() };
    assert_eq!(node.commit(vec![relying(29)]).unwrap(), [Verdict::Conflict]);
    assert!(matches!(node.commit(vec![relying(30)]).unwrap()[..], [Verdict::At { .. }]));
}

#[test]
fn more_snapshots_than_connections_are_unavailable_until_one_ends() {
    let url = testing::database().unwrap();
    let options = Options { connections: 2, wait_ms: 50, ..Options::default() };
    let node = Postgres::open(&url, options).unwrap();
    let held = (node.snapshot().unwrap(), node.snapshot().unwrap());
    assert!(matches!(node.snapshot(), Err(KvError::Unavailable(_))));
    node.commit(vec![marked((0, 1))]).unwrap();
    assert_eq!(held.0.head(), position(0));
    drop(held.1);
    assert_eq!(node.snapshot().unwrap().head(), position(1));
}

#[test]
fn an_ended_snapshot_leaves_no_transaction_open() {
    let url = testing::database().unwrap();
    let node = open(&url);
    drop((node.snapshot().unwrap(), node.snapshot().unwrap()));
    let open_transactions = "select count(*) from pg_stat_activity where datname = current_database() \
                             and pid <> pg_backend_pid() and xact_start is not null \
                             and state like 'idle%'";
    while testing::ask(&url, open_transactions).unwrap() != ["0"] {
        thread::yield_now();
    }
}

#[test]
fn a_snapshot_outlives_its_engine() {
    let url = testing::database().unwrap();
    let node = open(&url);
    node.commit(vec![marked((0, 1))]).unwrap();
    let snapshot = node.snapshot().unwrap();
    drop(node);
    assert!(snapshot.get(Tree::LOG, &position(1).0.to_be_bytes()).unwrap().is_some());
}

#[test]
fn an_unknown_format_is_refused() {
    let url = testing::database().unwrap();
    drop(open(&url));
    testing::execute(&url, "update format set format = 99").unwrap();
    assert!(matches!(Postgres::open(&url, Options::default()), Err(KvError::Corrupt(_))));
}

#[test]
fn a_database_that_was_put_back_is_noticed() {
    let (url, a, b) = two_nodes();
    a.commit(vec![marked((0, 1)), marked((0, 2))]).unwrap();
    assert_eq!(version(&b), Version(2));
    testing::execute(&url, "update log_head set version = 1, seq = 1").unwrap();
    assert!(matches!(b.snapshot(), Err(KvError::Corrupt(_))));
    assert!(matches!(b.commit(vec![marked((0, 3))]), Err(KvError::Corrupt(_))));
}

#[test]
fn an_address_that_leads_nowhere_is_unavailable() {
    let options = || Options { wait_ms: 50, ..Options::default() };
    for url in ["not an address", "postgres://althing@%2Fnonexistent/x"] {
        assert!(matches!(Postgres::open(url, options()), Err(KvError::Unavailable(_))));
    }
    let absent = testing::shared().unwrap().url("absent");
    assert!(matches!(Postgres::open(&absent, options()), Err(KvError::Unavailable(_))));
}

#[test]
fn the_size_on_disk_is_known_and_backup_names_its_tools() {
    let node = open(&testing::database().unwrap());
    assert!(node.disk_bytes() > 1_000_000);
    let Err(KvError::Unavailable(message)) = node.backup("copy".as_ref()) else {
        panic!("there is no backup to be had");
    };
    assert!(message.contains("pg_dump"));
}
