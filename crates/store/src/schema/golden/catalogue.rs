//! The catalogue page, read from the source of the schema: what it says there is what the page says.

use std::fmt::Write as _;

use super::super::*;

/// A keyspace as declared.
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) tree: u8,
    pub(super) tag: u8,
    pub(super) owned: String,
    key: String,
    value: String,
    sentence: String,
}

const SOURCES: [&str; 15] = [
    include_str!("../mod.rs"),
    include_str!("../room.rs"),
    include_str!("../account.rs"),
    include_str!("../media.rs"),
    include_str!("../timed.rs"),
    include_str!("../authority.rs"),
    include_str!("../push.rs"),
    include_str!("../threepid.rs"),
    include_str!("../appservice.rs"),
    include_str!("../moderation.rs"),
    include_str!("../federation.rs"),
    include_str!("../peers.rs"),
    include_str!("../destinations.rs"),
    include_str!("../encryption.rs"),
    include_str!("../key_backup.rs"),
];

/// Every file of the schema but the golden test.
#[test]
fn every_file_of_the_schema_is_read() {
    let folder = super::root().join("src/schema");
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name());
    let files: Vec<_> = files
        .filter(|f| f.to_str().is_some_and(|f| f.ends_with(".rs") && f != "golden.rs"))
        .collect();
    assert_eq!(files.len(), SOURCES.len(), "{files:?}");
}

pub(super) fn declared() -> Vec<Declared> {
    let mut all: Vec<Declared> = SOURCES.iter().flat_map(|source| of_file(source)).collect();
    all.sort_by_key(|d| (d.tree, d.tag));
    all
}

fn of_file(source: &str) -> Vec<Declared> {
    let mut found = Vec::new();
    let mut sentence = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            sentence.push_str(text);
            continue;
        }
        if line.starts_with("pub static ") && line.contains("Keyspace<") {
            let mut text = line.to_owned();
            while !text.ends_with(';') {
                text.push_str(lines.next().unwrap());
            }
            found.push(one(&text, sentence.trim()));
        }
        sentence.clear();
    }
    found
}

/// `pub static NAME: Keyspace<KEY, VALUE> = Keyspace::new(TREE, TAG, "name", OWNED);`
fn one(text: &str, sentence: &str) -> Declared {
    let (types, made) = text.split_once("Keyspace::new(").unwrap();
    let types = types.split_once("Keyspace<").unwrap().1.rsplit_once('>').unwrap().0;
    // A key is a tuple, so that the value begins behind its closing bracket.
    let (key, value) = types.rsplit_once("),").unwrap();
    let key = key.trim().trim_start_matches('(').trim_end_matches(',');
    let parts: Vec<&str> = made.trim_end_matches(");").splitn(4, ',').map(str::trim).collect();
    let [tree, tag, name, owned] = parts[..] else { panic!("{text}") };
    let owned = owned.trim_start_matches("Owned::");
    let owned = match owned.strip_prefix("First(Kind::") {
        Some(kind) => kind.trim_end_matches(')').to_owned(),
        None => owned.to_lowercase(),
    };
    Declared {
        name: name.trim_matches('"').to_owned(),
        tree: tree_of(tree),
        tag: tag.parse().unwrap(),
        owned,
        key: key.to_owned(),
        value: value.trim().to_owned(),
        sentence: sentence.to_owned(),
    }
}

/// The trees by what they are called, with what the page says of them.
const TREES: [(Tree, &str, &str); 8] = [
    (Tree::LOG, "LOG", "The log: position → entry"),
    (EVENT_TREE, "EVENT_TREE", "Event bodies, in the order of their ids"),
    (ORDER_TREE, "ORDER_TREE", "A room's events by position"),
    (STATE_TREE, "STATE_TREE", "Nodes of state maps"),
    (ROOM_TREE, "ROOM_TREE", "What a room is now"),
    (USER_TREE, "USER_TREE", "What belongs to users"),
    (NAME_TREE, "NAME_TREE", "Names to numbers"),
    (MISC_TREE, "MISC_TREE", "Everything else"),
];

fn tree_of(name: &str) -> u8 {
    TREES.iter().find(|(_, n, _)| *n == name).unwrap_or_else(|| panic!("{name}")).0.0
}

const ABOUT: &str = "\
# Keyspaces

Everything that a database of Althing holds, beside the log. Generated from `crates/store/src/schema`; a test holds it
against the bytes in `crates/store/tests/golden`.

A row's key is the tenant (2 bytes), the tag (1 byte) and the parts of the key: numbers as 8 bytes, big-endian; texts as
UTF-8 with `00` written `00 FF`, ended by `00 01`. Its value is a version (1 byte), a CRC-32 of key, version and payload
(4 bytes, little-endian), and the payload. **Owner**: what a concurrent change of the row collides with (*nobody*: it
never does; *each*: the row itself; otherwise a thing of that kind, named by the first part of the key).
";

pub(super) fn page() -> String {
    let mut page = ABOUT.to_owned();
    let declared = declared();
    for (tree, name, about) in TREES {
        if tree == Tree::LOG {
            continue;
        }
        assert!(declared.iter().any(|d| d.tree == tree.0), "{name} is empty");
        write!(page, "\n## Tree {}: {about}\n", tree.0).unwrap();
        page.push_str("| name | tag | key | value | owner | |\n|---|---|---|---|---|---|\n");
        for d in declared.iter().filter(|d| d.tree == tree.0) {
            let Declared { name, tag, key, value, owned, .. } = d;
            let sentence = d.sentence.replace('|', "\\|").replace("[`", "`").replace("`]", "`");
            assert!(!sentence.is_empty(), "{name} needs a sentence");
            writeln!(page, "| `{name}` | {tag} | `{key}` | `{value}` | {owned} | {sentence} |")
                .unwrap();
        }
    }
    page
}
