//! What those who run a server are told by its users (reports), what they decide about accounts (suspension, locks), and
//! what they tell everyone (notices).
#![forbid(unsafe_code)]

pub mod notice;
pub mod report;
pub mod restraint;
#[cfg(test)]
mod testing;
