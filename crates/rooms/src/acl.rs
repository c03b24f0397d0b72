//! Which servers may take part in a room (spec: Client-Server API, "Server Access Control Lists (ACLs) for rooms").

use base::{Reply, Room};
use protocol::acl::Acl;
use ruma::ServerName;
use store::{CacheSpace, Kind, View, event, room, state};

/// The lists as they are read from their events.
static ACLS: CacheSpace = CacheSpace { tag: 130, owned: Some(Kind::Event) };

/// Does the room's `m.room.server_acl`, as it is now, let the server take part?
///
/// # Errors
/// Faults only.
pub fn admits(view: &View, room: Room, server: &ServerName) -> Reply<bool> {
    let root = room::head(view, room)?.state;
    let Some(event) = state::get(view, root, "m.room.server_acl", "")? else { return Ok(true) };
    let acl = view.cached(&ACLS, u128::from(event.0), |view| {
        let acl = Acl::read(event::load(view, event)?.content());
        let bytes = acl.bytes();
        Ok((acl, bytes))
    })?;
    Ok(acl.admits(server))
}
