//! What other servers may read (spec: Server-Server API, "Backfilling and retrieving missing events", "Retrieving
//! events", "Querying for information", "Public Room Directory", "Spaces", "OpenID", "Device Management", "Content
//! Repository"). One family of endpoints per file.

mod ancestors;
mod devices;
mod directory;
mod event;
mod media;
mod openid;
mod query;
mod state;

use crate::Routes;

pub(super) fn routes() -> Routes {
    Routes::default()
        .and(event::routes())
        .and(state::routes())
        .and(ancestors::routes())
        .and(directory::routes())
        .and(query::routes())
        .and(openid::routes())
        .and(devices::routes())
        .and(media::routes())
}
