//! Coming into rooms and leaving them, from elsewhere (spec: Server-Server API, "Joining Rooms", "Knocking upon a room",
//! "Inviting to a room", "Leaving Rooms", "Third-party invites"). One file per handshake.

mod invite;
mod join;
mod knock;
mod leave;
mod submission;
mod third_party;

use crate::Routes;

pub(super) fn routes() -> Routes {
    Routes::default()
        .and(join::routes())
        .and(leave::routes())
        .and(knock::routes())
        .and(invite::routes())
        .and(third_party::routes())
}
