//! What lasts, and who sees what when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{
    A, B, Subject, accepted, commit, delete, entry, everything, get, log, now, on, put, rows, scan,
    version,
};
use crate::{Batch, Direction, LOG_BEGIN, Owner, Seq, Verdict, Version, position};

pub(super) fn snapshots_are_isolated(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let fill = |round: u8| {
        let rows = (0..300_u16).map(|n| put(A, &n.to_be_bytes(), &[round; 64])).collect();
        Batch { rows, entries: vec![entry("round")], ..Batch::default() }
    };
    commit(engine, fill(0));
    let mut kept = Vec::new();
    for round in 1..=20 {
        let snapshot = engine.snapshot().unwrap();
        let content = everything(&*snapshot);
        kept.push((snapshot, content));
        commit(engine, fill(round));
        if round % 3 == 0 {
            commit(engine, rows((0..100_u16).map(|n| delete(A, &n.to_be_bytes())).collect()));
        }
    }
    for (n, (snapshot, content)) in kept.iter().enumerate() {
        assert_eq!(snapshot.head(), position(n as u64 + 1));
        assert!(*content == everything(&**snapshot), "the snapshot before round {} changed", n + 1);
        assert_eq!(log(&**snapshot).len(), n + 1);
    }
    let versions: Vec<Version> = kept.iter().map(|(s, _)| s.version()).collect();
    assert!(versions.windows(2).all(|w| w[0] < w[1]));
}

pub(super) fn reopening(subject: &mut dyn Subject) {
    let mut heads = Vec::new();
    for round in 0..5_u8 {
        let engine = subject.engine();
        let since = version(engine);
        let batch = Batch { changed: vec![Owner(5)], ..on(5, since, &[b'r', round]) };
        let (committed, first) = commit(engine, batch);
        assert_eq!(committed, Version(since.0 + 1));
        assert!(heads.last().is_none_or(|last| *last < first));
        heads.push(first);
        let snapshot = engine.snapshot().unwrap();
        let before = (snapshot.head(), snapshot.version(), everything(&*snapshot));
        drop(snapshot);
        subject.reopen();
        let snapshot = subject.engine().snapshot().unwrap();
        assert!(before == (snapshot.head(), snapshot.version(), everything(&*snapshot)));
        assert_eq!(snapshot.head(), position(u64::from(round) + 1));
    }
    // A snapshot from before is too old for what the reopened engine cannot know any more.
    let engine = subject.engine();
    assert_eq!(engine.commit(vec![on(5, Version(1), b"stale")]).unwrap(), [Verdict::Conflict]);
}

pub(super) fn listener(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let heard = Arc::new(AtomicU64::new(0));
    let hears = Arc::clone(&heard);
    let (told, tell) = std::sync::mpsc::channel();
    engine.on_commit(Arc::new(move |head| {
        hears.fetch_max(head.0, Ordering::SeqCst);
        // The receiver is gone at the end of the case; an engine may still hint.
        let _gone = told.send(head);
    }));
    for round in 1..=3_u64 {
        let entries = vec![entry("one"), entry("two")];
        commit(engine, Batch { entries, ..Batch::default() });
        while heard.load(Ordering::SeqCst) < position(round * 2).0 {
            let head = tell.recv().unwrap();
            assert!(head <= engine.snapshot().unwrap().head(), "a hint came before its commit");
        }
    }
    assert_eq!(heard.load(Ordering::SeqCst), position(6).0);
}

pub(super) fn clock(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let write = |owner| Batch { changed: vec![Owner(owner)], ..Batch::default() };
    let (first, _) = commit(engine, write(1));
    let (second, _) = commit(engine, write(2));
    let clock = engine.clock();
    assert_eq!(clock.changed(Owner(1)), first);
    assert_eq!(clock.changed(Owner(2)), second);
    assert!(clock.changed(Owner(3)) < first);
    assert!(clock.seen() >= second);
    assert!(clock.any_changed_after(&[Owner(1), Owner(2)], first));
    assert!(!clock.any_changed_after(&[Owner(1)], first));
    let refused = Batch { relied: vec![Owner(1)], ..write(4) };
    assert_eq!(engine.commit(vec![refused]).unwrap(), [Verdict::Conflict]);
    assert!(clock.changed(Owner(4)) < first, "a refused batch changes nothing");
    subject.reopen();
    let clock = subject.engine().clock();
    assert!(clock.changed(Owner(1)) >= first, "what is no longer known must not look older");
    assert!(clock.seen() >= second);
}

