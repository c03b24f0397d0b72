//! A damaged data file is refused, at opening or at reading; it never crashes the process and never passes
//! a wrong row. Rows carry a checksum bound to their key, as the store's do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use kv::{Batch, Direction, Engine, KvError, Row, Snapshot, Tree};
use kv_lmdb::{Lmdb, Options};

const PAGE: usize = 4_096;
type Rows = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

struct Dice(u64);
impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

fn sealed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&[key, &value].concat());
    value.extend(crc.to_le_bytes());
    value
}

fn seal_holds(key: &[u8], sealed: &[u8]) -> bool {
    sealed.split_last_chunk::<4>().is_some_and(|(value, crc)| {
        crc32fast::hash(&[key, value].concat()) == u32::from_le_bytes(*crc)
    })
}

/// Commits rows of several kinds and notes them.
fn fill(store: &Lmdb, dice: &mut Dice, rows: &mut Rows, count: usize) {
    let mut batch = Batch::default();
    for _ in 0..count {
        let tree = 1 + dice.below(3) as u8;
        let key = (dice.below(5_000) as u64).to_be_bytes().to_vec();
        let len = if dice.below(30) == 0 { 2_500 + dice.below(9_000) } else { dice.below(300) };
        let value = sealed(&key, dice.bytes(len));
        rows.insert((tree, key.clone()), value.clone());
        batch.rows.push(Row::Put(Tree(tree), key, value));
    }
    for _ in 0..count / 10 {
        let text = dice.bytes(40);
        batch.entries.push(Box::new(move |seq| sealed(&seq.0.to_be_bytes(), text)));
    }
    store.commit(vec![batch]).unwrap();
}

fn content(snapshot: &dyn Snapshot) -> Result<Rows, KvError> {
    let mut rows = Rows::new();
    for tree in 0..Tree::COUNT {
        let all = snapshot.scan(Tree(tree), b"", &[0xff; 9], Direction::Forward, usize::MAX)?;
        for (key, value) in all {
            // What the store above does with a row that does not fit its key.
            if !seal_holds(&key, &value) {
                return Err(KvError::Corrupt("a row's checksum".into()));
            }
            rows.insert((tree, key.into_owned()), value.into_owned());
        }
    }
    Ok(rows)
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Refused,
    Whole,
}

/// Opens a copy of the store with this data file; whatever is read must be right.
fn outcome(scratch: &Path, marker: Option<&[u8]>, data: &[u8], rows: &Rows) -> Outcome {
    let dir = scratch.join("copy");
    let _none = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("data.mdb"), data).unwrap();
    if let Some(marker) = marker {
        fs::write(dir.join("store"), marker).unwrap();
    }
    let read = Lmdb::open(&dir, Options::default()).and_then(|store| {
        let snapshot = store.snapshot()?;
        for ((tree, key), value) in rows {
            let found = snapshot.get(Tree(*tree), key)?;
            assert_eq!(found.as_deref(), Some(&value[..]), "a wrong row passed");
        }
        content(&*snapshot)
    });
    match read {
        Ok(found) => {
            assert!(found == *rows, "wrong rows passed");
            Outcome::Whole
        }
        Err(KvError::Corrupt(_)) => Outcome::Refused,
        Err(e @ KvError::Unavailable(_)) => panic!("damage reported as {e}"),
    }
}

struct Sample {
    scratch: tempfile::TempDir,
    /// The marker that an orderly close left.
    marker: Vec<u8>,
    /// The data file before and after the last commit.
    before: Vec<u8>,
    after: Vec<u8>,
    rows: Rows,
    /// Pages that the last commit wrote, without the meta pages.
    written: BTreeSet<usize>,
}

fn sample() -> Sample {
    let scratch = tempfile::tempdir().unwrap();
    let dir: PathBuf = scratch.path().join("store");
    let store = Lmdb::open(&dir, Options::default()).unwrap();
    let (mut dice, mut rows) = (Dice(11), Rows::new());
    for _ in 0..20 {
        fill(&store, &mut dice, &mut rows, 200);
    }
    let data = dir.join("data.mdb");
    let before = fs::read(&data).unwrap();
    fill(&store, &mut dice, &mut rows, 12);
    let snapshot = store.snapshot().unwrap();
    rows = content(&*snapshot).unwrap();
    drop(snapshot);
    drop(store);
    let after = fs::read(&data).unwrap();
    let marker = fs::read(dir.join("store")).unwrap();
    let page = |file: &[u8], n: usize| file.get(n * PAGE..(n + 1) * PAGE).map(<[u8]>::to_vec);
    let written: BTreeSet<usize> =
        (2..after.len() / PAGE).filter(|n| page(&before, *n) != page(&after, *n)).collect();
    assert!(rows.len() > 3_000 && written.len() > 10, "{} {}", rows.len(), written.len());
    Sample { scratch, marker, before, after, rows, written }
}

