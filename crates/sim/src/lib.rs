//! The simulator: several servers in one process, with the real code from the HTTP door to the rows, on a virtual clock, a
//! virtual network and virtual disks. A seed decides everything that happens: what people do, what fails, and in which order
//! work is run; the same seed is the same run.
//!
//! After each run, what the servers promised is checked ([`promises`]): nothing acknowledged is lost, everybody was told
//! everything once and in order, nobody was told what the gate keeps from them, and servers in one room agree about it.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a simulation that cannot go on ends the test, and that is its way to say so"
)]

mod agreement;
mod dice;
mod disk;
mod ledger;
mod network;
mod person;
mod promises;
mod server;
mod trace;
mod watcher;
mod world;

pub use disk::Habits;
pub use network::Weather;
pub use world::{Outcome, Plan, run};
