//! Killed at any moment, the store holds every acknowledged batch exactly once and goes on counting.
//!
//! The test runs itself as a child that commits and says what was acknowledged, kills it, and looks.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use kv::{Batch, Direction, Engine, Row, Snapshot, Tree, Verdict, position};
use kv_lmdb::{Durability, Lmdb, Options};

const DIR: &str = "ALTHING_TEST_CRASH_DIR";
const RELAXED: &str = "ALTHING_TEST_CRASH_RELAXED";
const KILLS: u64 = 50;

const ROWS: Tree = Tree(1);
const RECENT: Tree = Tree(2);
const COUNT: &[u8] = b"count";

fn entries_of(batch: u64) -> u64 {
    batch % 3
}

fn payload(batch: u64) -> Vec<u8> {
    let len = if batch.is_multiple_of(7) { 6_000 } else { 200 };
    batch.to_le_bytes().repeat(len / 8)
}

/// The batch with this number. Every batch takes one version.
fn numbered(batch: u64) -> Batch {
    let mut rows = vec![
        Row::Put(ROWS, batch.to_be_bytes().into(), payload(batch)),
        Row::Put(RECENT, batch.to_be_bytes().into(), payload(batch)),
        Row::Put(RECENT, COUNT.into(), batch.to_be_bytes().into()),
    ];
    // Old rows go, so that their pages are reused.
    if let Some(old) = batch.checked_sub(40) {
        rows.push(Row::Delete(RECENT, old.to_be_bytes().into()));
    }
    let entry = || -> kv::Entry { Box::new(move |_| batch.to_be_bytes().into()) };
    Batch { rows, entries: (0..entries_of(batch)).map(|_| entry()).collect(), ..Batch::default() }
}

fn count(snapshot: &dyn Snapshot) -> u64 {
    let row = snapshot.get(RECENT, COUNT).unwrap();
    row.map_or(0, |v| u64::from_be_bytes(v.as_ref().try_into().unwrap()))
}

fn options() -> Options {
    let relaxed = std::env::var_os(RELAXED).is_some();
    let durability = if relaxed { Durability::Relaxed } else { Durability::Sync };
    Options { durability, ..Options::default() }
}

/// Not a test of its own: what the child does. Without the directory in the environment it does nothing.
#[test]
fn child_commits_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Lmdb::open(Path::new(&dir), options()).unwrap();
    let mut next = count(&*store.snapshot().unwrap()) + 1;
    let mut out = std::io::stdout();
    loop {
        let group: Vec<u64> = (next..=next + next % 4).collect();
        let verdicts = store.commit(group.iter().map(|n| numbered(*n)).collect()).unwrap();
        for (batch, verdict) in group.iter().zip(verdicts) {
            let Verdict::At { version, first } = verdict else { panic!("nothing relies") };
            writeln!(out, "ack {batch} {} {}", version.0, first.0).unwrap();
        }
        out.flush().unwrap();
        next += group.len() as u64;
    }
}

/// What the child said of one batch.
struct Ack {
    batch: u64,
    version: u64,
    first: u64,
}

/// Runs the child until it has acknowledged so many batches, kills it, and returns all it had said.
fn run_and_kill(dir: &Path, relaxed: bool, after_acks: usize) -> Vec<Ack> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_commits_until_killed", "--nocapture"]).env(DIR, dir);
    if relaxed {
        child.env(RELAXED, "1");
    }
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let mut acks = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut killed = false;
    for line in lines {
        if !killed && acks.len() >= after_acks {
            child.kill().unwrap();
            killed = true;
        }
        let line = line.unwrap();
        // The last line may be torn: then its newline is missing and so may be digits.
        let Some(numbers) = line.strip_prefix("ack ") else { continue };
        let numbers: Vec<u64> = numbers.split(' ').map(|n| n.parse().unwrap_or(0)).collect();
        if let [batch, version, first] = numbers[..] {
            acks.push(Ack { batch, version, first });
        }
    }
    assert!(killed, "the child ended by itself");
    child.wait().unwrap();
    acks
}

fn look(dir: &Path, acks: &[Ack]) {
    let store = Lmdb::open(dir, Options::default()).unwrap();
    let snapshot = store.snapshot().unwrap();
    let count = count(&*snapshot);
    assert!(acks.iter().all(|a| a.batch <= count), "an acknowledged batch is missing");
    assert_eq!(snapshot.version().0, count, "every batch took one version");

    let end = [0xff; 9];
    let rows = snapshot.scan(ROWS, b"", &end, Direction::Forward, usize::MAX).unwrap();
    assert_eq!(rows.len() as u64, count);
    for ((key, value), batch) in rows.iter().zip(1_u64..) {
        assert!(key[..] == batch.to_be_bytes() && value[..] == payload(batch), "row {batch}");
    }
    let recent = snapshot.scan(RECENT, b"", &end, Direction::Forward, usize::MAX).unwrap();
    assert_eq!(recent.len() as u64, 40.min(count) + u64::from(count > 0));

    let log = snapshot.scan(Tree::LOG, b"", &end, Direction::Forward, usize::MAX).unwrap();
    let wanted: Vec<u64> =
        (1..=count).flat_map(|n| std::iter::repeat_n(n, entries_of(n) as usize)).collect();
    assert_eq!(snapshot.head(), position(wanted.len() as u64));
    assert_eq!(log.len(), wanted.len(), "each entry exactly once");
    for (((key, value), batch), seq) in log.iter().zip(&wanted).zip(position(1).0..) {
        assert!(key[..] == seq.to_be_bytes() && value[..] == batch.to_be_bytes(), "entry {seq}");
    }
    for ack in acks {
        assert_eq!(ack.version, ack.batch, "what was acknowledged is what is there");
        let before = (1..ack.batch).map(entries_of).sum::<u64>();
        assert_eq!(ack.first, position(before + 1).0);
    }
}

/// One at a time: between fork and exec, the child of one has the lock on the store of the other, too.
static TURN: Mutex<()> = Mutex::new(());

fn survives(relaxed: bool, kills: u64) {
    let _turn = TURN.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut dice = u64::from(std::process::id());
    let mut acks = Vec::new();
    for _ in 0..kills {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        acks.extend(run_and_kill(dir.path(), relaxed, (dice >> 33) as usize % 30));
        look(dir.path(), &acks);
    }
    assert!(acks.len() as u64 > 5 * kills, "the children hardly ran");
}

#[test]
fn nothing_acknowledged_is_lost_when_killed() {
    survives(false, KILLS);
}

#[test]
fn nor_when_relaxed_as_long_as_the_machine_lives() {
    survives(true, KILLS / 5);
}
