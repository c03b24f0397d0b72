//! Addresses of people outside Matrix, today mail (spec: Client-Server API, "Adding Account Administrative Contact
//! Information", and `m.login.email.identity`): whose they are, and how their owners prove it.
//!
//! An address belongs to one account at most. A validation serves the one purpose it was begun for, is bound to a
//! secret of the client, ends after a day, and is used up by what it lets through. Of secrets and tokens the store holds
//! hashes only.

use base::{Error, Reply, UnixMs, User};
use store::{
    Tx, View,
    schema::{THREEPID_OWNERS, THREEPIDS, Threepid, VALIDATIONS, VALIDATIONS_OF, Validation},
};
use subtle::ConstantTimeEq as _;

use crate::{
    expiry::{self, Kept},
    pusher,
    session::{fresh_token, hash},
    validation::{drop_validation, key_of},
};

pub use crate::address::{EMAIL, canonical, owner};
pub use store::schema::{Purpose, UiaThreepid as Proven};

/// Addresses of one account.
const THREEPIDS_MAX: usize = 100;
/// How long a validation may take (spec: servers choose; letters may be read the next day).
const VALIDATION_MS: u64 = 24 * 60 * 60 * 1_000;
/// The spec's bound for client secrets and session ids.
const SECRET_CHARS_MAX: usize = 255;
/// Wrong tokens, then the validation ends. The token has 256 bits; this bounds the writes.
const WRONG_MAX: u64 = 20;
/// `next_link` is stored.
const LINK_BYTES_MAX: usize = 2_048;
/// Letters of one validation: whoever counts `send_attempt` up may not flood somebody's mailbox.
const LETTERS_MAX: u64 = 10;

/// An account's addresses: medium, address, when.
///
/// # Errors
/// Faults only.
pub fn list(view: &View, user: User) -> Reply<Vec<(String, String, Threepid)>> {
    let rows: Vec<((User, String, String), Threepid)> =
        view.under(&THREEPIDS, (user,), THREEPIDS_MAX)?;
    Ok(rows.into_iter().map(|((_, medium, address), row)| (medium, address, row)).collect())
}

/// The refusal for an address that belongs to another account.
#[must_use]
pub fn in_use() -> Error {
    Error::refused(400, "M_THREEPID_IN_USE", "This address belongs to another account.")
}

/// Gives an address to an account.
///
/// # Errors
/// 400 `M_THREEPID_IN_USE` if it is another's; 400 `M_INVALID_PARAM` if there are too many.
pub fn add(tx: &mut Tx, user: User, address: &str, validated: UnixMs) -> Reply<()> {
    match owner(tx, address)? {
        Some(owner) if owner == user => return Ok(()),
        Some(_) => return Err(in_use()),
        None => {}
    }
    if list(tx, user)?.len() >= THREEPIDS_MAX {
        return Err(Error::invalid_param(format!("At most {THREEPIDS_MAX} addresses.")));
    }
    let row = Threepid { validated, added: tx.now() };
    tx.put(&THREEPIDS, (user, EMAIL.to_owned(), address.to_owned()), &row);
    tx.put(&THREEPID_OWNERS, (EMAIL.to_owned(), address.to_owned()), &user);
    Ok(())
}

/// Takes an address from an account, with the pushers that write to it. Nothing if it is not the account's.
///
/// # Errors
/// Faults only.
pub fn remove(tx: &mut Tx, user: User, address: &str) -> Reply<()> {
    if owner(tx, address)? == Some(user) {
        tx.delete(&THREEPIDS, (user, EMAIL.to_owned(), address.to_owned()));
        tx.delete(&THREEPID_OWNERS, (EMAIL.to_owned(), address.to_owned()));
        pusher::end_of_address(tx, user, address)?;
    }
    Ok(())
}

/// Takes all of an account's addresses: they may serve for another one.
pub(crate) fn remove_all(tx: &mut Tx, user: User) -> Reply<()> {
    for (_, address, _) in list(tx, user)? {
        remove(tx, user, &address)?;
    }
    Ok(())
}

/// What a client asks for when it wants an address validated.
#[derive(Clone, Debug)]
pub struct Request {
    /// What for.
    pub purpose: Purpose,
    /// The address, [`canonical`].
    pub address: String,
    /// `client_secret`
    pub client_secret: String,
    /// `send_attempt`
    pub attempt: u64,
    /// `next_link`
    pub next_link: Option<String>,
}

/// A validation under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// Its session id.
    pub sid: String,
    /// The token to send; `None`: the last letter stands.
    pub token: Option<String>,
}

/// Refuses a client secret or session id of another form than the spec's.
fn check_secret(text: &str) -> Reply<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".=_-".contains(c);
    match !text.is_empty() && text.len() <= SECRET_CHARS_MAX && text.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::invalid_param(
            "A client_secret or sid has 1 to 255 of the characters 0-9a-zA-Z.=_-",
        )),
    }
}

/// Only these a browser may be led to.
fn check_link(link: &str) -> Reply<()> {
    let web = ["https://", "http://"].iter().any(|scheme| {
        link.strip_prefix(scheme)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '['))
    });
    match web && link.len() <= LINK_BYTES_MAX && link.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(Error::invalid_param("next_link has to be an http or https URL.")),
    }
}

