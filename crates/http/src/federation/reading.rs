//! What other servers may read (spec: Server-Server API, "Backfilling and retrieving missing events", "Retrieving events", "Queries", "Public room directory", "Spaces", "Device Management", "Content Repository").

use crate::Routes;

pub(super) fn routes() -> Routes {
    Routes::default()
}
