//! How backups of keys end (spec: Client-Server API, "Server-side key backups"). Their keys may be many: they are left on
//! their shelf, of which nobody knows any longer, and swept by whoever follows [`Entry::ShelfGone`].

use base::{Reply, User};

use crate::{
    log::Entry,
    schema::{BACKED_UP_KEYS, BACKUPS, BackedUpKey, Backup},
    view::Tx,
};

/// Backups of one user. Clients delete the one before when they make one.
pub const BACKUPS_MAX: usize = 1_000;

/// Asks for the keys on a shelf to be swept, which no backup has from this transaction on.
pub fn leave(tx: &mut Tx, user: User, shelf: u64) {
    tx.announce(Entry::ShelfGone { user, shelf });
}

/// Deletes at most `most` keys of a shelf that nobody has. Returns whether more may be there.
///
/// # Errors
/// Faults only.
pub fn sweep(tx: &mut Tx, user: User, shelf: u64, most: usize) -> Reply<bool> {
    let rows: Vec<((User, u64, String, String), BackedUpKey)> =
        tx.under(&BACKED_UP_KEYS, (user, shelf), most)?;
    let full = rows.len() == most;
    for (key, _) in rows {
        tx.delete(&BACKED_UP_KEYS, key);
    }
    Ok(full)
}

/// Deletes the backups of a user whose account ends.
///
/// # Errors
/// Faults only.
pub fn end_of_account(tx: &mut Tx, user: User) -> Reply<()> {
    let backups: Vec<((User, u64), Backup)> = tx.under(&BACKUPS, (user,), BACKUPS_MAX)?;
    for (key, backup) in backups {
        tx.delete(&BACKUPS, key);
        leave(tx, user, backup.shelf);
    }
    Ok(())
}
