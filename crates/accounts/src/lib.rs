//! Accounts: who someone is, by which device and token they speak, and what the server keeps for them.
//!
//! Plain functions over the store (spec: Client-Server API, "Client authentication" to "OpenID", "Profiles",
//! "Client Config", "Room Tagging", "Push Rules", "Filtering"). Passwords are argon2id; tokens lie in the store only as
//! SHA-256. Nothing here knows of HTTP; the rim proves callers with [`session::prove`].
#![forbid(unsafe_code)]

pub mod account;
pub mod account_data;
mod address;
pub mod dehydrated;
pub mod device;
mod expiry;
pub mod filter;
pub mod login_token;
pub mod openid;
mod password;
pub mod profile;
pub mod push_rules;
pub mod pusher;
pub mod registration;
pub mod session;
pub mod successor;
pub mod tag;
#[cfg(test)]
mod tests;
mod text;
pub mod threepid;
pub mod uia;
mod validation;

pub use account::create;
pub use password::{Cost, Hasher, PASSWORD_BYTES_MAX};
