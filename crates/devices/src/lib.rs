//! Devices as senders and receivers: what one device sends to another, past all rooms.
//!
//! Sending is here; what waits for a device is read with `store::inbox`, by whoever delivers it (`/sync`, sliding sync,
//! application services).
#![forbid(unsafe_code)]

pub mod backup;
pub mod keys;
pub mod lists;
pub mod published;
pub mod to_device;
