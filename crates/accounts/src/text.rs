//! What text may be that comes from outside and is stored: bounded, and such that it fits a key.

use base::{Error, Reply};
use store::Tx;

/// Names that end up in keys (device ids, types of account data, tags, profile keys): what the spec allows
/// identifiers, and far below what a key of the store may hold.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Refuses names that are empty, too long, or hold control characters.
pub(crate) fn check_name(what: &str, name: &str) -> Reply<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid_param(format!(
            "{what} must have 1 to {NAME_BYTES_MAX} bytes and no control characters."
        )));
    }
    Ok(())
}

/// Refuses texts that are longer than `chars_max` characters.
pub(crate) fn check_length(what: &str, text: &str, chars_max: usize) -> Reply<()> {
    match text.chars().nth(chars_max) {
        Some(_) => {
            Err(Error::invalid_param(format!("{what} may have at most {chars_max} characters.")))
        }
        None => Ok(()),
    }
}

/// `N` unpredictable characters out of 32, five bits each.
pub(crate) fn random_name<const N: usize>(tx: &Tx, alphabet: &[u8; 32]) -> String {
    let pick = |byte: u8| alphabet.get(usize::from(byte % 32)).map_or('x', |c| char::from(*c));
    tx.random::<N>().into_iter().map(pick).collect()
}

/// For device ids, as other servers make them.
pub(crate) const UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// For localparts.
pub(crate) const LOWER: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