impl Sample {
    fn outcome(&self, data: &[u8]) -> Outcome {
        let unclean = outcome(self.scratch.path(), None, data, &self.rows);
        let marked = outcome(self.scratch.path(), Some(&self.marker), data, &self.rows);
        assert_eq!(unclean, marked, "a small store is checked whole however it was closed");
        unclean
    }
}

#[test]
fn an_undamaged_copy_opens() {
    let sample = sample();
    assert_eq!(sample.outcome(&sample.after), Outcome::Whole);
}

#[test]
fn pages_of_the_last_commit_that_are_lost_are_noticed() {
    let sample = sample();
    let mut dice = Dice(3);
    for page in &sample.written {
        let place = page * PAGE..(page + 1) * PAGE;
        let mut zeroed = sample.after.clone();
        zeroed[place.clone()].fill(0);
        assert_eq!(sample.outcome(&zeroed), Outcome::Refused, "page {page} zeroed");

        let mut random = sample.after.clone();
        random[place.clone()].copy_from_slice(&dice.bytes(PAGE));
        assert_eq!(sample.outcome(&random), Outcome::Refused, "page {page} random");

        // The write never arrived: what was there before is a page in good order.
        let mut stale = sample.after.clone();
        match sample.before.get(place.clone()) {
            Some(old) => stale[place].copy_from_slice(old),
            None => stale[place].fill(0),
        }
        assert_eq!(sample.outcome(&stale), Outcome::Refused, "page {page} stale");
    }
}

#[test]
fn damaged_sectors_and_bits_anywhere_never_pass_as_rows() {
    let sample = sample();
    let mut dice = Dice(7);
    let mut refused = 0;
    for round in 0..120 {
        let mut data = sample.after.clone();
        if round % 2 == 0 {
            let at = dice.below(data.len() / 512) * 512;
            let noise = dice.bytes(512);
            data[at..at + 512].copy_from_slice(&noise);
        } else {
            let at = dice.below(data.len());
            data[at] ^= 1 << dice.below(8);
        }
        // Free pages and gaps may take damage without harm; everything else is noticed.
        let found = outcome(sample.scratch.path(), None, &data, &sample.rows);
        refused += usize::from(found == Outcome::Refused);
    }
    assert!(refused > 40, "only {refused} of 120 were in use?");
}

#[test]
fn a_file_cut_short_is_noticed() {
    let sample = sample();
    let mut lengths: Vec<usize> = vec![100, PAGE, 2 * PAGE - 1, 2 * PAGE, 3 * PAGE];
    lengths.extend((1..20).map(|n| sample.after.len() * n / 20));
    for len in lengths {
        let found = sample.outcome(&sample.after[..len]);
        assert_eq!(found, Outcome::Refused, "cut to {len} of {}", sample.after.len());
    }
    // The last page may be a free one; then nothing is missing, and what is read is right.
    sample.outcome(&sample.after[..sample.after.len() - PAGE]);
    sample.outcome(&sample.after[..sample.after.len() - 1]);
    for left in [&b""[..], b"\0", &[0; 2 * PAGE]] {
        let gone = outcome(sample.scratch.path(), Some(&sample.marker), left, &sample.rows);
        assert_eq!(gone, Outcome::Refused, "a store that lost its data must not begin anew");
    }
}

#[test]
fn a_lost_meta_page_does_not_take_the_store_back_in_time() {
    let sample = sample();
    for meta in 0..2 {
        for (name, from) in [("magic", 16), ("state", 16 + 16)] {
            let mut data = sample.after.clone();
            data[meta * PAGE + from..meta * PAGE + 152].fill(0);
            assert_eq!(sample.outcome(&data), Outcome::Refused, "meta page {meta} without {name}");
        }
    }
}
