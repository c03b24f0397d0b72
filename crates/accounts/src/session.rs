//! Access tokens and refresh tokens (spec: Client-Server API, "Client authentication").
//!
//! A token is 256 unpredictable bits as text; the store holds only its SHA-256. Proving one costs two cache look-ups:
//! the token row and the account, each tagged with its owner, so that a logout, an expiry or a deactivation is seen by
//! the very next request.
//!
//! **Rotation.** A refresh token is exchanged for a new pair and stays valid until that pair is first used (by either
//! half): only then does the client prove that it received it. Then the old pair is spent. A spent refresh token that
//! comes again means that two parties hold it: all tokens of the device end.

use std::sync::Arc;

use base::{Error, Reply, UnixMs, User};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::OwnedUserId;
use sha2::{Digest as _, Sha256};
use store::{
    CacheSpace, Kind, Tx, View,
    schema::{
        ACCOUNTS, Account, REFRESH_TOKENS, RESTRAINTS, RefreshToken, Restraint, SEEN, Seen, TOKENS,
        TOKENS_OF, Token,
    },
    user,
};

/// How long an access token lives that was given out with a refresh token. Others live until logout: their client
/// could not renew them. Short, because such clients renew by themselves; not shorter, because each renewal is a
/// durable write.
pub const ACCESS_TOKEN_MS: u64 = 60 * 60 * 1_000;
/// How often the last use of a device is written down.
const SEEN_EVERY_MS: u64 = 5 * 60 * 1_000;
/// Characters kept of a `User-Agent`.
const AGENT_CHARS_MAX: usize = 255;
/// Tokens of one device: its pair, the pair before, and one spent; more can only be leftovers to delete.
pub(crate) const TOKENS_OF_DEVICE_MAX: usize = 1_000;

/// SHA-256 of a token: what the store knows of it.
pub type TokenHash = [u8; 32];

/// A proven caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Who.
    pub user: User,
    /// Who, in text.
    pub id: OwnedUserId,
    /// By which device.
    pub device: String,
    /// Is it a guest account?
    pub guest: bool,
    /// May it administer the server?
    pub admin: bool,
    /// What an administrator has forbidden it.
    pub restraint: Restraint,
    /// The hash of the token.
    pub token: TokenHash,
    /// The first use of a token that was made from a refresh token: whoever proves it has to write [`confirm`].
    pub confirm: bool,
}

static PROVEN: CacheSpace = CacheSpace { tag: 40, owned: Some(Kind::Devices) };
static ACCOUNT: CacheSpace = CacheSpace { tag: 41, owned: Some(Kind::Account) };

struct Proven {
    hash: TokenHash,
    token: Token,
}

/// The hash of a token.
#[must_use]
pub fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// A fresh token with the prefix that says what it is for.
pub(crate) fn fresh_token(tx: &Tx, prefix: &str) -> String {
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(tx.random::<32>()))
}

fn row(hash: &TokenHash) -> (u64, [u8; 24]) {
    let (head, tail) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    (u64::from_be_bytes(*head), tail.try_into().unwrap_or([0; 24]))
}

fn cache_id(hash: &TokenHash) -> u128 {
    let (low, rest) = row(hash);
    let high = rest.first_chunk::<8>().map_or(0, |half| u64::from_be_bytes(*half));
    u128::from(high) << 64 | u128::from(low)
}

/// Who speaks by this token?
///
/// # Errors
/// 401 `M_UNKNOWN_TOKEN`, with `soft_logout` if the token was right once and has expired.
pub fn prove(view: &View, token: &str) -> Reply<Session> {
    prove_hash(view, hash(token))
}

/// Who speaks by the token with this hash?
///
/// # Errors
/// As [`prove`].
pub fn prove_hash(view: &View, hash: TokenHash) -> Reply<Session> {
    let proven = view.cached(&PROVEN, cache_id(&hash), |view| {
        let token = view.get(&TOKENS, row(&hash))?.ok_or_else(unknown)?;
        let bytes = size_of::<Proven>() + token.device.len();
        Ok((Proven { hash, token }, bytes))
    })?;
    // The cache knows a token by half of its hash.
    if proven.hash != hash {
        return Err(unknown());
    }
    let token = &proven.token;
    if token.expires.is_some_and(|end| end <= view.now()) {
        return Err(expired());
    }
    let known = known(view, token.user)?;
    let account = known.account.as_ref().filter(|account| !account.deactivated);
    let account = account.ok_or_else(unknown)?;
    Ok(Session {
        user: token.user,
        id: user::id(view, token.user)?,
        device: token.device.clone(),
        guest: account.guest,
        admin: account.admin,
        restraint: known.restraint,
        token: hash,
        confirm: token.made_from.is_some(),
    })
}

