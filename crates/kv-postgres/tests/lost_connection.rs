//! The connection breaks at the worst moment: while the commit is on its way. A proxy between engine
//! and server chooses the moment.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: failing loudly is its purpose"
)]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use kv::{Engine, KvError, Row, Tree, Verdict, Version, position};
use kv_postgres::{Options, Postgres, testing};
use support::{checked_marks, marked};

/// What the proxy does when it sees a commit.
enum Fault {
    /// The server gets it and the answer is lost. If there is another node, it commits before the engine
    /// is back.
    LoseAnswer(Option<Postgres>),
    /// The server never gets it, and both sides lose each other. The same.
    LoseCommit(Option<Postgres>),
    /// The server never gets it and doesn't notice; nor does the engine, but for the silence.
    Stall,
}

#[derive(Clone, Default)]
struct Proxy {
    fault: Arc<Mutex<Option<Fault>>>,
    stalled: Arc<Mutex<Vec<UnixStream>>>,
}

/// The statement as it goes over the wire.
const COMMIT: &[u8] = b"commit\0";

impl Proxy {
    /// Stands before a database. Gives the address to use instead.
    fn start(&self, url: &str, folder: &tempfile::TempDir) -> String {
        let (server, database) =
            url.strip_prefix("postgres://althing@").unwrap().split_once('/').unwrap();
        let server = format!("{}/.s.PGSQL.5432", server.replace("%2F", "/"));
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let proxy = self.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), UnixStream::connect(&server).unwrap());
                let proxy = proxy.clone();
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let muted = Arc::new(AtomicBool::new(false));
                let mute = Arc::clone(&muted);
                thread::spawn(move || relay(from, to, &muted));
                thread::spawn(move || proxy.pass(client, server, &mute));
            }
        });
        let folder = folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://althing@{folder}/{database}")
    }

    fn pass(&self, mut client: UnixStream, mut server: UnixStream, mute: &AtomicBool) {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(n @ 1..) = client.read(&mut buffer) {
            let sent = &buffer[..n];
            let commits = sent.windows(COMMIT.len()).any(|w| w == COMMIT);
            let fault = self.fault.lock().unwrap().take_if(|_| commits);
            mute.store(fault.is_some(), Ordering::SeqCst);
            match fault {
                None => server.write_all(sent).unwrap(),
                Some(Fault::LoseAnswer(other)) => {
                    server.write_all(sent).unwrap();
                    overtake(other);
                    break;
                }
                Some(Fault::LoseCommit(other)) => {
                    server.shutdown(Shutdown::Both).unwrap();
                    overtake(other);
                    break;
                }
                Some(Fault::Stall) => {
                    self.stalled.lock().unwrap().extend([client, server]);
                    return;
                }
            }
        }
        let _ = server.shutdown(Shutdown::Write);
        let _ = client.shutdown(Shutdown::Both);
    }
}

// The engine doesn't know yet that its connection is lost, so this commit comes before its next try.
fn overtake(other: Option<Postgres>) {
    if let Some(other) = other {
        other.commit(vec![marked((9, 9))]).unwrap();
    }
}

/// The way back, as long as it isn't muted.
fn relay(mut server: UnixStream, mut client: UnixStream, muted: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = server.read(&mut buffer) {
        if !muted.load(Ordering::SeqCst) && client.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    if !muted.load(Ordering::SeqCst) {
        let _ = client.shutdown(Shutdown::Both);
    }
}

/// What stands and has happened after one commit that went well and one that met a fault.
struct Scene {
    node: Postgres,
    /// Past the proxy.
    direct: Postgres,
    verdicts: Result<Vec<Verdict>, KvError>,
    _folder: tempfile::TempDir,
}

fn commit_through(fault: impl FnOnce(Postgres) -> Fault) -> Scene {
    let url = testing::database().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::default();
    // Less than the server leaves a silent transaction open: the engine has to end it.
    let options = Options { trip_ms: 1_000, commit_ms: 10_000, ..Options::default() };
    let node = Postgres::open(&proxy.start(&url, &folder), options).unwrap();
    node.commit(vec![marked((0, 0))]).unwrap();
    let open = || Postgres::open(&url, Options::default()).unwrap();
    *proxy.fault.lock().unwrap() = Some(fault(open()));
    let verdicts = node.commit(vec![marked((0, 1)), marked((0, 2))]);
    assert!(proxy.fault.lock().unwrap().is_none(), "the fault did not happen");
    Scene { node, direct: open(), verdicts, _folder: folder }
}

fn at(n: u64) -> Verdict {
    Verdict::At { version: Version(n), first: position(n) }
}

fn is_there_once(scene: Scene, all: u64) {
    assert_eq!(scene.verdicts.unwrap(), [at(2), at(3)]);
    let marks = checked_marks(&scene.direct);
    assert_eq!((marks[&(0, 1)], marks[&(0, 2)]), (position(2), position(3)));
    assert_eq!(marks.len() as u64, all);
    assert_eq!(scene.node.commit(vec![marked((0, 3))]).unwrap(), [at(all + 1)]);
}

#[test]
fn a_commit_whose_answer_was_lost_is_acknowledged() {
    is_there_once(commit_through(|_| Fault::LoseAnswer(None)), 3);
}

#[test]
fn a_commit_whose_answer_was_lost_is_acknowledged_also_when_others_went_on() {
    is_there_once(commit_through(|other| Fault::LoseAnswer(Some(other))), 4);
}

#[test]
fn a_commit_that_was_lost_is_sent_again() {
    is_there_once(commit_through(|_| Fault::LoseCommit(None)), 3);
}

#[test]
fn a_commit_that_nobody_answers_is_sent_again() {
    is_there_once(commit_through(|_| Fault::Stall), 3);
}

#[test]
fn a_commit_that_was_lost_and_overtaken_is_a_fault_and_leaves_nothing() {
    let scene = commit_through(|other| Fault::LoseCommit(Some(other)));
    assert!(matches!(scene.verdicts, Err(KvError::Unavailable(_))), "{:?}", scene.verdicts);
    let marks = checked_marks(&scene.direct);
    assert_eq!((marks.len(), marks[&(9, 9)]), (2, position(2)));
    assert_eq!(scene.node.commit(vec![marked((0, 3))]).unwrap(), [at(3)]);
}

#[test]
fn a_stamp_that_makes_an_impossible_key_refuses_the_group_and_holds_no_lock() {
    let node = Postgres::open(&testing::database().unwrap(), Options::default()).unwrap();
    let mut bad = marked((0, 1));
    bad.rows.push(Row::Stamped {
        tree: Tree(1),
        entry: 0,
        make: Box::new(|_| (Vec::new(), Vec::new())),
    });
    assert!(matches!(node.commit(vec![marked((0, 0)), bad]), Err(KvError::Unavailable(_))));
    let next = node.commit(vec![marked((0, 3))]).unwrap();
    assert_eq!(next, [at(1)]);
}
