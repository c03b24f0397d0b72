//! Finding: messages by their words, people by their names.
//!
//! Both are derived from the log. People are rows of the store, kept by a follower. Messages are in an index of their
//! own beside the store ([`Messages`]): every process has one, it can be thrown away, and is then built again. What an
//! index finds is only a candidate: who searches sees it if the gate lets it through.
#![forbid(unsafe_code)]

mod indexed;
pub mod messages;
pub mod people;
#[cfg(test)]
mod tests;
pub mod words;

pub use messages::Messages;
