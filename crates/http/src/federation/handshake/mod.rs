//! Coming into rooms and leaving them, from elsewhere (spec: Server-Server API, "Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving Rooms", "Third-party invites").

use crate::Routes;

pub(super) fn routes() -> Routes {
    Routes::default()
}
