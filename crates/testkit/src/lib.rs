//! Oracles and fixtures for tests: a small world of users and rooms over the memory engine, a naive model of what
//! each user may see of it, and a client that follows `/sync` as real ones do.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that fails ends the test, and that is its way to say so"
)]

mod client;
mod naive;
mod slider;
mod world;

pub use client::{Client, Filled, Known, Left, State, Taste};
pub use naive::{
    Naive, Unread, account_data, naive, notifies, read, receipts, stay, thread_name, unread,
};
pub use slider::{Seen, Slider, Wanted, Window, Wish};
pub use world::{Op, Sent, World};
