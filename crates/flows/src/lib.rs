//! Work of several steps that needs the world: it reads and writes the store in short transactions and asks others
//! through `egress` between them. Handlers that wait (`flow`) call it; it holds no snapshot while it waits.
#![forbid(unsafe_code)]

pub mod appservice;
pub mod device_keys;
pub mod device_lists;
pub mod inbound;
pub mod journey;
pub mod peers;
pub mod policy_server;
pub mod preview;
#[cfg(test)]
mod testing;
