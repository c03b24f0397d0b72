//! OpenID tokens: they prove to a third party who someone is, and nothing else (spec: Client-Server API, "OpenID").

use base::{Reply, UnixMs, User};
use ruma::OwnedUserId;
use store::{
    Direction, Tx, View,
    schema::{OPENID_TOKENS, OPENID_TOKENS_OF, OpenId},
    user,
};

use crate::session;

/// How long a token may be exchanged: a widget does so at once.
pub const OPENID_TOKEN_MS: u64 = 60 * 60 * 1_000;
/// Valid tokens of one user; the next ends the oldest. Clients ask for one for each widget they open.
const TOKENS_MAX: usize = 100;

/// A fresh token for a user.
///
/// # Errors
/// Faults only.
pub fn issue(tx: &mut Tx, user: User) -> Reply<String> {
    sweep(tx, user)?;
    let token = session::fresh_token(tx, "alo");
    let hash = session::hash(&token);
    let expires = UnixMs(tx.now().0.saturating_add(OPENID_TOKEN_MS));
    tx.put(&OPENID_TOKENS, (hash,), &OpenId { user, expires });
    tx.put(&OPENID_TOKENS_OF, (user, expires, hash), &());
    Ok(token)
}

type Row = ((User, UnixMs, [u8; 32]), ());

fn sweep(tx: &mut Tx, user: User) -> Reply<()> {
    let all: Vec<Row> = tx.range(
        &OPENID_TOKENS_OF,
        (user, UnixMs(0), [0; 32]),
        (user, UnixMs(u64::MAX), [0xFF; 32]),
        Direction::Forward,
        TOKENS_MAX,
    )?;
    let full = all.len() == TOKENS_MAX;
    let now = tx.now();
    for (place, (key, ())) in all.into_iter().enumerate() {
        if key.1 <= now || (full && place == 0) {
            tx.delete(&OPENID_TOKENS, (key.2,));
            tx.delete(&OPENID_TOKENS_OF, key);
        }
    }
    Ok(())
}

/// Ends all tokens of a user.
pub(crate) fn end_all(tx: &mut Tx, user: User) -> Reply<()> {
    let all: Vec<Row> = tx.under(&OPENID_TOKENS_OF, (user,), TOKENS_MAX + 1)?;
    for (key, ()) in all {
        tx.delete(&OPENID_TOKENS, (key.2,));
        tx.delete(&OPENID_TOKENS_OF, key);
    }
    Ok(())
}

/// Who is behind a token (spec: Server-Server API, GET /openid/userinfo)? `None`: it is none, or too old.
///
/// # Errors
/// Faults only.
pub fn holder(view: &View, token: &str) -> Reply<Option<OwnedUserId>> {
    let row = view.get(&OPENID_TOKENS, (session::hash(token),))?;
    match row.filter(|row| row.expires > view.now()) {
        Some(row) => user::id(view, row.user).map(Some),
        None => Ok(None),
    }
}
