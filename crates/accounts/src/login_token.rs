//! Tokens to log in with (spec: Client-Server API, POST /login/get_token, and `m.login.token`): one login each, within
//! two minutes. The store holds hashes only.

use base::{Error, Reply, UnixMs, User};
use store::{
    Tx,
    schema::{LOGIN_TOKENS, LoginToken},
};

use crate::{
    expiry::{self, Kept},
    session::{account, fresh_token, hash},
    text::to_hex,
};

/// How long a token may be used (the spec's recommendation).
pub const LOGIN_TOKEN_MS: u64 = 120_000;

/// A fresh token by which another client may log in as this user.
///
/// # Errors
/// Faults only.
pub fn issue(tx: &mut Tx, user: User) -> Reply<String> {
    let token = fresh_token(tx, "all");
    let expires = UnixMs(tx.now().0.saturating_add(LOGIN_TOKEN_MS));
    let hash = hash(&token);
    expiry::until(tx, expires, Kept::LoginToken, &to_hex(&hash))?;
    tx.put(&LOGIN_TOKENS, (hash,), &LoginToken { user, expires });
    Ok(token)
}

/// Uses a token up: who logs in by it?
///
/// # Errors
/// 403 `M_FORBIDDEN` for one that is unknown, used, or over.
pub fn redeem(tx: &mut Tx, token: &str) -> Reply<User> {
    let wrong = || Error::forbidden("This login token is not valid.");
    let key = (hash(token),);
    let row = tx.get(&LOGIN_TOKENS, key)?.filter(|row| tx.now() < row.expires).ok_or_else(wrong)?;
    tx.delete(&LOGIN_TOKENS, key);
    account(tx, row.user)?.filter(|account| !account.deactivated).ok_or_else(wrong)?;
    Ok(row.user)
}
