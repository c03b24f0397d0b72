//! Addresses of people outside Matrix (3PIDs), their validation, and tokens to log in with.

use base::{UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{MISC_TREE, NAME_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// The addresses of an account: (user, medium, address).
pub static THREEPIDS: Keyspace<(User, String, String), Threepid> =
    Keyspace::new(USER_TREE, 82, "threepids", Owned::First(Kind::Account));
/// Whose an address is: (medium, address) → the one account.
pub static THREEPID_OWNERS: Keyspace<(String, String), User> =
    Keyspace::new(NAME_TREE, 80, "threepid_owners", Owned::Each);
/// Validations under way, by session id.
pub static VALIDATIONS: Keyspace<(String,), Validation> =
    Keyspace::new(MISC_TREE, 81, "validations", Owned::Each);
/// The validation that a client began: hash of its secret, the address and the purpose → session id.
pub static VALIDATIONS_OF: Keyspace<([u8; 16],), String> =
    Keyspace::new(MISC_TREE, 82, "validations_of", Owned::Each);
/// What user-interactive authentication has proven of an address: UIA session id → what.
pub static UIA_THREEPIDS: Keyspace<(String,), UiaThreepid> =
    Keyspace::new(MISC_TREE, 84, "uia_threepids", Owned::Each);
/// Tokens for one login each, by SHA-256.
pub static LOGIN_TOKENS: Keyspace<([u8; 32],), LoginToken> =
    Keyspace::new(MISC_TREE, 83, "login_tokens", Owned::Each);

/// See [`THREEPIDS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threepid {
    /// When its owner proved that it is theirs.
    pub validated: UnixMs,
    /// When it was added to the account.
    pub added: UnixMs,
}

/// What a validation is for: it serves nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Registering.
    Register,
    /// Setting a new password.
    Password,
    /// Adding the address to an account.
    Add,
}

/// See [`VALIDATIONS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// What for.
    pub purpose: Purpose,
    /// `email`
    pub medium: String,
    /// The address, in the form in which addresses are compared.
    pub address: String,
    /// SHA-256 of the client's secret.
    pub client_secret: [u8; 32],
    /// SHA-256 of the token in the last letter.
    pub token: [u8; 32],
    /// The greatest `send_attempt` for which a letter was sent.
    pub attempt: u64,
    /// Where to go on afterwards.
    pub next_link: Option<String>,
    /// Wrong tokens given.
    pub wrong: u64,
    /// When it ends.
    pub expires: UnixMs,
    /// When the token came back.
    pub validated: Option<UnixMs>,
}

/// See [`UIA_THREEPIDS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UiaThreepid {
    /// The validation, which is used up together with the session.
    pub sid: String,
    /// The address.
    pub address: String,
    /// When it was validated.
    pub validated: UnixMs,
}

/// See [`LOGIN_TOKENS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginToken {
    /// Who logs in by it.
    pub user: User,
    /// When it ends.
    pub expires: UnixMs,
}

stored!(Threepid, Validation, UiaThreepid, LoginToken);
