//! The one door in: HTTP on TCP and unix sockets, with or without TLS.
//!
//! A request is routed by path and method, its caller is proven, its body is parsed into the endpoint's type, the
//! endpoint's function runs in one of three shapes ([`Routes`]), and what it returns is rendered. Endpoints know
//! nothing of sockets, and nothing below this crate knows of HTTP.
//!
//! What must hold: any input gets an answer with the spec's error code at bounded cost; no panic leaves a request;
//! a fault is logged once, with an incident id that the caller sees too; no secret reaches a log.
#![forbid(unsafe_code)]

mod answer;
mod asked;
mod body;
mod call;
pub mod client;
pub mod federation;
mod finder;
mod guests;
mod handler;
mod limits;
mod local;
mod masquerade;
mod metrics;
mod outside;
mod page;
mod proof;
mod rendezvous;
mod restraint;
mod router;
mod seen;
mod server;
mod stall;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod turns;

pub use answer::{Answer, Json, Raw, Response};
pub use asked::Asked;
pub use body::{Body, Upload};
pub use call::Resources;
pub use finder::Finder;
pub use handler::{Anyone, Around, Auth, Caller, Origin, Proven, Routes, Who};
pub use local::Local;
pub use outside::{
    ClientInfo, Outside, Registration, RegistrationMode, Settings, Stop, Support, Turn, lane,
};
pub use rendezvous::Rendezvous;
pub use server::{Bind, Bound, Listener, Reload, bind};
pub use tls::Tls;
