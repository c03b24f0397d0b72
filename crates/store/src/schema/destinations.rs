//! How far other servers have been told, and what waits for them.

use base::{Event, Seq, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{EVENT_TREE, MISC_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Owned},
    value::stored,
};

/// How far each other server, by its name, has been told. Written by the one who sends: see the follower `federation`.
pub static DESTINATIONS: Keyspace<(String,), Destination> =
    Keyspace::new(MISC_TREE, 115, "destinations", Owned::Each);
/// Messages for devices that a server has not acknowledged: server, position of the announcement → `content` of the
/// `m.direct_to_device`.
pub static OUTBOX: Keyspace<(String, Seq), String> =
    Keyspace::new(MISC_TREE, 116, "outbox", Owned::Nobody);
/// Where the log stood when a day (since 1970) was first seen by the one who sends: by that it is known how old a position is.
pub static DAYS: Keyspace<(u64,), Seq> = Keyspace::new(MISC_TREE, 161, "days", Owned::Nobody);
/// Which devices of a user of this server changed, by the position of the announcement.
pub static DEVICE_CHANGES: Keyspace<(User, Seq), String> =
    Keyspace::new(USER_TREE, 117, "device_changes", Owned::Nobody);
/// Events of users of other servers that this server tells the others of, because it let them in.
pub static SPOKEN_FOR: Keyspace<(Event,), ()> =
    Keyspace::new(EVENT_TREE, 118, "spoken_for", Owned::Nobody);
/// Messages for devices that came from a server lately: server, place by hash → the `message_id`s of the last few there, the
/// newest last.
pub static HEARD: Keyspace<(String, u64), Heard> =
    Keyspace::new(MISC_TREE, 120, "heard_lately", Owned::Each);

/// See [`HEARD`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// The newest last.
    pub ids: Vec<String>,
}

/// See [`DESTINATIONS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    /// Begins each transaction id, so that those of a store that was made anew are not taken for older ones.
    pub stream: u64,
    /// The number of the next transaction.
    pub next: u64,
    /// All that concerns it up to here has been acknowledged. If nothing is being sent, that goes as far as the log
    /// was handed out, too.
    pub upto: Seq,
    /// What is being sent: the same until it is acknowledged. The log is read on behind it.
    pub sending: Option<Parcel>,
    /// How often in a row it was not delivered.
    pub failures: u32,
    /// When to try again.
    pub retry: UnixMs,
}

/// A transaction that has not been acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    /// Its number.
    pub number: u64,
    /// When it began (`origin_server_ts`).
    pub at: UnixMs,
    /// When it is acknowledged, everything up to here is.
    pub upto: Seq,
    /// Its events.
    pub events: Vec<Event>,
    /// Its EDUs, as JSON text. Those that live in memory only are not kept.
    pub edus: Vec<String>,
    /// The places of its messages in [`OUTBOX`].
    pub messages: Vec<Seq>,
}

stored!(Destination, Heard);
