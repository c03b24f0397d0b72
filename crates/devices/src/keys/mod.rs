//! Keys for end-to-end encryption (spec: Client-Server API, "Key Distribution", "Cross-signing").
//!
//! Invariants: a one-time key is deleted in the commit that answers with it, and the keys of one user's devices have one
//! owner, so that it is given out at most once; whoever signs is checked before a signature is kept, and what is kept is
//! shown only to those whom the specification lets see it.

pub mod claim;
pub mod cross_signing;
pub mod query;
pub mod signatures;
mod signed;
pub mod upload;

#[cfg(test)]
mod tests;
