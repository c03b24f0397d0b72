//! What goes in comes out, in order.

use super::{A, B, Subject, commit, delete, entry, everything, get, now, put, rows, scan, version};
use crate::{Batch, Direction, KEY_BYTES_MAX, KvError, LOG_BEGIN, Row, Tree, Version};

pub(super) fn empty_engine(subject: &mut dyn Subject) {
    let snapshot = subject.engine().snapshot().unwrap();
    assert_eq!((snapshot.head(), snapshot.version()), (LOG_BEGIN, Version(0)));
    assert!(everything(&*snapshot).iter().all(Vec::is_empty));
    assert_eq!(get(&*snapshot, A, b"nothing"), None);
    assert!(!subject.engine().name().is_empty());
    drop(snapshot);
    assert!(subject.engine().commit(Vec::new()).unwrap().is_empty());
}

pub(super) fn rows_are_read_back(subject: &mut dyn Subject) {
    let engine = subject.engine();
    commit(engine, rows(vec![put(A, b"k", b"v"), put(A, b"no value", b""), put(A, b"\0", b"\0")]));
    assert_eq!(now(engine, A, b"k").unwrap(), b"v");
    assert_eq!(now(engine, A, b"no value").unwrap(), b"");
    assert_eq!(now(engine, A, b"\0").unwrap(), b"\0");
    assert_eq!(now(engine, A, b""), None, "an empty key can be asked for");
    assert_eq!(now(engine, A, b"kk"), None);
    assert_eq!(now(engine, A, &[b'k'; KEY_BYTES_MAX * 2]), None, "and an impossible one");
    commit(engine, rows(vec![put(A, b"k", b"other"), delete(A, b"no value"), delete(A, b"none")]));
    assert_eq!(now(engine, A, b"k").unwrap(), b"other");
    assert_eq!(now(engine, A, b"no value"), None);
}

pub(super) fn get_many_keeps_order(subject: &mut dyn Subject) {
    let engine = subject.engine();
    commit(engine, rows(vec![put(A, b"a", b"1"), put(A, b"b", b""), put(A, b"c", b"3")]));
    let snapshot = engine.snapshot().unwrap();
    let keys: Vec<Vec<u8>> =
        [&b"c"[..], b"x", b"a", b"", b"b", b"c"].into_iter().map(Into::into).collect();
    let found: Vec<Option<Vec<u8>>> = snapshot
        .get_many(A, &keys)
        .unwrap()
        .into_iter()
        .map(|v| v.map(|v| v.into_owned()))
        .collect();
    let wanted = [Some(&b"3"[..]), None, Some(b"1"), None, Some(b""), Some(b"3")];
    assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), wanted);
    assert!(snapshot.get_many(A, &[]).unwrap().is_empty());
}

pub(super) fn scans(subject: &mut dyn Subject) {
    use Direction::{Backward, Forward};
    let engine = subject.engine();
    // Enough for any engine to spread them over several pages.
    let key = |n: u32| [b"row/", &n.to_be_bytes()[..]].concat();
    let many = (0..2_000).map(|n| put(A, &key(n * 2), &n.to_le_bytes())).collect();
    commit(engine, rows(many));
    let snapshot = engine.snapshot().unwrap();
    let found = |from: u32, to: u32, direction, limit| -> Vec<u32> {
        let rows = scan(&*snapshot, A, &key(from), &key(to), direction, limit);
        rows.iter().map(|(k, _)| u32::from_be_bytes(k[4..].try_into().unwrap())).collect()
    };
    assert_eq!(found(10, 16, Forward, 100), [10, 12, 14], "from is in, to is not");
    assert_eq!(found(9, 17, Forward, 100), [10, 12, 14, 16], "bounds need not exist");
    assert_eq!(found(10, 16, Backward, 100), [14, 12, 10]);
    assert_eq!(found(9, 17, Backward, 2), [16, 14], "the limit counts from the end it starts at");
    assert_eq!(found(9, 17, Forward, 2), [10, 12]);
    assert_eq!(found(10, 16, Forward, 0), [0_u32; 0]);
    assert_eq!(found(10, 10, Forward, 9), [0_u32; 0], "nothing lies between a key and itself");
    assert_eq!(found(16, 10, Forward, 9), [0_u32; 0], "reversed bounds hold nothing");
    assert_eq!(found(16, 10, Backward, 9), [0_u32; 0]);
    assert_eq!(found(3_998, 9_999, Forward, 9), [3_998], "the last row");
    assert_eq!(found(5_000, 9_999, Backward, 9), [0_u32; 0], "behind the last row");
    assert_eq!(found(0, 4_000, Forward, usize::MAX).len(), 2_000);
    let backward: Vec<u32> = found(0, 4_000, Backward, usize::MAX);
    assert!(backward.windows(2).all(|w| w[0] > w[1]) && backward.len() == 2_000);
    let values = scan(&*snapshot, A, &key(8), &key(9), Forward, 1);
    assert_eq!(values[0].1, 4_u32.to_le_bytes(), "a row comes with its value");
    assert_eq!(scan(&*snapshot, A, b"", b"row/\xff", Forward, 1)[0].0, key(0), "from the start");
    assert!(scan(&*snapshot, A, b"", b"", Forward, 9).is_empty());
    assert!(scan(&*snapshot, B, b"", b"\xff", Backward, 9).is_empty(), "an empty tree");
}

