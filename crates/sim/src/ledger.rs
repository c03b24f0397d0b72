//! What people were told by servers, to be held against them.

use std::sync::Arc;

use parking_lot::Mutex;

/// A room that was made.
#[derive(Clone, Debug)]
pub struct RoomMade {
    /// Its id.
    pub id: String,
    /// Where it was made.
    pub server: usize,
}

/// An event that a server said it has taken.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// By whom, as an index of people.
    pub person: usize,
    /// Where.
    pub room: String,
    /// Which.
    pub event: String,
    /// What it says; empty for state.
    pub body: String,
}

/// Everything that was acknowledged.
#[derive(Default)]
pub struct Ledger {
    /// Rooms, in the order in which they were made.
    pub rooms: Vec<RoomMade>,
    /// Events.
    pub events: Vec<Acknowledged>,
    /// Answers that no promise allows.
    pub wrong: Vec<String>,
}

/// A ledger that everyone writes to.
pub type Shared = Arc<Mutex<Ledger>>;
