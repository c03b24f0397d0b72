//! Whose devices changed, as far as a viewer is concerned (spec: "End-to-End Encryption", `device_lists`).

use std::collections::BTreeSet;

use base::{Reply, Room, User};
use ruma::OwnedUserId;
use store::{View, room, user};

/// Of users whose devices changed, the viewer and those who share a room with them.
pub(crate) fn shared(
    view: &View,
    viewer: User,
    changed: &BTreeSet<User>,
) -> Reply<Vec<OwnedUserId>> {
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let mine: BTreeSet<Room> = room::joined_rooms(view, viewer)?.iter().copied().collect();
    let mut shared = Vec::new();
    for other in changed {
        let shares = *other == viewer
            || room::joined_rooms(view, *other)?.iter().any(|room| mine.contains(room));
        if shares {
            shared.push(user::id(view, *other)?);
        }
    }
    Ok(shared)
}
