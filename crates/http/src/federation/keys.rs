//! Who this server is (spec: Server-Server API, "Server implementation", "Retrieving server keys").

use crate::Routes;

pub(super) fn routes() -> Routes {
    Routes::default()
}
