//! What authorises what, among state events: for state resolution.

use base::Event;
use serde::{Deserialize, Serialize};

use super::{EVENT_TREE, ORDER_TREE};
use crate::{
    keyspace::{Keyspace, Owned},
    state::Slot,
    value::stored,
};

/// What authorises a state event.
pub static AUTHORITIES: Keyspace<(Event,), Authority> =
    Keyspace::new(EVENT_TREE, 35, "authorities", Owned::Nobody);
/// State events by each event that authorises them (but the create event, which authorises all), with the place that they have in states.
pub static CITATIONS: Keyspace<(Event, Event), Slot> =
    Keyspace::new(ORDER_TREE, 36, "citations", Owned::Nobody);

/// See [`AUTHORITIES`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Authority {
    /// Its `auth_events`, in their order.
    pub auth: Vec<Event>,
    /// One more than the largest rank of these, 0 without any. Unlike the depth it is not claimed by anybody.
    pub rank: u64,
    /// It was rejected on receipt.
    pub rejected: bool,
}

stored!(Authority);
