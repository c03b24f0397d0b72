//! What other servers send (spec: Server-Server API, "Transactions").

use crate::Routes;

pub(super) fn routes() -> Routes {
    Routes::default()
}