/// Begins a validation, or finds the one that this client began. The same `send_attempt` twice sends one letter.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a bad secret or link; 429 `M_LIMIT_EXCEEDED` for too many letters.
pub fn begin(tx: &mut Tx, request: &Request) -> Reply<Begun> {
    check_secret(&request.client_secret)?;
    if let Some(link) = &request.next_link {
        check_link(link)?;
    }
    let of = key_of(&hash(&request.client_secret), &request.address, request.purpose);
    let known = tx.get(&VALIDATIONS_OF, (of,))?;
    let row = known.clone().map(|sid| tx.get(&VALIDATIONS, (sid,))).transpose()?.flatten();
    let row = row.filter(|row| tx.now() < row.expires);
    if let (Some(sid), Some(mut row)) = (known, row) {
        if request.attempt <= row.attempt {
            return Ok(Begun { sid, token: None });
        }
        if request.attempt > LETTERS_MAX {
            let text = "Too many letters to this address. Try again tomorrow.";
            return Err(Error::refused(429, "M_LIMIT_EXCEEDED", text));
        }
        let token = fresh_token(tx, "alv");
        row.attempt = request.attempt;
        row.token = hash(&token);
        row.next_link = request.next_link.clone();
        tx.put(&VALIDATIONS, (sid.clone(),), &row);
        return Ok(Begun { sid, token: Some(token) });
    }
    let (sid, token) = (fresh_token(tx, "als"), fresh_token(tx, "alv"));
    let row = Validation {
        purpose: request.purpose,
        medium: EMAIL.to_owned(),
        address: request.address.clone(),
        client_secret: hash(&request.client_secret),
        token: hash(&token),
        // A client that begins high still has its letters.
        attempt: request.attempt.min(1),
        next_link: request.next_link.clone(),
        wrong: 0,
        expires: UnixMs(tx.now().0.saturating_add(VALIDATION_MS)),
        validated: None,
    };
    expiry::until(tx, row.expires, Kept::Validation, &sid)?;
    tx.put(&VALIDATIONS, (sid.clone(),), &row);
    tx.put(&VALIDATIONS_OF, (of,), &sid);
    Ok(Begun { sid, token: Some(token) })
}

fn find(view: &View, sid: &str, client_secret: &str) -> Reply<Option<Validation>> {
    if check_secret(sid).is_err() || check_secret(client_secret).is_err() {
        return Ok(None);
    }
    let row = view.get(&VALIDATIONS, (sid.to_owned(),))?.filter(|row| view.now() < row.expires);
    let given = hash(client_secret);
    Ok(row.filter(|row| bool::from(row.client_secret.ct_eq(&given))))
}

fn no_session() -> Error {
    Error::refused(400, "M_NO_VALID_SESSION", "There is no such validation, or it has ended.")
}

/// What came of a token that someone brought back.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// The address is validated.
    Good {
        /// What for.
        purpose: Purpose,
        /// Where to go on.
        next_link: Option<String>,
    },
    /// It is not the token of the last letter. Not an error, because it is counted.
    Wrong,
}

/// Takes the token from the letter (spec: Identity Service API, POST /validate/email/submitToken).
///
/// # Errors
/// 400 `M_NO_VALID_SESSION`.
pub fn submit(tx: &mut Tx, sid: &str, client_secret: &str, token: &str) -> Reply<Submitted> {
    let mut row = find(tx, sid, client_secret)?.ok_or_else(no_session)?;
    let key = (sid.to_owned(),);
    if !bool::from(row.token.ct_eq(&hash(token))) {
        row.wrong = row.wrong.saturating_add(1);
        match row.wrong < WRONG_MAX {
            true => tx.put(&VALIDATIONS, key, &row),
            false => drop_validation(tx, sid)?,
        }
        return Ok(Submitted::Wrong);
    }
    if row.validated.is_none() {
        row.validated = Some(tx.now());
        tx.put(&VALIDATIONS, key, &row);
    }
    Ok(Submitted::Good { purpose: row.purpose, next_link: row.next_link })
}

/// The address of a validation that was carried through for this purpose.
///
/// # Errors
/// 400 `M_NO_VALID_SESSION`, 400 `M_SESSION_NOT_VALIDATED`.
pub fn proven(view: &View, sid: &str, client_secret: &str, purpose: Purpose) -> Reply<Proven> {
    let row = find(view, sid, client_secret)?.ok_or_else(no_session)?;
    let unproven = || {
        Error::refused(
            400,
            "M_SESSION_NOT_VALIDATED",
            "The link in the letter was not followed yet.",
        )
    };
    let at = row.validated.ok_or_else(unproven)?;
    if row.purpose != purpose {
        return Err(no_session());
    }
    Ok(Proven { sid: sid.to_owned(), address: row.address, validated: at })
}

/// Uses a proven address up, in the transaction that it lets through.
///
/// # Errors
/// 400 `M_NO_VALID_SESSION` if someone was faster.
pub fn spend(tx: &mut Tx, proven: &Proven) -> Reply<()> {
    if !tx.has(&VALIDATIONS, (proven.sid.clone(),))? {
        return Err(no_session());
    }
    drop_validation(tx, &proven.sid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_led_to_web_pages_only() {
        assert!(check_link("https://app.example.org/#/ok").is_ok());
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//x.org",
            "https://",
            "https:///x",
            "https://x y",
        ] {
            assert!(check_link(bad).is_err(), "{bad}");
        }
    }
}