pub(super) fn keys_compare_as_bytes(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let sorted: Vec<&[u8]> = vec![
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"\x01",
        b"A",
        b"AA",
        b"B",
        b"a",
        b"a\0",
        b"aa",
        b"\x7f",
        b"\x80",
        b"\xc3\xa9",
        b"\xfe\xff",
        b"\xff",
        b"\xff\0",
        b"\xff\xff",
    ];
    // Written in an order that is not theirs.
    let mixed = (0..sorted.len()).map(|n| put(A, sorted[n * 5 % sorted.len()], b"")).collect();
    commit(engine, rows(mixed));
    let snapshot = engine.snapshot().unwrap();
    let keys = |direction| -> Vec<Vec<u8>> {
        let rows = scan(&*snapshot, A, b"", b"\xff\xff\xff", direction, usize::MAX);
        rows.into_iter().map(|(k, _)| k).collect()
    };
    assert_eq!(keys(Direction::Forward), sorted);
    let mut backward = keys(Direction::Backward);
    backward.reverse();
    assert_eq!(backward, sorted);
    let some = scan(&*snapshot, A, b"A", b"a", Direction::Forward, 9);
    assert_eq!(some.iter().map(|(k, _)| &k[..]).collect::<Vec<_>>(), [&b"A"[..], b"AA", b"B"]);
}

pub(super) fn later_row_wins(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let batch = rows(vec![
        put(A, b"a", b"1"),
        put(A, b"a", b"2"),
        put(A, b"b", b"1"),
        delete(A, b"b"),
        delete(A, b"c"),
        put(A, b"c", b"3"),
    ]);
    let next = rows(vec![put(A, b"c", b"4")]);
    engine.commit(vec![batch, next]).unwrap();
    assert_eq!(now(engine, A, b"a").unwrap(), b"2");
    assert_eq!(now(engine, A, b"b"), None);
    assert_eq!(now(engine, A, b"c").unwrap(), b"4", "a later batch wins too");
}

pub(super) fn trees_are_apart(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let all = (0..Tree::COUNT).map(|t| put(Tree(t), b"same key", &[t])).collect();
    commit(engine, rows(all));
    commit(engine, rows(vec![delete(A, b"same key")]));
    for tree in 0..Tree::COUNT {
        let wanted = (Tree(tree) != A).then(|| vec![tree]);
        assert_eq!(now(engine, Tree(tree), b"same key"), wanted);
    }
}

pub(super) fn impossible_batches(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let no_tree = Tree(Tree::COUNT);
    let before = version(engine);
    let make = || -> crate::Stamp { Box::new(|_| (b"stamped".to_vec(), Vec::new())) };
    let bad: Vec<Vec<Row>> = vec![
        vec![put(A, b"", b"an empty key")],
        vec![put(A, &[b'k'; KEY_BYTES_MAX + 1], b"a long key")],
        vec![put(no_tree, b"k", b"v")],
        vec![delete(no_tree, b"k")],
        vec![Row::Stamped { tree: A, entry: 1, make: make() }],
    ];
    for bad in bad {
        let entries = vec![entry("only one")];
        let good = rows(vec![put(A, b"good", b"")]);
        let refused = engine
            .commit(vec![good, Batch { rows: bad, entries, ..Batch::default() }])
            .unwrap_err();
        assert!(matches!(refused, KvError::Unavailable(_)), "{refused}");
    }
    let snapshot = engine.snapshot().unwrap();
    assert_eq!((snapshot.version(), snapshot.head()), (before, LOG_BEGIN));
    assert!(everything(&*snapshot).iter().all(Vec::is_empty));
    assert!(snapshot.get(no_tree, b"k").is_err());
    assert!(snapshot.scan(no_tree, b"a", b"b", Direction::Forward, 1).is_err());
    drop(snapshot);
    assert_eq!(commit(engine, rows(Vec::new())).0, Version(before.0 + 1), "and life goes on");
}

pub(super) fn large_rows(subject: &mut dyn Subject) {
    let engine = subject.engine();
    let key = [0xab; KEY_BYTES_MAX];
    for len in [1_000, 2_040, 4_080, 4_096, 65_536, 3_000_000] {
        let value: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
        commit(engine, rows(vec![put(A, &key, &value), put(A, &len.to_be_bytes(), &value)]));
        assert_eq!(now(engine, A, &key).unwrap(), value);
        assert_eq!(now(engine, A, &len.to_be_bytes()).unwrap(), value);
    }
    subject.reopen();
    assert_eq!(now(subject.engine(), A, &key).unwrap().len(), 3_000_000);
}
