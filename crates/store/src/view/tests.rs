//! What reads and writes of a transaction mark, which is all that the conflict check knows; and what a cache may serve.

use std::collections::BTreeSet;

use base::Event;
use kv::Verdict;

use super::*;
use crate::{
    Store,
    keyspace::Owned,
    log::Entry,
    schema::{
        FACTS, HEADS, Head, MEMBERS, Member, ORDER, RECEIPTS, STATE_NODES, Standing, TIMELINE,
    },
    tests::{store, store_on},
};

const TENANT: Tenant = Tenant(0);

fn tx(store: &Store) -> Tx {
    Tx::new(store.shared.view(TENANT).unwrap())
}

fn commit(store: &Store, tx: Tx) -> Option<Verdict> {
    let batch = tx.into_batch()?;
    Some(store.shared.engine.commit(vec![batch]).unwrap().remove(0))
}

fn room(room: u64) -> Owner {
    owner(TENANT, Kind::Room, &room.to_be_bytes())
}

fn fact(name: &str) -> Owner {
    FACTS.owner(TENANT, &key(name)).unwrap()
}

fn key(name: &str) -> (String,) {
    (name.to_owned(),)
}

fn member(event: u64) -> Member {
    Member { standing: Standing::Join, event: Event(event) }
}

fn at(room: u64, user: u64) -> (Room, User) {
    (Room(room), User(user))
}

/// What a transaction relies on after a read.
fn relied<T>(store: &Store, read: impl FnOnce(&Tx) -> Reply<T>) -> BTreeSet<Owner> {
    let tx = tx(store);
    read(&tx).unwrap();
    tx.pending.as_ref().unwrap().borrow().relied.iter().copied().collect()
}

/// What a transaction changes by a write.
fn changed(store: &Store, write: impl FnOnce(&mut Tx)) -> BTreeSet<Owner> {
    let mut tx = tx(store);
    write(&mut tx);
    tx.announce(Entry::Account { user: User(1) });
    tx.into_batch().unwrap().changed.into_iter().collect()
}

static OF_ROOM: CacheSpace = CacheSpace { tag: 210, owned: Some(Kind::Room) };
static FOR_EVER: CacheSpace = CacheSpace { tag: 211, owned: None };

#[test]
fn every_way_to_read_relies_on_the_owner_of_what_it_reads() {
    let store = store();
    let (one, two) = (BTreeSet::from([room(1)]), BTreeSet::from([room(1), room(2)]));
    let (from, to) = (at(1, 0), at(1, 9));
    assert_eq!(relied(&store, |tx| tx.get(&HEADS, (Room(1),))), one);
    assert_eq!(relied(&store, |tx| tx.has(&MEMBERS, at(1, 7))), one);
    assert_eq!(relied(&store, |tx| tx.get_many(&MEMBERS, [at(1, 7), at(2, 7)])), two);
    assert_eq!(relied(&store, |tx| tx.range(&MEMBERS, from, to, Direction::Backward, 1)), one);
    let under =
        |tx: &Tx| -> Reply<Vec<((Room, User), Member)>> { tx.under(&MEMBERS, (Room(1),), 1) };
    assert_eq!(relied(&store, under), one);
    let under = |tx: &Tx| -> Reply<Vec<((Room, User), Member)>> { tx.under(&MEMBERS, at(1, 7), 1) };
    assert_eq!(relied(&store, under), one);
    // Made or found in the cache.
    for _ in 0..2 {
        assert_eq!(relied(&store, |tx| tx.cached(&OF_ROOM, 1, |_| Ok(((), 1)))), one);
    }
    assert_eq!(relied(&store, |tx| tx.cached(&FOR_EVER, 1, |_| Ok(((), 1)))), BTreeSet::new());
    // A row by itself, and rows that collide with nothing.
    assert_eq!(relied(&store, |tx| tx.get(&FACTS, key("a"))), [fact("a")].into());
    assert_eq!(relied(&store, |tx| tx.get(&ORDER, (Event(1),))), BTreeSet::new());
    let under =
        |tx: &Tx| -> Reply<Vec<((Room, Seq), Event)>> { tx.under(&TIMELINE, (Room(1),), 9) };
    assert_eq!(relied(&store, under), BTreeSet::new());
    // What one has written oneself is read, and relied on, too.
    let mut tx = tx(&store);
    tx.put(&HEADS, (Room(3),), &Head::default());
    tx.get(&HEADS, (Room(3),)).unwrap();
    assert_eq!(tx.into_batch().unwrap().relied, [room(3)]);
}

