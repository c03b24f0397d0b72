//! Application services: how far each has been told, and whom they answer for.

use base::{Event, Seq, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{MISC_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Owned},
    value::stored,
};

/// How far each application service, by its id, has been told of the log.
pub static APPSERVICE_QUEUES: Keyspace<(String,), Queue> =
    Keyspace::new(MISC_TREE, 70, "appservice_queues", Owned::Each);
/// Users of this server without an account whom an application service answers for: they may be invited.
pub static GHOSTS: Keyspace<(User,), ()> = Keyspace::new(USER_TREE, 71, "ghosts", Owned::Each);

/// See [`APPSERVICE_QUEUES`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Begins each transaction id, so that those of a store that was made anew are not taken for older ones.
    pub stream: u64,
    /// The number of the next transaction.
    pub next: u64,
    /// All that concerns it up to here has been acknowledged.
    pub upto: Seq,
    /// What is being sent: the same until it is acknowledged.
    pub sending: Option<Sending>,
    /// The process that sends.
    pub holder: u64,
    /// Until when no other may. Does not count where there is one process only.
    pub until: UnixMs,
}

/// A transaction that has not been acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sending {
    /// Its number.
    pub number: u64,
    /// When it is acknowledged, everything up to here is.
    pub upto: Seq,
    /// Its events. What is ephemeral is not kept.
    pub events: Vec<Event>,
}

stored!(Queue);
