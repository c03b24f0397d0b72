//! Lists of devices of users of other servers, as far as they are kept here (spec: Server-Server API, "Device Management").
//!
//! A list is kept from when a client asks for it, for as long as its user shares a room with somebody here: so long, their
//! server tells of each change. Invariant: a list that is `current` belongs to a user who has shared a room with this server
//! ever since it was asked for. Whoever ends that, ends the list in the same transaction, or (where a whole room of users
//! goes) leaves a row in [`ABANDONED`], which counts as if the room were gone.

use base::{Reply, Room, User};

use crate::{
    room,
    schema::{ABANDONED, REMOTE_DEVICES, REMOTE_LISTS, STALE_LISTS},
    user,
    view::{Tx, View},
};

/// Devices of one list that are kept: as many as one of our own users can have.
pub const DEVICES_MAX: usize = 1_000;
/// Rooms of one user that are looked at for one in which this server is.
const ROOMS_MAX: usize = 20_000;

/// Does a user of another server share a room with anyone here, so that their server tells of changes?
///
/// # Errors
/// Faults only.
pub fn is_shared(view: &View, user: User) -> Reply<bool> {
    shared_but_for(view, user, None)
}

fn shared_but_for(view: &View, user: User, except: Option<Room>) -> Reply<bool> {
    for at in room::joined_rooms(view, user)?.iter().take(ROOMS_MAX) {
        if Some(*at) != except && room::is_resident(view, *at)? && !view.has(&ABANDONED, (*at,))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Drops what is kept of a user's devices.
///
/// # Errors
/// Faults only.
pub fn forget(tx: &mut Tx, user: User) -> Reply<()> {
    if !tx.has(&REMOTE_LISTS, (user,))? {
        return Ok(());
    }
    tx.delete(&REMOTE_LISTS, (user,));
    let devices: Vec<((User, String), String)> = tx.under(&REMOTE_DEVICES, (user,), DEVICES_MAX)?;
    for (key, _) in devices {
        tx.delete(&REMOTE_DEVICES, key);
    }
    let server = user::id(tx, user)?.server_name().as_str().to_owned();
    tx.delete(&STALE_LISTS, (server, user));
    Ok(())
}

/// A user leaves a room: what is kept of one who then shares none any more is dropped.
pub(crate) fn leaves(tx: &mut Tx, user: User, room: Room) -> Reply<()> {
    if tx.has(&REMOTE_LISTS, (user,))? && !shared_but_for(tx, user, Some(room))? {
        forget(tx, user)?;
    }
    Ok(())
}

/// The last user of this server leaves a room. Whoever is known only from there is dropped soon: see [`kept_of`].
pub(crate) fn abandon(tx: &mut Tx, room: Room) {
    tx.put(&ABANDONED, (room,), &());
}

/// The members of an abandoned room whose lists are kept: to be given to [`drop_unshared`].
///
/// # Errors
/// Faults only.
pub fn kept_of(view: &View, room: Room) -> Reply<Vec<User>> {
    let members: Vec<User> = room::members(view, room)?.into_iter().map(|(user, _)| user).collect();
    let lists = view.get_many(&REMOTE_LISTS, members.iter().map(|user| (*user,)))?;
    let kept = members.into_iter().zip(lists).filter(|(_, list)| list.is_some());
    Ok(kept.map(|(user, _)| user).collect())
}

/// Drops the lists of those of the users who share no room with anyone here.
///
/// # Errors
/// Faults only.
pub fn drop_unshared(tx: &mut Tx, users: &[User]) -> Reply<()> {
    for user in users {
        if !is_shared(tx, *user)? {
            forget(tx, *user)?;
        }
    }
    Ok(())
}
