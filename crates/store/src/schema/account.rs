//! Accounts, devices, tokens, and what clients keep for them.

use base::{Event, Room, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{MISC_TREE, NAME_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// User id → number, for every user we know of.
pub static USER_IDS: Keyspace<(String,), User> =
    Keyspace::new(NAME_TREE, 1, "user_ids", Owned::Each);
/// Number → user id.
pub static USERS: Keyspace<(User,), String> = Keyspace::new(USER_TREE, 1, "users", Owned::Nobody);

/// Local accounts.
pub static ACCOUNTS: Keyspace<(User,), Account> =
    Keyspace::new(USER_TREE, 2, "accounts", Owned::First(Kind::Account));
/// Devices.
pub static DEVICES: Keyspace<(User, String), Device> =
    Keyspace::new(USER_TREE, 3, "devices", Owned::First(Kind::Devices));
/// When and from where a device was last used. Written rarely; nobody decides anything by it.
pub static SEEN: Keyspace<(User, String), Seen> =
    Keyspace::new(USER_TREE, 4, "seen", Owned::Nobody);
/// Access tokens by SHA-256, cut in two: the first eight bytes name the owner of the row, so that a proven token can
/// be cached and a logout takes effect at once.
pub static TOKENS: Keyspace<(u64, [u8; 24]), Token> =
    Keyspace::new(USER_TREE, 5, "tokens", Owned::First(Kind::Devices));
/// Refresh tokens by SHA-256.
pub static REFRESH_TOKENS: Keyspace<([u8; 32],), RefreshToken> =
    Keyspace::new(USER_TREE, 6, "refresh_tokens", Owned::Each);
/// The tokens of a device: (user, device, hash) → 0 access | 1 refresh.
pub static TOKENS_OF: Keyspace<(User, String, [u8; 32]), Vec<u8>> =
    Keyspace::new(USER_TREE, 7, "tokens_of", Owned::First(Kind::Devices));
/// Profile fields, each value as JSON text.
pub static PROFILES: Keyspace<(User, String), String> =
    Keyspace::new(USER_TREE, 8, "profiles", Owned::First(Kind::Profile));
/// Account data: (user, room or 0 for global, type).
pub static ACCOUNT_DATA: Keyspace<(User, Room, String), AccountData> =
    Keyspace::new(USER_TREE, 9, "account_data", Owned::First(Kind::AccountData));
/// Filters, by a hash of what they say; the value is JSON text.
pub static FILTERS: Keyspace<(User, u64), String> =
    Keyspace::new(USER_TREE, 10, "filters", Owned::Nobody);
/// Requests already carried out: (user, hash of device, path and transaction id) → what was answered.
pub static TXNS: Keyspace<(User, [u8; 16]), Done> =
    Keyspace::new(USER_TREE, 11, "txns", Owned::Each);
/// OpenID tokens by SHA-256. Rows whose time is over are swept when a user asks for another.
pub static OPENID_TOKENS: Keyspace<([u8; 32],), OpenId> =
    Keyspace::new(USER_TREE, 12, "openid_tokens", Owned::Each);
/// A user's OpenID tokens by when they end: (user, end, SHA-256).
pub static OPENID_TOKENS_OF: Keyspace<(User, UnixMs, [u8; 32]), ()> =
    Keyspace::new(USER_TREE, 13, "openid_tokens_of", Owned::Nobody);
/// The user directory: a word of somebody's name or id, folded → whose.
pub static PEOPLE: Keyspace<(String, User), ()> =
    Keyspace::new(NAME_TREE, 90, "people", Owned::Nobody);
/// The words under which somebody is in the user directory, with spaces between.
pub static PEOPLE_WORDS: Keyspace<(User,), String> =
    Keyspace::new(USER_TREE, 91, "people_words", Owned::Each);

/// Ongoing user-interactive authentication, by session id.
pub static UIA: Keyspace<(String,), UiaSession> = Keyspace::new(MISC_TREE, 10, "uia", Owned::Each);
/// Registration tokens that an administrator made, by token.
pub static REGISTRATION_TOKENS: Keyspace<(String,), RegistrationToken> =
    Keyspace::new(MISC_TREE, 11, "registration_tokens", Owned::Each);
/// Single-use numbers of the shared-secret registration → when they end.
pub static NONCES: Keyspace<(String,), UnixMs> =
    Keyspace::new(MISC_TREE, 12, "nonces", Owned::Each);
/// What is only kept for a while, by the end of its time: (end, kind, key of the row). Swept by whoever adds to it.
pub static EXPIRIES: Keyspace<(UnixMs, u8, String), ()> =
    Keyspace::new(MISC_TREE, 13, "expiries", Owned::Nobody);

/// See [`ACCOUNTS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// argon2id, in PHC text form; none: cannot log in by password.
    pub password: Option<String>,
    /// When it was made.
    pub created: UnixMs,
    /// May administer the server.
    pub admin: bool,
    /// A guest.
    pub guest: bool,
    /// Deactivated for good.
    pub deactivated: bool,
    /// Asked to be forgotten.
    pub erased: bool,
}

/// See [`DEVICES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Shown to people.
    pub display_name: Option<String>,
    /// When it was made.
    pub created: UnixMs,
}

/// See [`SEEN`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: UnixMs,
    /// From which address.
    pub ip: String,
    /// `User-Agent`.
    pub agent: String,
}

/// See [`TOKENS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Whose.
    pub user: User,
    /// Which device's.
    pub device: String,
    /// When it ends; `None`: never.
    pub expires: Option<UnixMs>,
    /// The refresh token that it was made from, if this one was not used yet: the first use spends that token.
    pub made_from: Option<[u8; 32]>,
}

/// See [`REFRESH_TOKENS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshToken {
    /// Whose.
    pub user: User,
    /// Which device's.
    pub device: String,
    /// The access token that was handed out with it.
    pub access: [u8; 32],
    /// The refresh token that it was made from.
    pub made_from: Option<[u8; 32]>,
    /// The refresh token that it was exchanged for. It stays valid until that one, or its access token, is used.
    pub next: Option<[u8; 32]>,
    /// It is used up. Kept until its successor is used up too, to notice a thief (or a victim) who comes second.
    pub spent: bool,
}

/// See [`ACCOUNT_DATA`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountData {
    /// JSON object text.
    pub content: String,
    /// When it was last set. Found by the log, too; this serves clients that were away for long.
    pub changed: UnixMs,
}

/// See [`TXNS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Done {
    /// An event was sent.
    Event(Event),
    /// Something with an empty answer.
    Nothing,
}

/// See [`OPENID_TOKENS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenId {
    /// Whose.
    pub user: User,
    /// When it ends.
    pub expires: UnixMs,
}

/// See [`UIA`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UiaSession {
    /// When it was begun.
    pub created: UnixMs,
    /// A hash of the request it was begun for: it serves no other.
    pub request: [u8; 16],
    /// Stages done.
    pub completed: Vec<String>,
    /// The registration token given.
    pub registration_token: Option<String>,
}

/// See [`REGISTRATION_TOKENS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegistrationToken {
    /// How often it may be used; `None`: without end.
    pub uses_allowed: Option<u64>,
    /// How often it was.
    pub used: u64,
    /// When it ends.
    pub expires: Option<UnixMs>,
}

stored!(
    Account,
    Device,
    Seen,
    Token,
    RefreshToken,
    AccountData,
    Done,
    OpenId,
    UiaSession,
    RegistrationToken
);
