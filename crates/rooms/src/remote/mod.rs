//! Events that other servers made: into the graph and the state of their rooms, by the checks on receipt of the
//! Server-Server API ("Checks performed on receipt of a PDU"). Format, signatures and hashes are checked before
//! (checks 1 to 3); what is here are the rules.

mod again;
mod complete;
mod enter;
mod heard;
mod judge;
mod learn;
mod parting;
mod past;
mod receive;
mod states;
#[cfg(test)]
mod tests;

use base::Event;
#[cfg(test)]
use protocol::Pdu;
use ruma::OwnedEventId;

pub use complete::complete;
pub use enter::enter;
pub use heard::{know, told};
pub use learn::learn;
pub use past::look_back;
pub use receive::{receive, receive_at, receive_signed};

/// What became of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has been here before.
    Known(Event),
    /// It is in its room's timeline now (or, where it is only learned, among the events that are known).
    Accepted(Event),
    /// The rules of the room now do not allow it: it is kept and not shown.
    SoftFailed(Event, String),
    /// The rules do not allow it: it is kept so that it is not asked for again.
    Rejected(Event, String),
    /// The room's policy server has to sign it, and was not asked ([`receive_signed`]).
    Unsigned,
    /// It cannot be judged before these are here.
    Missing(Missing),
}

/// Events that are not here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Missing {
    /// Named as `prev_events`, or here without the state around them.
    pub prev: Vec<OwnedEventId>,
    /// Named as `auth_events`.
    pub auth: Vec<OwnedEventId>,
}
