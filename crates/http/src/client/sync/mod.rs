//! Reading rooms: /sync, messages, context, single events, relations, threads, previews, notifications. One endpoint, or one
//! tight family of them, per file.

mod by_time;
mod events;
mod initial_sync;
mod messages;
mod notifications;
mod relations;
mod search;
mod sleep;
mod sliding;
mod stream;

use crate::handler::Routes;

/// The routes of this area.
pub(crate) fn routes() -> Routes {
    Routes::default()
        .and(events::routes())
        .and(messages::routes())
        .and(relations::routes())
        .and(search::routes())
        .and(sliding::routes())
        .and(by_time::routes())
        .and(initial_sync::routes())
        .and(stream::routes())
        .and(notifications::routes())
}
