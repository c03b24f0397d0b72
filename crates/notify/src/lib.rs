//! What is told outside of `/sync`: the words to push gateways and in letters. Who is told, and when, is decided by
//! the follower that calls this; nothing here reads a room or sends anything.
#![forbid(unsafe_code)]

pub mod digest;
pub mod gateway;
pub mod letter;
pub mod unsubscribe;
pub mod validation;
