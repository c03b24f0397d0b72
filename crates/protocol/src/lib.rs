#![forbid(unsafe_code)]
//! Pure Matrix: events, room versions, authorisation, visibility, push rules and filters.
//!
//! Nothing here knows the time, does input or output, waits, or logs: every function is a function
//! of its arguments, so that each verdict can be recomputed offline and tested in microseconds.
//! ruma gives identifiers, canonical JSON, redaction rules and ed25519; the rules themselves are
//! here, by the number they have in the spec. All room versions of the spec, 1 to 12, are supported;
//! what differs between them is asked of ruma's rule flags, so that a version is data.

pub mod acl;
pub mod appservice;
pub mod auth;
pub mod encryption;
pub mod filter;
pub mod invite;
pub mod json;
pub mod key;
pub mod pdu;
pub mod policy_server;
pub mod power;
pub mod push;
pub mod relation;
pub mod request;
pub mod resolve;
pub mod room;
pub mod server_keys;
pub mod signed;
pub mod transfer;
pub mod version;
pub mod visible;

pub use auth::{Rule, Verdict, authorize, select_auth_events};
pub use key::SigningKey;
pub use pdu::{Draft, Pdu};
pub use version::rules;
