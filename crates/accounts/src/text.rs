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

/// Bytes as hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes behind hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
