//! Guests in a room (spec: Client-Server API, "Guest Access"): they come in only where `m.room.guest_access` says so,
//! and leave when it does so no longer.

use base::{Error, Reply, Room};
use serde::Deserialize;
use store::{
    Tx, View, room,
    schema::{ACCOUNTS, Head, Standing},
    user,
};

use crate::leave;

/// The state event that says whether guests may be in a room.
pub const GUEST_ACCESS: &str = "m.room.guest_access";

/// May guests be in the room, as its state says?
pub(crate) fn admitted(view: &View, head: &Head) -> Reply<bool> {
    #[derive(Deserialize)]
    struct Content {
        guest_access: String,
    }
    let event = room::state(view, head.state, GUEST_ACCESS, "")?;
    let content = event.and_then(|event| event.content_as::<Content>());
    Ok(content.is_some_and(|content| content.guest_access == "can_join"))
}

/// Takes at most `most` guests of this server out of a room that admits none. Returns whether more have to leave.
///
/// # Errors
/// Faults.
pub fn evict(tx: &mut Tx, room: Room, most: usize) -> Reply<bool> {
    if admitted(tx, &room::head(tx, room)?)? {
        return Ok(false);
    }
    let mut done = 0;
    for (member, standing) in room::members(tx, room)? {
        if standing.standing != Standing::Join || !user::is_local(tx, &user::id(tx, member)?) {
            continue;
        }
        if !tx.get(&ACCOUNTS, (member,))?.is_some_and(|account| account.guest) {
            continue;
        }
        if done == most {
            return Ok(true);
        }
        match leave::quit(tx, member, room, Some("guests may no longer be in this room")) {
            Ok(()) => done += 1,
            Err(Error::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::World;

    #[test]
    fn guests_leave_when_the_room_no_longer_admits_them_and_others_stay() {
        let world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let open = json!({"type": GUEST_ACCESS, "content": {"guest_access": "can_join"}});
        let id =
            world.create(alice, json!({"preset": "public_chat", "initial_state": [open]})).unwrap();
        let room = world.room(&id);
        world.join(bob, &id).unwrap();
        let guests: Vec<_> = (0..3).map(|n| world.guest(&format!("guest{n}"))).collect();
        for guest in &guests {
            world.join(*guest, &id).unwrap();
        }
        assert_eq!(world.write(move |tx| evict(tx, room, 2)), Ok(false));
        let inside = |user| world.standing(user, &id) == Some(Standing::Join);
        assert!(guests.iter().all(|guest| inside(*guest)), "while they are admitted, they stay");
        world.set(alice, &id, GUEST_ACCESS, "", json!({"guest_access": "forbidden"})).unwrap();
        assert_eq!(world.write(move |tx| evict(tx, room, 2)), Ok(true));
        assert_eq!(guests.iter().filter(|guest| inside(**guest)).count(), 1);
        assert_eq!(world.write(move |tx| evict(tx, room, 2)), Ok(false));
        assert!(!guests.iter().any(|guest| inside(*guest)));
        assert!(inside(alice) && inside(bob));
    }
}
