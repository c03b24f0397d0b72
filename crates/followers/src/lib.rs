//! What reacts to the log: each follower in a file of its own. The store's runner gives them entries one by one and commits
//! what they write together with how far they have come.
#![forbid(unsafe_code)]

pub mod appservice;
pub mod delayed;
mod departure;
pub mod federation;
mod guests;
pub mod inboxes;
mod messages;
mod notices;
mod people;
mod profile;
pub mod push;
mod successor;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use store::follow::Follower;

pub use messages::index_messages;

/// Every follower; the binary runs each of them.
#[must_use]
pub fn all() -> Vec<Arc<dyn Follower>> {
    vec![
        Arc::new(profile::Profile),
        Arc::new(departure::Departure),
        Arc::new(people::People),
        Arc::new(guests::Guests),
        Arc::new(successor::Successor),
        Arc::new(notices::Notices),
        Arc::new(sweep::Sweep),
    ]
}

/// Rooms written to in one transaction. A follower with more to do says so on the log and goes on from there, so that
/// a user of thousands of rooms neither holds up others nor collides with every one of those rooms at once.
const ROOMS_AT_ONCE: usize = 32;
