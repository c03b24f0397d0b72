//! What was acknowledged is there, once and whole, whoever is killed.
#![expect(clippy::unwrap_used, reason = "a test: failing loudly is its purpose")]

#[path = "support/counters.rs"]
mod counters;
mod support;

use std::{
    collections::HashMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use counters::{Ending, increment, read_counter};
use kv::{Batch, Engine, Seq, Verdict};
use kv_postgres::{Options, Postgres, testing};
use support::{Mark, checked_marks, marked};

const URL: &str = "ALTHING_TEST_CHILD_URL";
const WHO: &str = "ALTHING_TEST_CHILD";

/// Does nothing unless started by another test: it is the process that [`a_killed_node_loses_nothing_acknowledged`]
/// kills. Prints each mark and its position once they are acknowledged.
#[test]
fn child() {
    let (Ok(url), Ok(who)) = (env::var(URL), env::var(WHO)) else { return };
    let who: u64 = who.parse().unwrap();
    let engine = Postgres::open(&url, Options::default()).unwrap();
    let mut n = 0;
    loop {
        let group: Vec<Batch> = (0..1 + n % 3).map(|i| marked((who, n + i))).collect();
        let verdicts = engine.commit(group).unwrap();
        // One write, so that a line is there whole or not at all.
        let mut lines = String::new();
        for verdict in verdicts {
            let Verdict::At { first, .. } = verdict else { panic!("refused without a reason") };
            lines.push_str(&format!("ack {n} {first}\n"));
            n += 1;
        }
        std::io::stdout().write_all(lines.as_bytes()).unwrap();
    }
}

fn spawn_child(url: &str, who: u64) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--quiet"]);
    command.env(URL, url).env(WHO, who.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets a child commit for a while and kills it. Gives what it acknowledged.
fn kill_at_random(url: &str, who: u64) -> Vec<(Mark, Seq)> {
    let mut child = spawn_child(url, who);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acked = Vec::new();
    let mut take = |line: &str| {
        if let Some(ack) = line.strip_prefix("ack ") {
            let (n, seq) = ack.split_once(' ').unwrap();
            acked.push(((who, n.parse().unwrap()), Seq(seq.parse().unwrap())));
        }
    };
    for _ in 0..2 + rand::random_range(0..12) {
        take(&lines.next().unwrap().unwrap());
    }
    // Somewhere within the next commit.
    for _ in 0..rand::random_range(0..100_000) {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    lines.for_each(|line| take(&line.unwrap()));
    child.wait().unwrap();
    acked
}

#[test]
fn a_killed_node_loses_nothing_acknowledged() {
    const KILLS: u64 = 50;
    let url = testing::database().unwrap();
    let witness = Postgres::open(&url, Options::default()).unwrap();
    let done = AtomicBool::new(false);
    let mut acked = Vec::new();
    let increments = thread::scope(|scope| {
        let ending = Ending(&done);
        // Another node works on: a dead one must not hold it up.
        let other = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::SeqCst) {
                increment(&witness, 0, (u64::MAX, n)).unwrap();
                n += 1;
            }
            n
        });
        for who in 0..KILLS {
            acked.extend(kill_at_random(&url, who));
        }
        drop(ending);
        other.join().unwrap()
    });
    let marks = checked_marks(&witness);
    for (mark, seq) in &acked {
        assert_eq!(marks.get(mark), Some(seq), "{mark:?} was acknowledged");
    }
    assert!(acked.len() as u64 > KILLS);
    assert_eq!(read_counter(&*witness.snapshot().unwrap(), 0).unwrap(), increments);
    // At most one group of each child was in flight.
    let unacknowledged = marks.len() as u64 - acked.len() as u64 - increments;
    assert!(unacknowledged <= 3 * KILLS, "{unacknowledged}");
}

#[test]
fn a_killed_server_loses_nothing_acknowledged() {
    const KILLS: u64 = 5;
    let server = testing::Server::start().unwrap();
    let url = server.database().unwrap();
    let nodes = [(); 2].map(|()| Postgres::open(&url, Options::default()).unwrap());
    let done = AtomicBool::new(false);
    let (acks, faults) = (AtomicU64::new(0), AtomicU64::new(0));
    let acked: Mutex<HashMap<Mark, Seq>> = Mutex::default();
    let write = |who: u64, engine: &Postgres| {
        for n in 0.. {
            if done.load(Ordering::SeqCst) {
                return;
            }
            match engine.commit(vec![marked((who, n))]) {
                Ok(verdicts) => {
                    let [Verdict::At { first, .. }] = verdicts[..] else { panic!("refused") };
                    acked.lock().unwrap().insert((who, n), first);
                    acks.fetch_add(1, Ordering::SeqCst);
                }
                // Nothing is known of it, so nothing is expected of it.
                Err(_) => _ = faults.fetch_add(1, Ordering::SeqCst),
            }
        }
    };
    thread::scope(|scope| {
        let ending = Ending(&done);
        for (who, engine) in (0..).zip(&nodes) {
            let write = &write;
            scope.spawn(move || write(who, engine));
        }
        for _ in 0..KILLS {
            let enough = acks.load(Ordering::SeqCst) + 5 + rand::random_range(0..20);
            while acks.load(Ordering::SeqCst) < enough {
                thread::yield_now();
            }
            server.kill().unwrap();
            server.launch().unwrap();
        }
        drop(ending);
    });
    let acked = acked.into_inner().unwrap();
    for node in &nodes {
        let marks = checked_marks(node);
        for (mark, seq) in &acked {
            assert_eq!(marks.get(mark), Some(seq), "{mark:?} was acknowledged");
        }
        assert!((marks.len() - acked.len()) as u64 <= faults.load(Ordering::SeqCst));
    }
}
