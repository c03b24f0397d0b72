//! Who may register: registration tokens (spec: Client-Server API, "Token-authenticated registration") and the shared
//! secret, by which a script that knows it makes accounts.

use base::{Error, Reply, UnixMs};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use store::{
    Tx, View,
    schema::{NONCES, REGISTRATION_TOKENS, RegistrationToken},
};
use subtle::ConstantTimeEq as _;

use crate::{
    expiry::{self, Kept},
    session::fresh_token,
    text::{LOWER, from_hex, random_name},
};

/// A registration token has at most this many characters (spec).
const TOKEN_CHARS_MAX: usize = 64;
/// Of a token that we make: 24 of 26 letters and more are more than 100 bits.
const TOKEN_CHARS: usize = 24;
/// How long a nonce may be used: a script uses it at once.
const NONCE_MS: u64 = 60 * 1_000;

/// Is this registration token valid: the configured one, or one that an administrator made?
///
/// # Errors
/// Faults only.
pub fn token_is_valid(view: &View, token: &str, configured: Option<&str>) -> Reply<bool> {
    if is_configured(token, configured) {
        return Ok(true);
    }
    Ok(row(view, token)?.is_some_and(|row| is_usable(&row, view.now())))
}

fn is_configured(token: &str, configured: Option<&str>) -> bool {
    configured.is_some_and(|known| bool::from(known.as_bytes().ct_eq(token.as_bytes())))
}

fn row(view: &View, token: &str) -> Reply<Option<RegistrationToken>> {
    if !is_token(token) {
        return Ok(None);
    }
    view.get(&REGISTRATION_TOKENS, (token.to_owned(),))
}

fn is_token(token: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
    token.len() <= TOKEN_CHARS_MAX && token.chars().all(plain)
}

fn is_usable(row: &RegistrationToken, now: UnixMs) -> bool {
    row.expires.is_none_or(|end| now < end) && row.uses_allowed.is_none_or(|max| row.used < max)
}

/// Counts a use of a token. `false`: it is no longer valid.
pub(crate) fn use_token(tx: &mut Tx, token: &str, configured: Option<&str>) -> Reply<bool> {
    if is_configured(token, configured) {
        return Ok(true);
    }
    match row(tx, token)? {
        Some(mut row) if is_usable(&row, tx.now()) => {
            row.used = row.used.saturating_add(1);
            tx.put(&REGISTRATION_TOKENS, (token.to_owned(),), &row);
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// A registration token as an administrator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// How it stands.
    pub row: RegistrationToken,
}

/// Makes a registration token: the given one, or one that nobody guesses.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for one that is no token (spec: at most 64 of A-Z, a-z, 0-9 and ._~-), or is there already.
pub fn create_token(
    tx: &mut Tx,
    token: Option<&str>,
    uses_allowed: Option<u64>,
    expires: Option<UnixMs>,
) -> Reply<String> {
    let token = match token {
        Some(token) => token.to_owned(),
        None => random_name::<TOKEN_CHARS>(tx, LOWER),
    };
    if token.is_empty() || !is_token(&token) {
        let why = "A registration token has 1 to 64 characters of A-Z, a-z, 0-9 and ._~-";
        return Err(Error::invalid_param(why));
    }
    if tx.has(&REGISTRATION_TOKENS, (token.clone(),))? {
        return Err(Error::invalid_param("There is such a registration token already."));
    }
    let row = RegistrationToken { uses_allowed, used: 0, expires };
    tx.put(&REGISTRATION_TOKENS, (token.clone(),), &row);
    Ok(token)
}

/// The registration tokens that administrators made, at most `most` of those that follow `after`.
///
/// # Errors
/// Faults only.
pub fn tokens(view: &View, after: Option<&str>, most: usize) -> Reply<Vec<Issued>> {
    let after = after.map(|token| (token.to_owned(),));
    let rows = view.everything(&REGISTRATION_TOKENS, after, most)?;
    Ok(rows.into_iter().map(|((token,), row)| Issued { token, row }).collect())
}

/// Ends a registration token.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn revoke_token(tx: &mut Tx, token: &str) -> Reply<()> {
    if row(tx, token)?.is_none() {
        return Err(Error::not_found("There is no such registration token."));
    }
    tx.delete(&REGISTRATION_TOKENS, (token.to_owned(),));
    Ok(())
}

/// A fresh single-use number for a registration by shared secret.
///
/// # Errors
/// Faults only.
pub fn nonce(tx: &mut Tx) -> Reply<String> {
    let nonce = fresh_token(tx, "aln");
    let end = UnixMs(tx.now().0.saturating_add(NONCE_MS));
    expiry::until(tx, end, Kept::Nonce, &nonce)?;
    tx.put(&NONCES, (nonce.clone(),), &end);
    Ok(nonce)
}

/// A request to register by shared secret.
#[derive(Clone, Debug)]
pub struct Vouched<'a> {
    /// From [`nonce`].
    pub nonce: &'a str,
    /// The name.
    pub username: &'a str,
    /// In clear.
    pub password: &'a str,
    /// May it administer the server?
    pub admin: bool,
    /// A kind of account. None is known, but it is part of what is signed.
    pub user_type: Option<&'a str>,
    /// HMAC-SHA1 over `nonce NUL username NUL password NUL admin|notadmin [NUL user_type]`, in hex.
    pub mac: &'a str,
}

/// Does whoever asks know the secret, and is the nonce still good?
///
/// # Errors
/// 400 `M_UNKNOWN` for a nonce that is not ours or was used; 403 `M_FORBIDDEN` for a wrong MAC.
pub fn check_vouched(view: &View, secret: &str, asked: &Vouched<'_>) -> Reply<()> {
    check_nonce(view, asked.nonce)?;
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .map_err(|e| Error::fault(format!("shared secret: {e}")))?;
    let role = if asked.admin { "admin" } else { "notadmin" };
    let parts = [asked.nonce, asked.username, asked.password, role];
    for (place, part) in parts.into_iter().chain(asked.user_type).enumerate() {
        if place > 0 {
            mac.update(b"\0");
        }
        mac.update(part.as_bytes());
    }
    let wrong = || Error::forbidden("HMAC incorrect");
    let given = from_hex(asked.mac).ok_or_else(wrong)?;
    // Compares in constant time.
    mac.verify_slice(&given).map_err(|_| wrong())
}

fn check_nonce(view: &View, nonce: &str) -> Reply<()> {
    let end = match nonce.len() {
        1..=TOKEN_CHARS_MAX => view.get(&NONCES, (nonce.to_owned(),))?,
        _ => None,
    };
    match end.filter(|end| view.now() < *end) {
        Some(_) => Ok(()),
        None => Err(Error::refused(400, "M_UNKNOWN", "unrecognised nonce")),
    }
}

/// Uses a nonce up, in the transaction that makes the account.
///
/// # Errors
/// 400 `M_UNKNOWN` if someone was faster.
pub fn use_nonce(tx: &mut Tx, nonce: &str) -> Reply<()> {
    check_nonce(tx, nonce)?;
    tx.delete(&NONCES, (nonce.to_owned(),));
    Ok(())
}
