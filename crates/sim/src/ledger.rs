//! What people were told by servers, to be held against them.

use std::sync::Arc;

use parking_lot::Mutex;

/// A room that was made.
#[derive(Clone, Debug)]
pub(crate) struct RoomMade {
    /// Its id.
    pub(crate) id: String,
    /// Where it was made.
    pub(crate) server: usize,
}

/// An event that a server said it has taken.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// By whom, as an index of people.
    pub(crate) person: usize,
    /// Where.
    pub(crate) room: String,
    /// Which.
    pub(crate) event: String,
    /// What it says; empty for state.
    pub(crate) body: String,
}

/// Everything that was acknowledged.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Rooms, in the order in which they were made.
    pub(crate) rooms: Vec<RoomMade>,
    /// Events.
    pub(crate) events: Vec<Acknowledged>,
    /// Answers that no promise allows.
    pub(crate) wrong: Vec<String>,
}

/// A ledger that everyone writes to.
pub(crate) type Shared = Arc<Mutex<Ledger>>;
