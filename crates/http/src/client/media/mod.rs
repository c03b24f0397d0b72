//! Media: upload, download, thumbnails. One endpoint, or one tight family of them, per file.

use crate::handler::Routes;

/// The routes of this area.
pub(crate) fn routes() -> Routes {
    Routes::default()
}
