//! What rooms need to be shared with other servers: who is in them, where their graph has holes, what was judged of
//! what came in, and what came in and waits.

use std::collections::BTreeSet;

use base::{Event, Room, Seq, UnixMs};
use serde::{Deserialize, Serialize};

use super::{EVENT_TREE, MISC_TREE, ORDER_TREE, ROOM_TREE};
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    state::Root,
    value::stored,
};

/// How many users of each server are joined to a room: room, server name → users. No row: none. Whoever writes
/// [`super::MEMBERS`] writes it too: see [`crate::room::set_member`].
pub static SERVERS: Keyspace<(Room, String), u64> =
    Keyspace::new(ROOM_TREE, 100, "servers", Owned::First(Kind::Servers));
/// The room's state around an event of its timeline, where that is not the state around the event in the graph: there
/// the graph has several ends.
pub static TURNS: Keyspace<(Room, Seq), Turn> =
    Keyspace::new(ORDER_TREE, 101, "turns", Owned::Nobody);
/// Events that others name as `prev_events` and that are not here: room, event id → one that names it.
pub static GAPS: Keyspace<(Room, String), Event> =
    Keyspace::new(ROOM_TREE, 102, "gaps", Owned::Each);
/// Rooms of whose state this server does not have all yet (spec: `omit_members` of `send_join`).
pub static PARTIAL: Keyspace<(Room,), Partial> =
    Keyspace::new(ROOM_TREE, 103, "partial", Owned::Each);
/// Where the log told last that a room of which members were missing is whole.
pub static COMPLETED: Keyspace<(Room,), Seq> =
    Keyspace::new(ROOM_TREE, 109, "completed", Owned::Nobody);
/// The join by which this server last came into a room from outside. What lies no deeper in the graph did not follow it.
pub static ENTERED: Keyspace<(Room,), Event> =
    Keyspace::new(ROOM_TREE, 108, "entered", Owned::Each);
/// Stays in a room that ended before all of its state was known: what came meanwhile stands on part of that.
pub static UNFINISHED: Keyspace<(Room,), Unfinished> =
    Keyspace::new(ROOM_TREE, 112, "unfinished", Owned::Each);
/// Events that came in while members of their room were missing, and are not shown → the join of that stay. They are judged again
/// when all of the room's state is known.
pub static ASIDE: Keyspace<(Room, Event), Event> =
    Keyspace::new(ROOM_TREE, 113, "aside", Owned::Each);
/// What was found of an event that is not in its room's timeline because of it.
pub static JUDGED: Keyspace<(Event,), Judged> =
    Keyspace::new(EVENT_TREE, 104, "judged", Owned::Each);
/// Events that came in and wait until those before them are here, in the order of their arrival: room, the server that
/// sent them, number.
pub static STAGED: Keyspace<(Room, String, u64), Staged> =
    Keyspace::new(MISC_TREE, 105, "staged", Owned::Each);
/// Redactions of events that are not here: room, id of the event → the redaction.
pub static REDACTIONS_TO_COME: Keyspace<(Room, String), Event> =
    Keyspace::new(ROOM_TREE, 107, "redactions_to_come", Owned::Each);
/// The last transactions of each server, by its name.
pub static RECEIVED: Keyspace<(String,), Received> =
    Keyspace::new(MISC_TREE, 106, "received", Owned::Each);

/// See [`TURNS`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The room's state before the event came.
    pub before: Root,
    /// The room's state when it had come.
    pub after: Root,
}

/// See [`PARTIAL`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    /// The join by which this server came in: the state before it is what is missing.
    pub join: Event,
    /// The server that let it in.
    pub via: String,
    /// The servers that are in the room, as that one says.
    pub servers: BTreeSet<String>,
}

/// See [`UNFINISHED`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The join with which the first of them began.
    pub from: Event,
    /// The join with which the stay after the last of them began.
    pub to: Event,
}

/// Why an event is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Rejected: its auth events do not allow it, or cannot be its auth events.
    AuthEvents,
    /// Rejected: the room's state before it does not allow it.
    State,
    /// Soft-failed: the room's state when it came did not allow it.
    Now,
    /// Soft-failed: the room's policy server has not signed it.
    Policy,
}

/// See [`JUDGED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What judged it.
    pub why: Why,
    /// The rule, as a person would say it.
    pub rule: String,
}

impl Judged {
    /// Is it rejected (and not only soft-failed)?
    #[must_use]
    pub fn rejected(&self) -> bool {
        matches!(self.why, Why::AuthEvents | Why::State)
    }
}

/// See [`STAGED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// When it came.
    pub at: UnixMs,
    /// The event in federation format; signatures and hashes hold.
    pub pdu: String,
}

/// See [`RECEIVED`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The newest last.
    pub transactions: Vec<Transaction>,
}

/// A transaction that was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// As its server named it.
    pub id: String,
    /// Its events, with the reason where one was not taken.
    pub events: Vec<(String, Option<String>)>,
}

stored!(Turn, Partial, Unfinished, Judged, Staged, Received);