#[test]
fn every_write_changes_the_owner_but_that_of_new_rows() {
    let store = store();
    let one = BTreeSet::from([room(1)]);
    assert_eq!(changed(&store, |tx| tx.put(&HEADS, (Room(1),), &Head::default())), one);
    assert_eq!(changed(&store, |tx| tx.delete(&MEMBERS, at(1, 7))), one);
    assert_eq!(changed(&store, |tx| tx.touch(&MEMBERS, at(1, 7))), one);
    let new = |tx: &mut Tx| tx.put_new(&MEMBERS, at(1, 7), &member(1));
    assert_eq!(changed(&store, new), BTreeSet::new());
    let nobodys = |tx: &mut Tx| tx.put(&ORDER, (Event(1),), &Seq(1));
    assert_eq!(changed(&store, nobodys), BTreeSet::new());
    assert_eq!(changed(&store, |tx| tx.put(&FACTS, key("a"), &String::new())), [fact("a")].into());
    assert_eq!(changed(&store, |tx| tx.delete(&FACTS, key("a"))), [fact("a")].into());
}

#[test]
fn a_transaction_that_writes_nothing_is_no_commit() {
    let store = store();
    let nothing = tx(&store);
    nothing.get(&HEADS, (Room(1),)).unwrap();
    assert!(nothing.into_batch().is_none());
    // An entry alone is one, and so is a row alone.
    let mut entry = tx(&store);
    entry.announce(Entry::Account { user: User(1) });
    assert!(entry.into_batch().is_some());
    let mut row = tx(&store);
    row.put(&FACTS, key("a"), &String::new());
    assert!(row.into_batch().is_some());
}

#[test]
fn whoever_relied_on_what_another_changed_since_is_refused() {
    let store = store();
    let seat = |tx: &mut Tx, user: u64| {
        let taken: Vec<((Room, User), Member)> = tx.under(&MEMBERS, (Room(1),), 9).unwrap();
        assert!(taken.is_empty());
        tx.put(&MEMBERS, at(1, user), &member(user));
    };
    let (mut first, mut second, mut elsewhere) = (tx(&store), tx(&store), tx(&store));
    seat(&mut first, 1);
    seat(&mut second, 2);
    elsewhere.has(&MEMBERS, at(2, 1)).unwrap();
    elsewhere.put(&MEMBERS, at(2, 1), &member(1));
    assert!(matches!(commit(&store, first), Some(Verdict::At { .. })));
    assert!(matches!(commit(&store, second), Some(Verdict::Conflict)));
    assert!(matches!(commit(&store, elsewhere), Some(Verdict::At { .. })));
}

#[test]
fn what_is_taken_back_is_as_it_was_before() {
    let store = store();
    let mut tx = tx(&store);
    tx.put(&FACTS, key("kept"), &"before".to_owned());
    tx.announce(Entry::Account { user: User(1) });
    let back = tx.savepoint();
    tx.put(&FACTS, key("kept"), &"after".to_owned());
    tx.put(&FACTS, key("kept"), &"later".to_owned());
    tx.put(&FACTS, key("new"), &"after".to_owned());
    tx.delete(&FACTS, key("gone"));
    let at = tx.announce(Entry::Account { user: User(2) });
    tx.put_at(&TIMELINE, at, |seq| ((Room(1), seq), Event(1)));
    tx.roll_back(back);
    assert_eq!(tx.get(&FACTS, key("kept")).unwrap().as_deref(), Some("before"));
    assert_eq!(tx.get(&FACTS, key("new")).unwrap(), None);
    let batch = tx.into_batch().unwrap();
    assert_eq!((batch.rows.len(), batch.entries.len()), (1, 1));
}

#[test]
fn a_key_that_no_engine_can_hold_is_noticed() {
    let store = store();
    let longest = kv::KEY_BYTES_MAX - FACTS.prefix(TENANT).len() - 2;
    let mut tx = tx(&store);
    tx.put(&FACTS, ("x".repeat(longest),), &String::new());
    assert!(!tx.take_overlong());
    tx.put(&FACTS, ("x".repeat(longest + 1),), &String::new());
    tx.put(&FACTS, key("short"), &String::new());
    assert!(tx.take_overlong());
    assert!(!tx.take_overlong(), "it is said once");
}

