//! What a server may ask of a room at all: the first question of every endpoint that is about one (spec: Server-Server API,
//! "Server Access Control Lists (ACLs)").

use base::{Error, Reply, Room};
use ruma::{RoomId, ServerName};
use store::View;
use sync::server_gate::ServerGate;

/// A gate for a server that may look into the room: it is in it, or anyone may.
///
/// # Errors
/// 403 `M_FORBIDDEN`, also for rooms that are not known here.
pub(super) fn gate<'a>(
    view: &'a View,
    id: &RoomId,
    server: &'a ServerName,
) -> Reply<ServerGate<'a>> {
    let room = rooms::room_of(view, id)?;
    check_acl(view, room, server)?;
    let gate = ServerGate::new(view, room, server)?;
    if gate.may_look()? { Ok(gate) } else { Err(outside()) }
}

/// The room, for a server that is in it.
///
/// # Errors
/// As [`gate`].
pub(super) fn member(view: &View, id: &RoomId, server: &ServerName) -> Reply<Room> {
    let gate = gate(view, id, server)?;
    if gate.is_present() { Ok(gate.room()) } else { Err(outside()) }
}

/// The room, for a server that wants to come in or send something of its own.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a room in which this server is not; 403 `M_FORBIDDEN` for servers that the room keeps out.
pub(super) fn enter(view: &View, id: &RoomId, server: &ServerName) -> Reply<Room> {
    let room = rooms::handshake::resident(view, id)?;
    check_acl(view, room, server)?;
    Ok(room)
}

/// Does the room's `m.room.server_acl` let the server in?
///
/// # Errors
/// 403 `M_FORBIDDEN`.
pub(super) fn check_acl(view: &View, room: Room, server: &ServerName) -> Reply<()> {
    if rooms::acl::admits(view, room, server)? {
        return Ok(());
    }
    Err(Error::forbidden("Your server is kept out of this room."))
}

fn outside() -> Error {
    Error::forbidden("Your server is not in this room.")
}
