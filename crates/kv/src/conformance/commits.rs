//! Positions and conflicts.

use super::{
    A, B, Pairs, Subject, accepted, commit, delete, entry, get, log, on, put, rows, scan, version,
};
use crate::{Batch, Direction, Engine, LEAP, Leaps, Owner, Row, Tree, Verdict, Version, position};

pub(super) fn positions_are_dense(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let mut next = 1;
    let mut expected: Pairs = Vec::new();
    for (round, counts) in
        [&[0][..], &[1], &[3, 0, 2], &[0, 0], &[1, 1, 1], &[7]].iter().enumerate()
    {
        let group = counts.iter().map(|n| Batch {
            entries: (0..*n).map(|_| entry("entry")).collect(),
            ..Batch::default()
        });
        let before = version(engine);
        let verdicts = engine.commit(group.collect()).unwrap();
        for (n, (verdict, count)) in verdicts.iter().zip(*counts).enumerate() {
            let (version, first) = accepted(*verdict).unwrap();
            assert_eq!(version.0, before.0 + n as u64 + 1, "round {round}: versions are dense");
            assert_eq!(
                first,
                position(next),
                "round {round}: the first entry, or the next to come"
            );
            for _ in 0..*count {
                let at = position(next).0.to_be_bytes();
                expected.push((at.to_vec(), [&b"entry"[..], &at].concat()));
                next += 1;
            }
        }
        let snapshot = engine.snapshot().unwrap();
        assert_eq!(snapshot.head(), position(next - 1));
        assert_eq!(log(&*snapshot), expected);
    }
}

pub(super) fn stamped_rows(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let stamped = |entry| Row::Stamped {
        tree: B,
        entry,
        make: Box::new(|seq| {
            ([b"at/", &seq.0.to_be_bytes()[..]].concat(), seq.0.to_string().into_bytes())
        }),
    };
    let two = || Batch {
        entries: vec![entry("a"), entry("b")],
        rows: vec![stamped(1), stamped(0), put(A, b"k", b"v")],
        ..Batch::default()
    };
    engine.commit(vec![two(), two()]).unwrap();
    let found = scan(&*engine.snapshot().unwrap(), B, b"", b"z", Direction::Forward, 99);
    let wanted: Pairs = (1..=4_u64)
        .map(|n| position(n).0)
        .map(|seq| ([b"at/", &seq.to_be_bytes()[..]].concat(), seq.to_string().into_bytes()))
        .collect();
    assert_eq!(found, wanted);
}

pub(super) fn leaps(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let stamped = |entry| Row::Stamped {
        tree: B,
        entry,
        make: Box::new(|seq| (seq.0.to_be_bytes().to_vec(), b"here".to_vec())),
    };
    let batch = |leaping: &[usize]| {
        let mut leaps = Leaps::default();
        leaping.iter().for_each(|at| leaps.before(*at));
        Batch {
            entries: vec![entry("a"), entry("b"), entry("c")],
            rows: (0..3).map(stamped).collect(),
            leaps,
            ..Batch::default()
        }
    };
    let group = vec![batch(&[]), batch(&[1, 1]), batch(&[0, 2])];
    let firsts: Vec<_> = engine.commit(group).unwrap().into_iter().map(accepted).collect();
    let firsts: Vec<_> = firsts.into_iter().map(|v| v.unwrap().1).collect();
    assert_eq!(firsts, [position(1), position(4), position(LEAP + 7)]);
    let wanted = [[1, 2, 3], [4, LEAP + 5, LEAP + 6], [2 * LEAP + 7, 2 * LEAP + 8, 3 * LEAP + 9]];
    let wanted: Vec<_> =
        wanted.as_flattened().iter().map(|n| position(*n).0.to_be_bytes().to_vec()).collect();
    let check = |engine: &dyn Engine| {
        let snapshot = engine.snapshot().unwrap();
        let keys = |pairs: Pairs| pairs.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(log(&*snapshot)), wanted);
        assert_eq!(keys(scan(&*snapshot, B, b"", &[0xFF], Direction::Forward, 99)), wanted);
        assert_eq!(snapshot.head(), position(3 * LEAP + 9));
    };
    check(engine);
    subject.reopen();
    check(subject.engine());
    let one = Batch { entries: vec![entry("next")], ..Batch::default() };
    assert_eq!(commit(subject.engine(), one).1, position(3 * LEAP + 10));
}

