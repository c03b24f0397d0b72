//! Rooms: making them, entering and leaving them, and everything that is written into them.
//!
//! One file per operation of the Client-Server API. Whatever becomes an event goes through [`append()`], which is the only
//! writer of events and their indexes; reading timelines is another crate's.
#![forbid(unsafe_code)]

pub mod acl;
pub mod alias;
mod append;
mod auth_chain;
mod authority;
pub mod ban;
mod chosen;
pub mod create;
pub mod delayed;
pub mod delayed_list;
mod delayed_rows;
pub mod directory;
pub mod elsewhere;
mod encryption;
pub mod explain;
pub mod forget;
mod ground;
pub mod guests;
pub mod handshake;
pub mod hierarchy;
pub mod invite;
pub mod join;
pub mod kick;
pub mod knock;
pub mod leave;
mod member_rows;
pub mod members;
mod membership;
pub mod notice;
mod once;
mod pending;
mod policy_server;
pub mod receipt;
mod record;
pub mod redact;
mod redaction;
mod relate;
pub mod remote;
pub mod resolve;
pub mod send;
pub mod snapshot;
pub mod state;
pub mod sticky;
pub mod summary;
mod suspended;
#[cfg(test)]
mod testing;
pub mod thread_subscription;
pub mod typing;
pub mod unban;
pub mod upgrade;

pub use append::{Appended, Manner, New, append, append_as, append_so, prepare};
pub use auth_chain::{AUTH_CHAIN_MAX, auth_chain};
pub use ground::power;
pub use membership::refresh_profile;
pub use once::once;

use base::{Error, Reply, Room};
use ruma::RoomId;
pub use store::Txn;
use store::{View, room};

/// The room of an id, for what only those in a room may do: who is not in it is not told whether there is one.
///
/// # Errors
/// 403 `M_FORBIDDEN` if there is no such room here.
pub fn room_of(view: &View, id: &RoomId) -> Reply<Room> {
    room::find(view, id)?.ok_or_else(not_in_room)
}

/// The room of an id, for what anyone may ask.
///
/// # Errors
/// 404 `M_NOT_FOUND` if there is no such room here.
pub fn known_room(view: &View, id: &RoomId) -> Reply<Room> {
    room::find(view, id)?.ok_or_else(|| Error::not_found("there is no such room here"))
}

fn not_in_room() -> Error {
    Error::forbidden("you are not in this room")
}