pub(super) fn concurrent_readers(subject: &mut dyn Subject) {
    const READERS: usize = 4;
    const COMMITS: u64 = 200;
    let engine = subject.engine();
    let done = AtomicBool::new(false);
    let write = |n: u64| {
        // Two rows far apart, and one that is there only at even numbers, always of one commit.
        let mark = n.to_be_bytes();
        let mut rows = vec![put(A, b"a", &mark), put(B, b"z", &mark)];
        rows.push(if n.is_multiple_of(2) { put(A, b"even", &mark) } else { delete(A, b"even") });
        rows.push(put(A, &[b"row/", &mark[..]].concat(), &[0; 100]));
        Batch { rows, entries: vec![entry("n")], ..Batch::default() }
    };
    commit(engine, write(1));
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut last = Seq::ZERO;
                while !done.load(Ordering::SeqCst) {
                    let snapshot = engine.snapshot().unwrap();
                    let head = snapshot.head();
                    assert!(head >= last, "time went backwards");
                    last = head;
                    let n = head.0 - LOG_BEGIN.0;
                    let mark = n.to_be_bytes().to_vec();
                    assert_eq!(snapshot.version(), Version(n));
                    assert_eq!(get(&*snapshot, A, b"a").as_ref(), Some(&mark));
                    assert_eq!(get(&*snapshot, B, b"z").as_ref(), Some(&mark));
                    assert_eq!(get(&*snapshot, A, b"even"), n.is_multiple_of(2).then_some(mark));
                    let rows =
                        scan(&*snapshot, A, b"row/", b"row0", Direction::Forward, usize::MAX);
                    assert_eq!(rows.len() as u64, n);
                }
            });
        }
        for n in 2..=COMMITS {
            commit(engine, write(n));
            let fresh = engine.snapshot().unwrap();
            assert_eq!(fresh.head(), position(n), "a commit is visible when it returns");
        }
        done.store(true, Ordering::SeqCst);
    });
}

pub(super) fn no_lost_update(subject: &mut dyn Subject) {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 25;
    let engine = subject.engine();
    // One committer at a time is the caller's part of the contract.
    let committer = std::sync::Mutex::new(());
    let increment = || {
        let snapshot = engine.snapshot().unwrap();
        let count = get(&*snapshot, A, b"count").map_or(0, |v| v[0]);
        let mut batch = on(1, snapshot.version(), b"touched");
        drop(snapshot);
        batch.rows.push(put(A, b"count", &[count + 1]));
        let held = committer.lock().unwrap();
        let verdict = engine.commit(vec![batch]).unwrap()[0];
        drop(held);
        accepted(verdict).is_some()
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    while !increment() {}
                }
            });
        }
    });
    assert_eq!(now(engine, A, b"count").unwrap(), [(THREADS * ROUNDS) as u8]);
    assert_eq!(engine.snapshot().unwrap().head(), position(THREADS * ROUNDS));
}

pub(super) fn snapshot_moves(subject: &mut dyn Subject) {
    let engine = subject.engine();
    commit(engine, rows(vec![put(A, b"k", b"v")]));
    let snapshots: Vec<_> = (0..8).map(|_| engine.snapshot().unwrap()).collect();
    for snapshot in snapshots {
        let read = thread::spawn(move || get(&*snapshot, A, b"k").unwrap());
        assert_eq!(read.join().unwrap(), b"v");
    }
}

pub(super) fn backup(subject: &mut dyn Subject) {
    let engine = subject.engine();
    for round in 0..10_u64 {
        let rows =
            (0..100_u64).map(|n| put(A, &(n * 7 + round).to_be_bytes(), &[7; 500])).collect();
        commit(engine, Batch { rows, entries: vec![entry("kept")], ..Batch::default() });
    }
    commit(engine, rows((0..50_u64).map(|n| delete(A, &n.to_be_bytes())).collect()));
    let snapshot = engine.snapshot().unwrap();
    let before = (snapshot.version(), snapshot.head(), everything(&*snapshot));
    let Some(copy) = subject.restored() else { return };
    // What comes after the backup is not in it.
    commit(engine, Batch { entries: vec![entry("later")], ..rows(vec![put(B, b"later", b"")]) });
    let restored = copy.snapshot().unwrap();
    assert!(before == (restored.version(), restored.head(), everything(&*restored)));
    drop(restored);
    let next = Batch { entries: vec![entry("branch")], ..Batch::default() };
    assert_eq!(commit(&*copy, next).1, position(11), "the copy goes on from where it was taken");
}
