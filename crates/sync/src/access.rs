//! Who may read a room at all, and up to where.

use base::{Error, Reply, Room, Seq, User};
use ruma::RoomId;
use store::{View, event, room, schema::Standing, state::Root};

/// How somebody may read a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The room.
    pub room: Room,
    /// The last position that can hold anything for them.
    pub upto: Seq,
}

/// Joined: everything. Left: up to the leave. Never there: only world-readable rooms.
///
/// # Errors
/// 403 `M_FORBIDDEN`, for rooms that do not exist too.
pub fn of(view: &View, room_id: &RoomId, viewer: User) -> Reply<Access> {
    let forbidden = || Error::forbidden("you are not in this room");
    let room = room::find(view, room_id)?.ok_or_else(forbidden)?;
    let member = room::member(view, room, viewer)?;
    match member {
        Some(m) if m.standing == Standing::Join => return Ok(Access { room, upto: view.head() }),
        Some(m) => {
            // Whoever was in the room reads what they could see then, also when invited again.
            let gone = matches!(m.standing, Standing::Leave | Standing::Ban);
            let past = room::membership(view, viewer, room)?;
            if past.is_some_and(|past| !past.forgotten && (gone || past.was_joined)) {
                let left = event::order(view, m.event)?.unwrap_or_default();
                let open = room::world_readable(view, room)?;
                return Ok(Access { room, upto: if open { view.head() } else { left } });
            }
        }
        _ => {}
    }
    if room::world_readable(view, room)? {
        return Ok(Access { room, upto: view.head() });
    }
    Err(forbidden())
}

/// The room's state as somebody may read it: the current one for who is joined, that of their leaving for who was, and the
/// current one for anyone if the room's history is world-readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateAccess {
    /// The room.
    pub room: Room,
    /// The last position whose state they may read.
    pub upto: Seq,
    /// The state there.
    pub root: Root,
}

/// See [`StateAccess`].
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in the room, or has forgotten it; for rooms that do not exist too.
pub fn of_state(view: &View, room_id: &RoomId, viewer: User) -> Reply<StateAccess> {
    let forbidden = || Error::forbidden("you are not in this room");
    let room = room::find(view, room_id)?.ok_or_else(forbidden)?;
    let now = || Ok(StateAccess { room, upto: view.head(), root: room::head(view, room)?.state });
    match room::membership(view, viewer, room)? {
        Some(m) if m.standing == Standing::Join => return now(),
        Some(m) if m.was_joined && !m.forgotten => {
            if let Some(stay) = room::last_stay(view, m.event)? {
                let upto = event::order(view, stay.left)?.unwrap_or_default();
                let root = event::load(view, stay.left)?.row.after;
                return Ok(StateAccess { room, upto, root });
            }
        }
        _ => {}
    }
    if room::world_readable(view, room)? { now() } else { Err(forbidden()) }
}