pub(super) fn log_rows_can_go(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let entries = (0..4).map(|_| entry("kept")).collect();
    commit(engine, Batch { entries, ..Batch::default() });
    let at = |n: u64| position(n).0.to_be_bytes();
    commit(engine, rows(vec![delete(Tree::LOG, &at(4)), put(Tree::LOG, &at(2), b"erased")]));
    let snapshot = engine.snapshot().unwrap();
    assert_eq!(get(&*snapshot, Tree::LOG, &at(4)), None);
    assert_eq!(get(&*snapshot, Tree::LOG, &at(2)).unwrap(), b"erased");
    assert_eq!(snapshot.head(), position(4), "an erased entry's position is still taken");
    drop(snapshot);
    subject.reopen();
    let one = Batch { entries: vec![entry("next")], ..Batch::default() };
    assert_eq!(commit(subject.engine(), one).1, position(5));
}

pub(super) fn conflicts(subject: &mut dyn Subject) {
    let engine = subject.engine();
    commit(engine, rows(Vec::new()));
    let start = version(engine);
    let (changed_at, _) = commit(engine, on(1, start, b"first"));
    let late = on(1, start, b"late");
    let other = on(2, start, b"other");
    let verdicts = engine.commit(vec![late, other]).unwrap();
    assert_eq!(verdicts[0], Verdict::Conflict);
    let (_, first) = accepted(verdicts[1]).unwrap();
    assert_eq!(first, position(2), "a refused batch takes no position");
    let snapshot = engine.snapshot().unwrap();
    assert_eq!(get(&*snapshot, A, b"late"), None, "nothing of a refused batch is written");
    assert!(get(&*snapshot, A, b"other").is_some());
    assert_eq!(snapshot.version(), Version(start.0 + 2), "nor does it take a version");
    drop(snapshot);
    commit(engine, on(1, changed_at, b"in time"));
    // Relying alone collides, and reading alone does not make others collide.
    let reads = |since| Batch { since, relied: vec![Owner(3), Owner(1)], ..Batch::default() };
    assert_eq!(engine.commit(vec![reads(changed_at)]).unwrap(), [Verdict::Conflict]);
    let since = version(engine);
    assert!(
        engine
            .commit(vec![reads(since), reads(since)])
            .unwrap()
            .iter()
            .all(|v| accepted(*v).is_some())
    );
}

pub(super) fn conflicts_within_a_group(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let since = version(engine);
    let group = vec![
        on(1, since, b"a"),
        on(1, since, b"b"),
        on(2, since, b"c"),
        Batch { relied: vec![Owner(2)], changed: vec![Owner(3)], ..on(9, since, b"d") },
        on(3, since, b"e"),
    ];
    let verdicts = engine.commit(group).unwrap();
    let taken: Vec<bool> = verdicts.iter().map(|v| accepted(*v).is_some()).collect();
    assert_eq!(
        taken,
        [true, false, true, false, true],
        "what a refused batch would change does not count"
    );
    let snapshot = engine.snapshot().unwrap();
    let there: Vec<bool> =
        [b"a", b"b", b"c", b"d", b"e"].iter().map(|k| get(&*snapshot, A, *k).is_some()).collect();
    assert_eq!(there, taken);
    assert_eq!(snapshot.head(), position(3));
}

pub(super) fn blind_writes(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let blind = || Batch { changed: vec![Owner(1)], ..rows(vec![put(A, b"k", b"v")]) };
    let since = version(engine);
    for _ in 0..3 {
        let verdicts = engine.commit(vec![blind(), blind()]).unwrap();
        assert!(verdicts.iter().all(|v| accepted(*v).is_some()));
    }
    assert_eq!(engine.commit(vec![on(1, since, b"x")]).unwrap(), [Verdict::Conflict]);
}
