//! What every crate of the house knows: the integer ids, positions and clock values, the two kinds
//! of error, and the limits with their reasons. No I/O, no clock, no logging.
#![forbid(unsafe_code)]

mod error;
mod id;
pub mod limits;

pub use error::{Error, Fault, Refusal, Reply};
pub use id::{Epoch, Event, Room, Seq, UnixMs, User};
