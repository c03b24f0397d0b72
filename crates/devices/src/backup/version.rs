//! `room_keys/version`: the backups themselves.

use base::{Error, Reply, User};
use protocol::json::is_object;
use store::{
    Tx, View,
    key_backup::{BACKUPS_MAX, leave},
    schema::{BACKUPS, BACKUPS_MADE, Backup},
};

use super::{State, current, known, number, unknown};

/// The name of an algorithm, bytes.
const ALGORITHM_BYTES_MAX: usize = base::limits::ID_BYTES_MAX;
/// `auth_data`: a key and the signatures of a user's devices on it.
const AUTH_DATA_BYTES_MAX: usize = 64 << 10;

/// What a client says of a backup.
#[derive(Clone, Debug)]
pub struct Described {
    /// How its keys are encrypted.
    pub algorithm: String,
    /// JSON object text, kept as it is.
    pub auth_data: String,
}

/// A backup as its owner sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Names it.
    pub version: String,
    /// What was said of it.
    pub described: Described,
    /// What is in it.
    pub state: State,
}

fn shown(number: u64, backup: Backup) -> Shown {
    let state = State::of(&backup);
    let Backup { algorithm, auth_data, .. } = backup;
    Shown { version: number.to_string(), described: Described { algorithm, auth_data }, state }
}

fn check(described: &Described) -> Reply<()> {
    if described.algorithm.len() > ALGORITHM_BYTES_MAX {
        return Err(Error::invalid_param("the name of the algorithm is too long"));
    }
    if !is_object(described.auth_data.as_bytes()) {
        return Err(Error::bad_json("`auth_data` is an object"));
    }
    if described.auth_data.len() > AUTH_DATA_BYTES_MAX {
        let text = format!("`auth_data` has at most {AUTH_DATA_BYTES_MAX} bytes");
        return Err(Error::too_large(text));
    }
    Ok(())
}

/// Makes a backup, which takes keys from now on, and returns its version.
///
/// # Errors
/// 400 `M_BAD_JSON` for `auth_data` that is not an object, 400 `M_INVALID_PARAM` for a long name or too many backups, 413
/// `M_TOO_LARGE`.
pub fn create(tx: &mut Tx, user: User, described: Described) -> Reply<String> {
    check(&described)?;
    let there: Vec<((User, u64), Backup)> = tx.under(&BACKUPS, (user,), BACKUPS_MAX)?;
    if there.len() >= BACKUPS_MAX {
        let text = format!("you have {BACKUPS_MAX} backups: delete one first");
        return Err(Error::invalid_param(text));
    }
    let number = tx.get(&BACKUPS_MADE, (user,))?.unwrap_or(0).saturating_add(1);
    let Described { algorithm, auth_data } = described;
    let backup = Backup { algorithm, auth_data, shelf: tx.fresh()?, count: 0, etag: 0 };
    tx.put(&BACKUPS_MADE, (user,), &number);
    tx.put(&BACKUPS, (user, number), &backup);
    Ok(number.to_string())
}

/// The backup that takes keys.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn latest(view: &View, user: User) -> Reply<Shown> {
    let missing = || Error::not_found("There is no backup.");
    current(view, user)?.map(|(number, backup)| shown(number, backup)).ok_or_else(missing)
}

/// A backup.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn get(view: &View, user: User, version: &str) -> Reply<Shown> {
    known(view, user, version).map(|(number, backup)| shown(number, backup))
}

/// Replaces the `auth_data` of a backup. `named`: the version in the body, if it has one.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 400 `M_INVALID_PARAM` for another algorithm or another version; what [`create`] refuses.
pub fn update(
    tx: &mut Tx,
    user: User,
    version: &str,
    named: Option<&str>,
    described: Described,
) -> Reply<()> {
    check(&described)?;
    if named.is_some_and(|named| named != version) {
        return Err(Error::invalid_param("the versions in path and body differ"));
    }
    let (number, mut backup) = known(tx, user, version)?;
    if backup.algorithm != described.algorithm {
        return Err(Error::invalid_param("the algorithm of a backup does not change"));
    }
    backup.auth_data = described.auth_data;
    tx.put(&BACKUPS, (user, number), &backup);
    Ok(())
}

/// Deletes a backup with its keys. One that was deleted before is passed over.
///
/// # Errors
/// 404 `M_NOT_FOUND` if there never was such a backup.
pub fn delete(tx: &mut Tx, user: User, version: &str) -> Reply<()> {
    let number = number(version).ok_or_else(unknown)?;
    if let Some(backup) = tx.get(&BACKUPS, (user, number))? {
        tx.delete(&BACKUPS, (user, number));
        leave(tx, user, backup.shelf);
        return Ok(());
    }
    let made = tx.get(&BACKUPS_MADE, (user,))?.unwrap_or(0);
    if (1..=made).contains(&number) { Ok(()) } else { Err(unknown()) }
}
