//! Rooms: creating, membership, sending, state, aliases, directory. One endpoint, or one tight family of them, per file.

mod alias;
mod create;
mod delayed;
mod directory;
mod hierarchy;
mod join;
mod members;
mod membership;
mod mutual;
mod receipt;
mod redact;
mod send;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod thread_subscription;
mod typing;
mod upgrade;

use crate::handler::Routes;

/// The routes of this area.
pub(crate) fn routes() -> Routes {
    Routes::default()
        .and(create::routes())
        .and(join::routes())
        .and(membership::routes())
        .and(members::routes())
        .and(send::routes())
        .and(delayed::routes())
        .and(redact::routes())
        .and(state::routes())
        .and(alias::routes())
        .and(directory::routes())
        .and(receipt::routes())
        .and(typing::routes())
        .and(thread_subscription::routes())
        .and(upgrade::routes())
        .and(hierarchy::routes())
        .and(summary::routes())
        .and(mutual::routes())
}
