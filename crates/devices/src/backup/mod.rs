//! Backups of the keys of rooms (spec: Client-Server API, "Server-side key backups").
//!
//! Invariants: number of keys and etag stand in the backup's own row and change in the transaction that changes a key; a
//! version's number never comes twice; of two keys for one session the better one stays ([`rule`]). What deletes many keys
//! at once gives the backup another shelf and leaves the old one to be swept, so that no transaction is as large as a backup.

pub mod keys;
pub mod page;
mod rule;
pub mod version;

#[cfg(test)]
mod tests;

use base::{Error, Reply, User};
use store::{
    Direction, View,
    schema::{BACKUPS, BACKUPS_MADE, Backup},
};

/// Number of keys and etag: what every change of keys is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// How many keys there are.
    pub count: u64,
    /// Another one after every change.
    pub etag: String,
}

impl State {
    fn of(backup: &Backup) -> State {
        State { count: backup.count, etag: backup.etag.to_string() }
    }
}

/// A version's number, as it is written: without zeros in front.
fn number(version: &str) -> Option<u64> {
    version.parse().ok().filter(|number: &u64| number.to_string() == version)
}

fn unknown() -> Error {
    Error::not_found("There is no such backup.")
}

/// A backup that is there.
fn known(view: &View, user: User, version: &str) -> Reply<(u64, Backup)> {
    let number = number(version).ok_or_else(unknown)?;
    let backup = view.get(&BACKUPS, (user, number))?.ok_or_else(unknown)?;
    Ok((number, backup))
}

/// The backup that takes keys: the newest one that is there.
fn current(view: &View, user: User) -> Reply<Option<(u64, Backup)>> {
    let newest: Vec<((User, u64), Backup)> =
        view.range(&BACKUPS, (user, 0), (user, u64::MAX), Direction::Backward, 1)?;
    Ok(newest.into_iter().next().map(|((_, number), backup)| (number, backup)))
}

/// The backup that takes keys, if that is the one that is meant.
fn current_as(view: &View, user: User, version: &str) -> Reply<(u64, Backup)> {
    let meant = number(version).ok_or_else(unknown)?;
    let (number, backup) = current(view, user)?.ok_or_else(unknown)?;
    if meant == number {
        return Ok((number, backup));
    }
    if meant == 0 || meant > view.get(&BACKUPS_MADE, (user,))?.unwrap_or(0) {
        return Err(unknown());
    }
    let wrong = Error::refusal(403, "M_WRONG_ROOM_KEYS_VERSION", "There is a newer backup.");
    Err(wrong.with("current_version", number.to_string()).into())
}
