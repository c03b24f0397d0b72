//! A store that is a copy of another, put in its place: what must not happen twice, and what others know that it does not.
//!
//! The original went on after the copy was made, and all that it did then is forgotten: which one-time keys it gave out, how far
//! its log had come, what other servers were told. So, once, before the copy serves:
//! - all one-time keys are dropped, and clients upload new ones; fallback keys stay, and count as given out, so that clients
//!   replace them;
//! - the log leaps over positions that the original may have used: they are in clients' sync tokens, and the numbers of
//!   device lists;
//! - transactions to other servers and application services get new names, or they would be taken for old ones;
//! - each user's list of devices is announced as following upon a change that nobody was told of, so that other servers ask
//!   for it again; what was kept of theirs is dropped.
//!
//! Each step can be done twice without harm; the mark goes last.

use base::{Reply, Seq, User};

use crate::{
    Store, Tx, device_keys,
    log::Entry,
    remote_lists,
    schema::{
        ACCOUNTS, APPSERVICE_QUEUES, Account, DESTINATIONS, DEVICE_CHANGES, DEVICES, Destination,
        Device, FACTS, FALLBACK_KEYS, FallbackKey, ONE_TIME_KEYS, OneTimeKey, Queue, REMOTE_LISTS,
        RemoteList,
    },
};

/// The fact that says that a store is a copy.
const MARK: &str = "copied";
/// Rows changed in one transaction.
const ROWS_AT_ONCE: usize = 1_000;
/// Leaps of the log, each over [`kv::LEAP`] positions: more than a server does between a backup and the next.
const LEAPS: usize = 64;
/// Names of transactions are of this many bits.
const STREAM_MASK: u64 = u32::MAX as u64;
/// The device that is named where a user has none. Others ask for the whole list anyway.
const NO_DEVICE: &str = "-";

/// Marks a store as a copy: [`settle`] has to be called before it serves.
///
/// # Errors
/// Faults only.
pub fn mark(store: &Store) -> Reply<()> {
    let mark = |tx: &mut Tx| {
        tx.put(&FACTS, (MARK.to_owned(),), &String::new());
        Ok(())
    };
    store.write_here(mark).map(drop)
}

/// Is it marked?
///
/// # Errors
/// Faults only.
pub fn is_marked(store: &Store) -> Reply<bool> {
    store.read_here(|view| view.has(&FACTS, (MARK.to_owned(),)))
}

/// Does what a copy needs: see the module. Nobody else may have the store open. Blocks.
///
/// # Errors
/// Faults only.
pub fn settle(store: &Store) -> Reply<()> {
    mark(store)?;
    leap(store)?;
    while in_portion(store, drop_one_time_keys)? {}
    in_turn(store, |tx, after| {
        let rows: Vec<((User, String, String), FallbackKey)> =
            tx.everything(&FALLBACK_KEYS, after, ROWS_AT_ONCE)?;
        let last = rows.last().map(|(key, _)| key.clone());
        for (key, fallback) in rows.into_iter().filter(|(_, fallback)| !fallback.used) {
            tx.put(&FALLBACK_KEYS, key, &FallbackKey { used: true, ..fallback });
        }
        Ok(last)
    })?;
    in_turn(store, |tx, after| {
        let rows: Vec<((String,), Destination)> =
            tx.everything(&DESTINATIONS, after, ROWS_AT_ONCE)?;
        let last = rows.last().map(|(key, _)| key.clone());
        for (key, row) in rows {
            let stream = other_than(tx, row.stream);
            tx.put(&DESTINATIONS, key, &Destination { stream, ..row });
        }
        Ok(last)
    })?;
    in_turn(store, |tx, after| {
        let rows: Vec<((String,), Queue)> =
            tx.everything(&APPSERVICE_QUEUES, after, ROWS_AT_ONCE)?;
        let last = rows.last().map(|(key, _)| key.clone());
        for (key, row) in rows.into_iter().filter(|(_, row)| row.stream != 0) {
            let stream = other_than(tx, row.stream);
            tx.put(&APPSERVICE_QUEUES, key, &Queue { stream, ..row });
        }
        Ok(last)
    })?;
    while in_portion(store, drop_remote_lists)? {}
    in_turn(store, |tx, after| {
        let rows: Vec<((User,), Account)> = tx.everything(&ACCOUNTS, after, ROWS_AT_ONCE)?;
        let last = rows.last().map(|(key, _)| *key);
        for ((user,), _) in rows.into_iter().filter(|(_, account)| !account.deactivated) {
            announce_anew(tx, user)?;
        }
        Ok(last)
    })?;
    let unmark = |tx: &mut Tx| {
        tx.delete(&FACTS, (MARK.to_owned(),));
        Ok(())
    };
    store.write_here(unmark).map(drop)
}

