//! Leaving a room, rejecting an invite, taking back a knock (`POST /rooms/{roomId}/leave`).

use base::{Error, Reply, Room, User};
use ruma::RoomId;
use store::{Tx, View, schema::Standing, user};

use crate::{
    elsewhere,
    membership::{self, Content},
};

/// Leaves a room; who has left already is told that it is so.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in it, or is banned.
pub fn leave(tx: &mut Tx, user: User, room_id: &RoomId, reason: Option<&str>) -> Reply<()> {
    let room = crate::room_of(tx, room_id)?;
    match store::room::member(tx, room, user)?.map(|member| member.standing) {
        Some(Standing::Join | Standing::Invite | Standing::Knock) => quit(tx, user, room, reason),
        Some(Standing::Leave) => Ok(()),
        Some(Standing::Ban) => Err(Error::forbidden("you are banned from this room")),
        None => Err(crate::not_in_room()),
    }
}

/// The room, if leaving it takes another server: this one is not in it, and the user is invited or knocks.
///
/// # Errors
/// Faults.
pub fn elsewhere(view: &View, user: User, room_id: &RoomId) -> Reply<Option<Room>> {
    let Some(room) = store::room::find(view, room_id)? else { return Ok(None) };
    let mine = store::room::membership(view, user, room)?.map(|mine| mine.standing);
    let open = matches!(mine, Some(Standing::Invite | Standing::Knock | Standing::Join));
    Ok((open && elsewhere::is_elsewhere(view, room)?).then_some(room))
}

/// Takes a user out of at most `most` rooms: leaves them, rejects invites, takes back knocks. Returns whether rooms are
/// left to do.
///
/// # Errors
/// Faults.
pub fn quit_all(tx: &mut Tx, user: User, most: usize) -> Reply<bool> {
    let mut done = 0;
    for (room, membership) in store::room::rooms_of(tx, user)?.iter() {
        if matches!(membership.standing, Standing::Leave | Standing::Ban) {
            continue;
        }
        if done == most {
            return Ok(true);
        }
        match quit(tx, user, *room, None) {
            Ok(()) => done += 1,
            Err(Error::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(false)
}

/// Leaves a room that the user is joined to, invited to, or knocking on. Where this server is not in the room, nobody there is
/// told.
///
/// # Errors
/// 403 `M_FORBIDDEN` for anyone else.
pub fn quit(tx: &mut Tx, user: User, room: Room, reason: Option<&str>) -> Reply<()> {
    if elsewhere::is_elsewhere(tx, room)? {
        return elsewhere::renounce(tx, user, room, reason);
    }
    let id = user::id(tx, user)?;
    membership::set(tx, room, user, &id, Content::new(Standing::Leave, reason)).map(drop)
}
