//! Notices of the server to its users (spec: Client-Server API, "Server Notices"): one room for each user, in which only
//! the server speaks, and to which they are invited.

use base::{Reply, Room, User};
use protocol::room::power_levels;
use ruma::{OwnedUserId, RoomVersionId, api::client::room::create_room::v3::RoomPreset};
use serde_json::{Map, Value, json};
use store::{
    Tx, room,
    schema::{NOTICE_ROOMS, Standing},
    user,
};

use crate::{
    New, append, create, invite,
    membership::{self, Content},
};

/// The tag by which clients know the room.
pub const TAG: &str = "m.server_notice";
/// What a notice is about, where the spec has no word for it.
const NOTICE_TYPE: &str = "althing.notice";
/// The version of the rooms.
const VERSION: RoomVersionId = RoomVersionId::V12;

/// Sends a notice, if need be after making the user's room and inviting them. Returns the room.
///
/// # Errors
/// Faults.
pub fn deliver(tx: &mut Tx, sender: User, to: User, text: &str) -> Reply<Room> {
    let known = match tx.get(&NOTICE_ROOMS, (to,))? {
        Some(room) if room::is_joined(tx, room, sender)? => Some(room),
        _ => None,
    };
    let room = match known {
        Some(room) => room,
        None => open(tx, sender, to)?,
    };
    let id = user::id(tx, to)?;
    match membership::standing(tx, room, &id)? {
        Some(Standing::Join | Standing::Invite) => {}
        Some(Standing::Ban) => {
            membership::set(tx, room, sender, &id, Content::new(Standing::Leave, None))?;
            invite::send(tx, sender, room, &id, None, false)?;
        }
        _ => invite::send(tx, sender, room, &id, None, false)?,
    }
    let content =
        json!({ "msgtype": "m.server_notice", "server_notice_type": NOTICE_TYPE, "body": text });
    let new = New {
        sender,
        kind: "m.room.message".to_owned(),
        state_key: None,
        content: append::raw(&content)?,
        redacts: None,
    };
    append::append(tx, room, new)?;
    Ok(room)
}

fn open(tx: &mut Tx, sender: User, to: User) -> Reply<Room> {
    let id: OwnedUserId = user::id(tx, sender)?;
    let mut content = Map::new();
    content.insert("room_version".to_owned(), json!(VERSION));
    content.insert("m.federate".to_owned(), json!(false));
    let room = create::found(tx, sender, &VERSION, content)?;
    create::enter(tx, room, sender, &id)?;
    let mut levels = power_levels(&VERSION, &RoomPreset::PrivateChat, &id, &[]);
    // Only the server speaks and invites.
    levels.insert("events_default".to_owned(), json!(50));
    levels.insert("invite".to_owned(), json!(50));
    for (kind, content) in [
        ("m.room.power_levels", Value::Object(levels)),
        ("m.room.join_rules", json!({ "join_rule": "invite" })),
        ("m.room.history_visibility", json!({ "history_visibility": "shared" })),
        ("m.room.guest_access", json!({ "guest_access": "forbidden" })),
        ("m.room.name", json!({ "name": "Server notices" })),
    ] {
        create::set(tx, room, sender, kind, &content)?;
    }
    tx.put(&NOTICE_ROOMS, (to,), &room);
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FORBIDDEN, World};

    fn notify(world: &World, sender: User, to: User, text: &'static str) -> Room {
        world.write(move |tx| deliver(tx, sender, to, text)).unwrap()
    }

    #[test]
    fn a_user_has_one_room_of_notices_and_cannot_reject_it() {
        let world = World::new();
        let (server, bob) = (world.user("server"), world.user("bob"));
        let room = notify(&world, server, bob, "one");
        assert_eq!(notify(&world, server, bob, "two"), room);
        let id = world.read(|view| room::id(view, room)).unwrap();
        assert_eq!(world.standing(bob, &id), Some(Standing::Invite));
        let refused = world.leave(bob, &id);
        assert_eq!(refused, Err((403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")));
        let own = world.id(bob);
        let state =
            world.set(bob, &id, "m.room.member", own.as_str(), json!({"membership": "leave"}));
        assert_eq!(state, Err((403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")));
        world.join(bob, &id).unwrap();
        let said: Vec<String> = world
            .timeline(&id)
            .iter()
            .filter(|event| event.row.kind == "m.room.message")
            .filter_map(|event| event.content_as::<Value>()?["body"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(said, ["one", "two"]);
        assert_eq!(world.send(bob, &id, "m.room.message", json!({})), Err(FORBIDDEN));
        world.leave(bob, &id).unwrap();
        assert_eq!(notify(&world, server, bob, "three"), room);
        assert_eq!(world.standing(bob, &id), Some(Standing::Invite));
    }
}