#[test]
fn rows_under_the_last_prefix_there_is_are_found() {
    let store = store();
    let mut tx = tx(&store);
    for user in [1, u64::MAX] {
        tx.put(&MEMBERS, at(u64::MAX, user), &member(user));
        tx.put(&MEMBERS, at(u64::MAX - 1, user), &member(user));
        tx.put(&MEMBERS, at(0xFE, user), &member(user));
    }
    for view in [&*tx, &store.shared.view(TENANT).unwrap()] {
        for (room, count) in [(u64::MAX, 2), (u64::MAX - 1, 2), (0xFE, 2), (0xFF, 0)] {
            let rows: Vec<((Room, User), Member)> = view.under(&MEMBERS, (Room(room),), 9).unwrap();
            let count = if view.pending.is_some() { count } else { 0 };
            assert_eq!(rows.len(), count, "room {room}");
            assert!(rows.iter().all(|((r, _), _)| r.0 == room));
        }
    }
    assert_eq!(after_prefix(&[1, 0xFF, 0xFF]), [2]);
    assert_eq!(after_prefix(&[1, 2]), [1, 3]);
    let all: Vec<_> = tx.everything(&MEMBERS, None, 99).unwrap();
    assert_eq!(all.len(), 6);
    let rest: Vec<_> = tx.everything(&MEMBERS, Some(all[1].0), 99).unwrap();
    assert_eq!(rest, all[2..]);
    assert_eq!(tx.everything(&MEMBERS, None, 4).unwrap(), all[..4]);
}

#[test]
fn scans_give_what_is_asked_for_and_no_more() {
    let store = store();
    let mut tx = tx(&store);
    (1..=5).for_each(|n| tx.put(&MEMBERS, at(1, n), &member(n)));
    commit(&store, tx);
    let view = store.shared.view(TENANT).unwrap();
    let users = |from: u64, to: u64, direction, limit| -> Vec<u64> {
        let rows = view.range(&MEMBERS, at(1, from), at(1, to), direction, limit).unwrap();
        rows.iter().map(|((_, user), _)| user.0).collect()
    };
    assert_eq!(users(2, 4, Direction::Forward, 9), [2, 3]);
    assert_eq!(users(2, 9, Direction::Backward, 2), [5, 4]);
    assert_eq!(users(2, 9, Direction::Forward, 0), [0; 0]);
    assert_eq!(users(3, 3, Direction::Forward, 9), [0; 0]);
    assert_eq!(users(4, 3, Direction::Forward, 9), [0; 0]);
    let many = view.get_many(&MEMBERS, [at(1, 5), at(2, 5), at(1, 1)]).unwrap();
    assert_eq!(many, [Some(member(5)), None, Some(member(1))]);
    // Each row that a transaction deletes hides one, and a limit counts what is left.
    let mut hiding = Tx::new(store.shared.view(TENANT).unwrap());
    (1..=3).for_each(|n| hiding.delete(&MEMBERS, at(1, n)));
    for (from, to) in [(4, 3), (3, 3)] {
        let none = hiding.range(&MEMBERS, at(1, from), at(1, to), Direction::Forward, 9).unwrap();
        assert!(none.is_empty());
    }
    let left: Vec<((Room, User), Member)> = hiding.under(&MEMBERS, (Room(1),), 2).unwrap();
    assert_eq!(left, [(at(1, 4), member(4)), (at(1, 5), member(5))]);
}

#[test]
fn one_tenant_does_not_meet_another() {
    let store = store();
    let mut mine = tx(&store);
    mine.put(&MEMBERS, at(1, 1), &member(1));
    mine.announce(Entry::Account { user: User(1) });
    let mut theirs = Tx::new(store.shared.view(Tenant(1)).unwrap());
    assert!(!theirs.has(&MEMBERS, at(1, 1)).unwrap());
    theirs.put(&MEMBERS, at(1, 2), &member(2));
    commit(&store, mine);
    assert!(matches!(commit(&store, theirs), Some(Verdict::At { .. })), "no collision");
    let seen = |tenant| {
        let view = store.shared.view(tenant).unwrap();
        let rows: Vec<((Room, User), Member)> = view.under(&MEMBERS, (Room(1),), 9).unwrap();
        let made = view.cached(&OF_ROOM, 1, |_| Ok((tenant, 8))).unwrap();
        assert_eq!(*made, tenant);
        let entries = view.log(Seq::ZERO, Seq::MAX, 9).unwrap();
        (rows.iter().map(|((_, user), _)| user.0).collect::<Vec<_>>(), entries.len())
    };
    assert_eq!(seen(TENANT), (vec![1], 1));
    assert_eq!(seen(Tenant(1)), (vec![2], 0));
}

#[test]
fn what_is_remembered_is_recalled_but_not_from_a_transaction() {
    let store = store();
    let recall = || store.shared.view(TENANT).unwrap().recall::<u8>(&FOR_EVER, 5).map(|n| *n);
    assert_eq!(recall(), None);
    tx(&store).remember(&FOR_EVER, 5, Arc::new(1u8), 1);
    assert_eq!(recall(), None, "it may be taken back");
    let view = store.shared.view(TENANT).unwrap();
    view.remember(&FOR_EVER, 5, Arc::new(2u8), 1);
    assert_eq!(recall(), Some(2));
    assert_eq!(view.recall::<u8>(&FOR_EVER, 6), None);
}

