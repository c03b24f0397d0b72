//! The bytes on disk, held against a file that is part of the tree: `tests/golden/disk.txt`.
//!
//! Whoever changes a key, a value, a tag or an owner sees it here first, and not in somebody's database. The file only
//! grows: a new version of a value gets a line beside the old one, which has to stay readable; the line of a keyspace
//! that is gone keeps its tag taken. `UPDATE=1 cargo test -p store golden` adds what is missing and writes the
//! catalogue, `docs/keyspaces.md`; it never changes a line.

mod catalogue;
mod samples;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

use crate::{
    codec::Codec,
    keys::Key,
    keyspace::{Keyspace, Kind, Owned, Tenant},
    log,
    value::{Value, seal, unseal},
};

/// Not zero, and its bytes differ: their order is part of the format.
const TENANT: Tenant = Tenant(0x0102);

/// One row of a keyspace, as this program writes it, and how it reads one.
struct Sample {
    /// The keyspace's name, and which of its samples.
    label: String,
    name: &'static str,
    tree: u8,
    tag: u8,
    owner: String,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Reads key and value: is it the sample? `None`: it cannot be read.
    read: Read,
}

type Read = Box<dyn Fn(&[u8], &[u8]) -> Option<bool>>;

fn sample<K, V>(ks: &'static Keyspace<K, V>, n: usize, key: K, value: V) -> Sample
where
    K: Key + PartialEq + 'static,
    V: Value + PartialEq + 'static,
{
    let bytes = ks.key(TENANT, &key);
    let owner = match ks.owner(TENANT, &key) {
        Some(owner) => format!("{}:{:032x}", owned(ks.owned), owner.0),
        None => owned(ks.owned),
    };
    Sample {
        label: if n == 1 { ks.name.to_owned() } else { format!("{}.{n}", ks.name) },
        name: ks.name,
        tree: ks.tree.0,
        tag: ks.tag,
        owner,
        value: seal(&bytes, &value),
        key: bytes,
        read: Box::new(move |from, row| {
            let parts = K::take(from.strip_prefix(ks.prefix(TENANT).as_slice())?)?;
            let (version, payload) = unseal(from, row)?;
            Some(V::take(version, payload)? == value && parts == key)
        }),
    }
}

fn owned(owned: Owned) -> String {
    match owned {
        Owned::Nobody => "nobody".to_owned(),
        Owned::Each => "each".to_owned(),
        Owned::First(kind) => format!("{kind:?}"),
    }
}

/// A line of the file.
struct Line {
    label: String,
    tree: u8,
    tag: u8,
    owner: String,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Line {
    /// The version byte of the value.
    fn version(&self) -> u8 {
        self.value[0]
    }
    /// The keyspace's name.
    fn name(&self) -> &str {
        self.label.split('.').next().unwrap()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// A golden file, without comments.
fn golden(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("tests/golden").join(file)).unwrap_or_default();
    text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
}

/// Adds lines to a golden file that does not have them, or fails.
fn add(file: &str, about: &str, missing: &[String]) {
    if missing.is_empty() {
        return;
    }
    let listed = missing.join("\n");
    assert!(updating(), "not in tests/golden/{file}; if it is new, UPDATE=1:\n{listed}");
    let path = root().join("tests/golden").join(file);
    let old = std::fs::read_to_string(&path).unwrap_or_else(|_| format!("{about}\n"));
    std::fs::write(&path, format!("{old}{listed}\n")).unwrap();
}

fn lines() -> Vec<Line> {
    let line = |text: String| {
        let parts: Vec<&str> = text.split(' ').collect();
        let [label, tree, tag, owner, key, value] = parts[..] else { panic!("{text}") };
        let number = |text: &str| text.parse().unwrap();
        Line {
            label: label.to_owned(),
            tree: number(tree),
            tag: number(tag),
            owner: owner.to_owned(),
            key: bytes(key),
            value: bytes(value),
        }
    };
    golden("disk.txt").into_iter().map(line).collect()
}

const ABOUT: &str =
    "# Rows as they lie on disk: name, tree, tag, owner, key, value. Grows; no line ever changes.";

#[test]
fn rows_are_written_as_ever() {
    let lines = lines();
    let mut missing = Vec::new();
    for s in samples::all() {
        let version = s.value[0];
        let text = |key, value| {
            format!("{} {} {} {} {} {}", s.label, s.tree, s.tag, s.owner, hex(key), hex(value))
        };
        match lines.iter().find(|l| l.label == s.label && l.version() == version) {
            Some(l) => {
                let old = format!(
                    "{} {} {} {} {} {}",
                    l.label,
                    l.tree,
                    l.tag,
                    l.owner,
                    hex(&l.key),
                    hex(&l.value)
                );
                assert_eq!(
                    text(&s.key, &s.value),
                    old,
                    "{} is written otherwise than it was",
                    s.label
                );
            }
            None => missing.push(text(&s.key, &s.value)),
        }
    }
    add("disk.txt", ABOUT, &missing);
}

#[test]
fn rows_written_by_any_version_are_read() {
    let samples = samples::all();
    for line in lines() {
        let Some(s) = samples.iter().find(|s| s.label == line.label) else { continue };
        let read = (s.read)(&line.key, &line.value);
        // What an older version held may mean something else today; that it is read is what counts.
        let wanted = line.version() == s.value[0];
        assert!(read.is_some_and(|same| same || !wanted), "{} cannot be read back", line.label);
        let mut other = line.key.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(unseal(&other, &line.value).is_none(), "{} is read under another key", line.label);
    }
}

#[test]
fn no_tag_is_given_twice_and_none_given_before() {
    let mut taken: BTreeMap<(u8, u8), String> = BTreeMap::new();
    let mut places: BTreeMap<String, (u8, u8)> = BTreeMap::new();
    let now = samples::all();
    let now = now.iter().map(|s| (s.tree, s.tag, s.name.to_owned()));
    let before = lines();
    let before = before.iter().map(|l| (l.tree, l.tag, l.name().to_owned()));
    for (tree, tag, name) in before.chain(now) {
        let holder = taken.entry((tree, tag)).or_insert_with(|| name.clone());
        assert_eq!(*holder, name, "tree {tree}, tag {tag}");
        let place = places.entry(name.clone()).or_insert((tree, tag));
        assert_eq!(*place, (tree, tag), "{name}");
        assert!((1..kv::Tree::COUNT).contains(&tree), "{name}: tree 0 is the log's");
    }
}

#[test]
fn every_keyspace_of_the_catalogue_has_a_sample() {
    let declared = catalogue::declared();
    let samples = samples::all();
    let of_name: BTreeMap<&str, &Sample> = samples.iter().map(|s| (s.name, s)).collect();
    let sampled: BTreeSet<&str> = of_name.keys().copied().collect();
    let names: BTreeSet<&str> = declared.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(sampled, names);
    for d in &declared {
        // The page tells what the program does.
        let s = of_name[d.name.as_str()];
        assert_eq!((s.tree, s.tag), (d.tree, d.tag), "{}", d.name);
        assert_eq!(s.owner.split(':').next().unwrap(), d.owned, "{}", d.name);
    }
}

#[test]
fn the_catalogue_is_up_to_date() {
    let path = root().join("../../docs/keyspaces.md");
    let page = catalogue::page();
    if updating() {
        std::fs::write(&path, &page).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(old == page, "docs/keyspaces.md is out of date: UPDATE=1 cargo test -p store golden");
}

/// Kinds of owners are part of what engines keep.
#[test]
fn kinds_of_owners_keep_their_numbers() {
    use Kind::*;
    let kinds =
        [Room, RoomsOf, Account, Devices, Profile, Aliases, Event, AccountData, Receipts, Row];
    assert_eq!(kinds.map(|k| k as u8), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

const ABOUT_LOG: &str =
    "# Log entries as they lie on disk: name, position, row. Grows; no line ever changes.";

#[test]
fn log_entries_are_written_as_ever_and_read_back() {
    let golden = golden("log.txt");
    let mut missing = Vec::new();
    for (label, entry) in samples::entries() {
        let seq = base::Seq(0x0102_0304_0506_0708);
        let row = log::write(TENANT, entry.clone())(seq);
        let key = seq.0.to_be_bytes();
        let text = format!("{label} {} {}", hex(&key), hex(&row));
        match golden.iter().find(|line| line.split(' ').next() == Some(label)) {
            Some(line) => assert_eq!(&text, line, "{label} is written otherwise than it was"),
            None => missing.push(text),
        }
        assert_eq!(log::read(&key, &row).unwrap(), (seq, TENANT, entry));
    }
    add("log.txt", ABOUT_LOG, &missing);
}

#[test]
fn every_kind_of_log_entry_has_a_sample() {
    // Zeros can be read as any entry there is, behind its number.
    let there = |number: u8| {
        let mut payload = [0; 64];
        payload[0] = number;
        crate::value::take_serde::<log::Entry>(&payload).is_some()
    };
    let count = (0..=u8::MAX).take_while(|number| there(*number)).count();
    let numbers: BTreeSet<u8> = samples::entries()
        .iter()
        .map(|(_, entry)| {
            let mut bytes = Vec::new();
            entry.put(&mut bytes);
            bytes[0]
        })
        .collect();
    assert_eq!(numbers.len(), count, "an entry without a sample");
}

#[test]
fn a_log_entry_of_another_version_or_a_damaged_one_is_refused() {
    let key = 7u64.to_be_bytes();
    let (_, entry) = samples::entries().remove(0);
    let row = log::write(TENANT, entry)(base::Seq(7));
    assert!(log::read(&key, &row).is_ok());
    assert!(log::read(&key[1..], &row).is_err());
    assert!(log::read(&8u64.to_be_bytes(), &row).is_err());
    struct Later;
    impl Value for Later {
        const VERSION: u8 = 2;
        fn put(&self, out: &mut Vec<u8>) {
            out.extend([0; 8])
        }
        fn take(_: u8, _: &[u8]) -> Option<Self> {
            None
        }
    }
    assert!(log::read(&key, &seal(&key, &Later)).is_err());
}

#[test]
fn event_bodies_of_old_are_read() {
    // A changed dictionary would make every event on disk unreadable.
    let dictionary = blake3::hash(include_bytes!("../dictionary-1.txt")).to_string();
    assert_eq!(dictionary, samples::DICTIONARY_1);
    let codec = Codec::default();
    for (stored, body) in samples::BODIES {
        assert_eq!(codec.decompress(&bytes(stored)).unwrap(), body);
    }
}

#[test]
fn a_state_has_the_name_that_it_always_had() {
    // Roots lie in every event's row: computed otherwise, equal states would no longer be equal.
    let store = crate::tests::store();
    let roots = store.write_here(|tx| {
        let mut root = crate::state::Root::default();
        let mut roots = Vec::new();
        for n in 1..=100 {
            let (kind, key) = (format!("m.{}", n % 7), format!("@u{n}:x"));
            root = crate::state::set(tx, root, &kind, &key, base::Event(n))?;
            roots.push(root.number());
        }
        Ok(roots)
    });
    let roots = roots.unwrap().value;
    let some = [1, 32, 33, 100].map(|n: usize| format!("{:032x}", roots[n - 1]));
    assert_eq!(some, samples::ROOTS);
}
