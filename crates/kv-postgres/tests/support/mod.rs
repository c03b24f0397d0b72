//! A history that can be checked: every commit leaves its mark in the log and in a row.

use std::collections::HashMap;

use kv::{Batch, Direction, Engine, Owner, Row, Seq, Tree, position};

/// Where the marks lie.
pub(crate) const MARKS: Tree = Tree(2);
/// Who made a mark, and which of theirs it is.
pub(crate) type Mark = (u64, u64);

pub(crate) fn mark_bytes((who, n): Mark) -> Vec<u8> {
    [who.to_be_bytes(), n.to_be_bytes()].concat()
}

/// A batch that leaves one mark: a log entry that holds it, and a row of its position.
pub(crate) fn marked(mark: Mark) -> Batch {
    let bytes = mark_bytes(mark);
    let key = bytes.clone();
    Batch {
        changed: vec![Owner(u128::from(mark.0) << 64 | u128::from(mark.1))],
        entries: vec![Box::new(move |_| bytes)],
        rows: vec![Row::Stamped {
            tree: MARKS,
            entry: 0,
            make: Box::new(move |seq| (key, seq.0.to_be_bytes().to_vec())),
        }],
        ..Batch::default()
    }
}

/// Reads the whole log: dense from its first position to the head, no mark twice, each with its row. Gives the position
/// of each mark.
pub(crate) fn checked_marks(engine: &dyn Engine) -> HashMap<Mark, Seq> {
    let snapshot = engine.snapshot().unwrap();
    let log = snapshot.scan(Tree::LOG, &[0], &[0xff; 9], Direction::Forward, usize::MAX).unwrap();
    assert_eq!(position(log.len() as u64), snapshot.head(), "the log is not dense");
    let mut marks = HashMap::new();
    for ((key, value), n) in log.iter().zip(position(1).0..) {
        assert_eq!(key.as_ref(), n.to_be_bytes(), "the log is not dense");
        let (who, which) = value.split_first_chunk::<8>().unwrap();
        let mark = (u64::from_be_bytes(*who), u64::from_be_bytes(which.try_into().unwrap()));
        assert_eq!(marks.insert(mark, Seq(n)), None, "{mark:?} was committed twice");
    }
    let rows = snapshot.scan(MARKS, &[0], &[0xff; 17], Direction::Forward, usize::MAX).unwrap();
    assert_eq!(rows.len(), marks.len(), "a commit was not whole");
    for (mark, seq) in &marks {
        let row = snapshot.get(MARKS, &mark_bytes(*mark)).unwrap().unwrap();
        assert_eq!(row.as_ref(), seq.0.to_be_bytes(), "{mark:?} is elsewhere");
    }
    marks
}