/// What is known of a user of this server.
struct Known {
    /// `None`: they have no account here.
    account: Option<Account>,
    restraint: Restraint,
}

/// From the cache.
fn known(view: &View, user: User) -> Reply<Arc<Known>> {
    view.cached(&ACCOUNT, u128::from(user.0), |view| {
        let account = view.get(&ACCOUNTS, (user,))?;
        let restraint = view.get(&RESTRAINTS, (user,))?.unwrap_or_default();
        Ok((Known { account, restraint }, size_of::<Known>() + 100))
    })
}

/// A local account, from the cache. `None`: the user has none here.
///
/// # Errors
/// Faults only.
pub fn account(view: &View, user: User) -> Reply<Option<Account>> {
    Ok(known(view, user)?.account.clone())
}

/// The refusal of everything but logging out (spec: "Account locking").
#[must_use]
pub fn locked() -> Error {
    Error::refusal(401, "M_USER_LOCKED", "This account has been locked.")
        .with("soft_logout", true)
        .into()
}

/// Refuses who is locked.
pub(crate) fn check_unlocked(view: &View, user: User) -> Reply<()> {
    if known(view, user)?.restraint.locked { Err(locked()) } else { Ok(()) }
}

fn unknown() -> Error {
    Error::refused(401, "M_UNKNOWN_TOKEN", "Unknown access token.")
}

fn expired() -> Error {
    Error::refusal(401, "M_UNKNOWN_TOKEN", "The access token has expired.")
        .with("soft_logout", true)
        .into()
}

/// What a client is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The access token.
    pub access: String,
    /// The refresh token, if the client wanted one.
    pub refresh: Option<String>,
    /// How long the access token lives, in milliseconds; `None`: until logout.
    pub expires_in_ms: Option<u64>,
}

/// Makes tokens for a device.
pub(crate) fn issue(tx: &mut Tx, user: User, device: &str, refreshable: bool) -> Pair {
    if refreshable {
        return issue_pair(tx, user, device, None).0;
    }
    let access = fresh_token(tx, "alt");
    let token = Token { user, device: device.to_owned(), expires: None, made_from: None };
    put_access(tx, &hash(&access), &token);
    Pair { access, refresh: None, expires_in_ms: None }
}

fn issue_pair(
    tx: &mut Tx,
    user: User,
    device: &str,
    made_from: Option<TokenHash>,
) -> (Pair, TokenHash) {
    let (access, refresh) = (fresh_token(tx, "alt"), fresh_token(tx, "alr"));
    let (access_hash, refresh_hash) = (hash(&access), hash(&refresh));
    let expires = Some(UnixMs(tx.now().0.saturating_add(ACCESS_TOKEN_MS)));
    put_access(tx, &access_hash, &Token { user, device: device.to_owned(), expires, made_from });
    let row = RefreshToken {
        user,
        device: device.to_owned(),
        access: access_hash,
        made_from,
        next: None,
        spent: false,
    };
    tx.put(&REFRESH_TOKENS, (refresh_hash,), &row);
    tx.put(&TOKENS_OF, (user, device.to_owned(), refresh_hash), &vec![REFRESH]);
    let pair = Pair { access, refresh: Some(refresh), expires_in_ms: Some(ACCESS_TOKEN_MS) };
    (pair, refresh_hash)
}

const ACCESS: u8 = 0;
const REFRESH: u8 = 1;

fn put_access(tx: &mut Tx, hash: &TokenHash, token: &Token) {
    tx.put(&TOKENS, row(hash), token);
    tx.put(&TOKENS_OF, (token.user, token.device.clone(), *hash), &vec![ACCESS]);
}

fn drop_access(tx: &mut Tx, user: User, device: &str, hash: TokenHash) {
    tx.delete(&TOKENS, row(&hash));
    tx.delete(&TOKENS_OF, (user, device.to_owned(), hash));
}

fn drop_refresh(tx: &mut Tx, user: User, device: &str, hash: TokenHash) {
    tx.delete(&REFRESH_TOKENS, (hash,));
    tx.delete(&TOKENS_OF, (user, device.to_owned(), hash));
}

/// Takes note of the first use of an access token that was made from a refresh token: the pair before it is spent.
///
/// # Errors
/// Faults only.
pub fn confirm(tx: &mut Tx, token: TokenHash) -> Reply<()> {
    let Some(mut access) = tx.get(&TOKENS, row(&token))? else { return Ok(()) };
    let Some(before) = access.made_from.take() else { return Ok(()) };
    tx.put(&TOKENS, row(&token), &access);
    spend(tx, before)
}

