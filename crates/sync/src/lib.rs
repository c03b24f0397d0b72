//! Reading: what a client sees of its rooms. `/sync`, paging, single events, relations and threads.
//!
//! Everything a client can see is a position on the log. Nothing here writes, and nothing is kept per token: an answer
//! is a function of the view, the caller and the token. Every event passes the one [`gate`].
#![forbid(unsafe_code)]

pub mod access;
pub mod ancestors;
pub mod appservice;
pub mod by_time;
mod changes;
pub mod client_event;
pub mod context;
pub mod device_lists;
pub mod events;
pub mod filter;
pub mod gate;
pub mod heroes;
pub mod initial_sync;
pub mod json;
pub mod messages;
pub mod notifications;
mod own_data;
mod receipts;
pub mod relations;
pub mod search;
pub mod server_gate;
pub mod sliding;
pub mod state;
pub mod sticky;
pub mod thread_subscriptions;
pub mod threads;
mod timeline;
pub mod token;
mod told;
pub mod unread;
pub mod v3;

pub use token::Token;