/// Goes through a keyspace, a portion in each transaction. The function gives the last key that it looked at.
fn in_turn<K: Clone + Send + 'static>(
    store: &Store,
    step: impl Fn(&mut Tx, Option<K>) -> Reply<Option<K>> + Send + Clone + 'static,
) -> Reply<()> {
    let mut after = None;
    loop {
        let (step, from) = (step.clone(), after.clone());
        after = store.write_here(move |tx| step(tx, from.clone()))?.value;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// One portion of what is deleted. Says whether there was any.
fn in_portion(store: &Store, step: fn(&mut Tx) -> Reply<bool>) -> Reply<bool> {
    Ok(store.write_here(step)?.value)
}

/// The position behind the leaps is what the next entry has.
fn leap(store: &Store) -> Reply<()> {
    let someone = store.read_here(|view| {
        let rows: Vec<((User,), Account)> = view.everything(&ACCOUNTS, None, 1)?;
        Ok(rows.into_iter().next().map(|((user,), _)| user))
    })?;
    // Without users nobody has a token, and no other server knows a list.
    let Some(user) = someone else { return Ok(()) };
    let leap = move |tx: &mut Tx| {
        for _ in 0..LEAPS {
            tx.leap();
            // Something that makes nobody do anything.
            tx.announce(Entry::Pushers { user });
        }
        Ok(())
    };
    store.write_here(leap).map(drop)
}

fn drop_one_time_keys(tx: &mut Tx) -> Reply<bool> {
    let rows: Vec<((User, String, String, u64), OneTimeKey)> =
        tx.everything(&ONE_TIME_KEYS, None, ROWS_AT_ONCE)?;
    let any = !rows.is_empty();
    for ((user, device, algorithm, order), key) in rows {
        // The original may have given it out: nobody is to have it again, even if it is uploaded again.
        device_keys::note_claimed(tx, user, &device, &algorithm, &key);
        tx.delete(&ONE_TIME_KEYS, (user, device, algorithm, order));
    }
    Ok(any)
}

fn drop_remote_lists(tx: &mut Tx) -> Reply<bool> {
    // Each has up to a thousand devices.
    const LISTS_AT_ONCE: usize = 50;
    let rows: Vec<((User,), RemoteList)> = tx.everything(&REMOTE_LISTS, None, LISTS_AT_ONCE)?;
    for ((user,), _) in &rows {
        remote_lists::forget(tx, *user)?;
    }
    Ok(!rows.is_empty())
}

fn other_than(tx: &Tx, old: u64) -> u64 {
    let new = u64::from_be_bytes(tx.random::<8>()) & STREAM_MASK | 1;
    if new == old { new ^ 2 } else { new }
}

/// Announces a device as changed after a change at a position at which there was none.
fn announce_anew(tx: &mut Tx, user: User) -> Reply<()> {
    let devices: Vec<((User, String), Device)> = tx.under(&DEVICES, (user,), 1)?;
    let device = devices.into_iter().next().map_or(NO_DEVICE.to_owned(), |((_, id), _)| id);
    let at = tx.announce(Entry::Devices { user });
    let before = device.clone();
    tx.put_at(&DEVICE_CHANGES, at, move |seq| ((user, Seq(seq.0.saturating_sub(1))), before));
    tx.put_at(&DEVICE_CHANGES, at, move |seq| ((user, seq), device));
    Ok(())
}