/// The pair of this refresh token has been replaced by one that is in use.
fn spend(tx: &mut Tx, hash: TokenHash) -> Reply<()> {
    let Some(mut refresh) = tx.get(&REFRESH_TOKENS, (hash,))? else { return Ok(()) };
    if refresh.spent {
        return Ok(());
    }
    drop_access(tx, refresh.user, &refresh.device, refresh.access);
    if let Some(older) = refresh.made_from.take() {
        drop_refresh(tx, refresh.user, &refresh.device, older);
    }
    refresh.spent = true;
    tx.put(&REFRESH_TOKENS, (hash,), &refresh);
    Ok(())
}

/// What an exchange came to. A reply and not a refusal, because ending all tokens of a device is a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Refreshed {
    /// A new pair.
    Pair(Pair),
    /// The token was used before; all tokens of its device are ended now.
    Reused,
}

/// Exchanges a refresh token for a new pair (spec: POST /refresh).
///
/// # Errors
/// 401 `M_UNKNOWN_TOKEN` if it is none of ours; 401 `M_USER_LOCKED`.
pub fn refresh(tx: &mut Tx, token: &str) -> Reply<Refreshed> {
    let old_hash = hash(token);
    let unknown = || Error::refused(401, "M_UNKNOWN_TOKEN", "Unknown refresh token.");
    let old = tx.get(&REFRESH_TOKENS, (old_hash,))?.ok_or_else(unknown)?;
    if old.spent {
        end_tokens(tx, old.user, &old.device, None)?;
        return Ok(Refreshed::Reused);
    }
    if known(tx, old.user)?.account.as_ref().is_none_or(|account| account.deactivated) {
        return Err(unknown());
    }
    check_unlocked(tx, old.user)?;
    // Using a refresh token proves, like using its access token, that the client has received both.
    confirm(tx, old.access)?;
    // The client asks again: it has not received the pair that this one was exchanged for.
    if let Some(lost_hash) = old.next
        && let Some(lost) = tx.get(&REFRESH_TOKENS, (lost_hash,))?
    {
        drop_access(tx, lost.user, &lost.device, lost.access);
        drop_refresh(tx, lost.user, &lost.device, lost_hash);
    }
    let (pair, next) = issue_pair(tx, old.user, &old.device, Some(old_hash));
    // Read again: `confirm` may have spent what this token was made from.
    if let Some(mut old) = tx.get(&REFRESH_TOKENS, (old_hash,))? {
        old.next = Some(next);
        tx.put(&REFRESH_TOKENS, (old_hash,), &old);
    }
    Ok(Refreshed::Pair(pair))
}

/// The refusal for [`Refreshed::Reused`]: the device's keys are still good, its tokens are not.
#[must_use]
pub fn reused() -> Error {
    Error::refusal(401, "M_UNKNOWN_TOKEN", "The refresh token was used before. Log in again.")
        .with("soft_logout", true)
        .into()
}

/// Ends all tokens of a device but `except` and the refresh token it came with.
pub(crate) fn end_tokens(
    tx: &mut Tx,
    user: User,
    device: &str,
    except: Option<TokenHash>,
) -> Reply<()> {
    let of_device: Vec<((User, String, TokenHash), Vec<u8>)> =
        tx.under(&TOKENS_OF, (user, device.to_owned()), TOKENS_OF_DEVICE_MAX)?;
    for ((_, _, hash), kind) in of_device {
        if kind == [ACCESS] {
            if Some(hash) != except {
                drop_access(tx, user, device, hash);
            }
        } else {
            let row = tx.get(&REFRESH_TOKENS, (hash,))?;
            if except.is_none() || row.is_none_or(|row| Some(row.access) != except) {
                drop_refresh(tx, user, device, hash);
            }
        }
    }
    Ok(())
}

/// Is it time to write down that a device is in use? Cheap enough to ask for every request.
///
/// # Errors
/// Faults only.
pub fn wants_note(view: &View, user: User, device: &str) -> Reply<bool> {
    let seen = view.get(&SEEN, (user, device.to_owned()))?;
    Ok(seen.is_none_or(|seen| view.now().0.saturating_sub(seen.at.0) >= SEEN_EVERY_MS))
}

/// Writes down that a device is in use, from where and by what. Does nothing for a device that is gone.
///
/// # Errors
/// Faults only.
pub fn note(tx: &mut Tx, user: User, device: &str, ip: &str, agent: &str) -> Reply<()> {
    let key = (user, device.to_owned());
    if tx.has(&store::schema::DEVICES, key.clone())? && wants_note(tx, user, device)? {
        let agent = agent.chars().take(AGENT_CHARS_MAX).collect();
        tx.put(&SEEN, key, &Seen { at: tx.now(), ip: ip.to_owned(), agent });
    }
    Ok(())
}
