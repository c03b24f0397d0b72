//! The Server-Server API: what other servers ask of this one (spec: Server-Server API).

use crate::Routes;

mod admission;
mod device_keys;
mod handshake;
mod keys;
mod reading;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod together;
mod transactions;

/// All endpoints of the Server-Server API.
#[must_use]
pub fn routes() -> Routes {
    keys::routes()
        .and(transactions::routes())
        .and(reading::routes())
        .and(device_keys::routes())
        .and(handshake::routes())
}