#[test]
fn a_commit_that_the_clock_has_not_heard_of_is_not_judged_by_the_cache() {
    let store = store();
    let depth = |view: &View| -> u64 {
        let made = view.cached(&OF_ROOM, 9, |view| {
            Ok((view.get(&HEADS, (Room(9),))?.unwrap_or_default().depth, 8))
        });
        *made.unwrap()
    };
    let deepen = |depth| {
        let mut tx = tx(&store);
        tx.put(&HEADS, (Room(9),), &Head { depth, ..Head::default() });
        commit(&store, tx);
    };
    deepen(1);
    assert_eq!(depth(&store.shared.view(TENANT).unwrap()), 1);
    deepen(2);
    let view = store.shared.view(TENANT).unwrap();
    // As if the engine had made the commit visible, but not yet noted who changed.
    let clock = store.shared.engine.clock();
    clock.start(Version(view.snapshot.version().0 - 1));
    assert_eq!(depth(&view), 2);
}

#[test]
fn what_a_reader_keeps_is_written_and_collides_with_nobody() {
    let store = store();
    store.shared.engine.commit(vec![Batch::default()]).unwrap();
    let view = store.shared.view(TENANT).unwrap();
    let since = view.snapshot.version();
    assert!(since > Version(0));
    view.keep(&FACTS, key("kept"), &"it".to_owned());
    let batch = view.into_kept().unwrap();
    assert!(batch.relied.is_empty() && batch.changed.is_empty() && batch.entries.is_empty());
    assert_eq!(batch.since, since);
    store.shared.engine.commit(vec![batch]).unwrap();
    let view = store.shared.view(TENANT).unwrap();
    assert_eq!(view.get(&FACTS, key("kept")).unwrap().as_deref(), Some("it"));
    assert!(view.into_kept().is_none(), "nothing to keep is no commit");
    // A transaction writes itself what it wants written.
    let tx = tx(&store);
    tx.keep(&FACTS, key("kept"), &String::new());
    assert!(tx.into_batch().is_none());
}

#[test]
fn numbers_are_never_given_twice_not_even_by_another_process() {
    let engine: Arc<dyn kv::Engine> = Arc::new(kv::Memory::default());
    let stores = [0; 3].map(|_| store_on(engine.clone()));
    let mut given = BTreeSet::new();
    for _ in 0..50 {
        for store in &stores {
            let tx = tx(store);
            let (a, b) = (tx.fresh().unwrap(), tx.fresh().unwrap());
            assert!(a > 0 && b > a, "numbers rise, and 0 stands for none");
            assert!(given.insert(a) && given.insert(b), "{a} {b}");
        }
    }
}

#[test]
fn random_bytes_are_not_the_same_twice() {
    let (one, other) = (store(), store());
    let draws: BTreeSet<[u8; 16]> =
        [&one, &one, &other, &other].map(|store| tx(store).random()).into();
    assert_eq!(draws.len(), 4);
}

#[test]
fn a_view_knows_the_time_the_name_of_the_server_and_who_types() {
    let store = store();
    let before = store.now();
    let view = || store.shared.view(TENANT).unwrap();
    assert!(view().now() >= before && before > UnixMs(1_600_000_000_000));
    assert_eq!(view().local_user_id("a").unwrap(), "@a:x.test");
    assert_eq!(view().local_user_id("\0"), None);
    let epoch = view().typing_epoch();
    assert_eq!(view().typing_rooms(epoch), [Room(0); 0]);
    store.set_typing(Room(7), User(3), Some(UnixMs(u64::MAX)));
    assert!(view().typing_epoch() > epoch);
    assert_eq!(view().typing_rooms(epoch), [Room(7)]);
    assert_eq!(view().typing(Room(7), epoch), Some(vec![User(3)]));
    assert_eq!(view().typing(Room(8), epoch), None);
    assert_eq!(view().typing(Room(7), view().typing_epoch()), None);
}

#[test]
fn the_keyspaces_used_here_are_owned_as_the_tests_think() {
    assert_eq!((HEADS.owned, MEMBERS.owned), (Owned::First(Kind::Room), Owned::First(Kind::Room)));
    assert_eq!((FACTS.owned, RECEIPTS.owned), (Owned::Each, Owned::Each));
    assert_eq!((ORDER.owned, STATE_NODES.owned), (Owned::Nobody, Owned::Nobody));
    // Rows that own themselves differ by every part of the key.
    let owner = |user: u64, private: u8| {
        RECEIPTS.owner(TENANT, &(Room(1), User(user), String::new(), private)).unwrap()
    };
    assert_eq!(BTreeSet::from([owner(1, 0), owner(1, 1), owner(2, 0)]).len(), 3);
}
