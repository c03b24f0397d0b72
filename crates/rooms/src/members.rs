//! Who is in a room (`/rooms/{roomId}/members`, `/joined_members`), and in which rooms one is (`/joined_rooms`).

use base::{Event, Reply, Room, Seq, User};
use protocol::json::quote;
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::Value;
use store::{
    View, event, room,
    schema::Standing,
    state::{self, Part},
    user,
};

use crate::{
    render,
    state::{Seen, membership_of, seen},
};

/// Which memberships are asked for. With both, one of the two conditions is enough (spec: `GET …/members`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Only this membership.
    pub membership: Option<Standing>,
    /// Any but this membership.
    pub not_membership: Option<Standing>,
}

impl Wanted {
    fn lets(self, standing: Standing) -> bool {
        let (only, not) = (self.membership, self.not_membership);
        (only.is_none() && not.is_none())
            || only.is_some_and(|only| only == standing)
            || not.is_some_and(|not| not != standing)
    }
}

/// The membership events of a room as a JSON array: now, or at a position, but never later than the user's own leaving.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in the room.
pub fn members(
    view: &View,
    user: User,
    room_id: &RoomId,
    at: Option<Seq>,
    wanted: Wanted,
) -> Reply<String> {
    let room = crate::room_of(view, room_id)?;
    let mut parts = Vec::new();
    for event in membership_events(view, user, room, at)? {
        let event = event::load(view, event)?;
        if event.is_state("m.room.member") && membership_of(&event).is_some_and(|s| wanted.lets(s))
        {
            parts.push(render::client_event(view, &event, room_id.as_str())?);
        }
    }
    Ok(format!("[{}]", parts.join(",")))
}

fn membership_events(view: &View, user: User, room: Room, at: Option<Seq>) -> Reply<Vec<Event>> {
    let root = match (seen(view, user, room)?, at) {
        (Seen::Now, None) => room::head(view, room)?.state,
        (Seen::Now, Some(at)) => room::state_at(view, room, at)?,
        (Seen::UntilLeft(left), None) => event::load(view, left)?.row.after,
        (Seen::UntilLeft(left), Some(at)) => {
            let left = event::order(view, left)?.unwrap_or_default();
            room::state_at(view, room, at.min(left))?
        }
    };
    state::list(view, root, Part::Only("m.room.member"))
}

/// The joined members with name and avatar: a JSON object by user id.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who is not in the room.
pub fn joined(view: &View, user: User, room_id: &RoomId) -> Reply<String> {
    #[derive(Deserialize)]
    struct Profile {
        #[serde(default)]
        displayname: Value,
        #[serde(default)]
        avatar_url: Value,
    }
    let room = crate::room_of(view, room_id)?;
    if !room::is_joined(view, room, user)? {
        return Err(crate::not_in_room());
    }
    let mut parts = Vec::new();
    for (user, member) in room::members(view, room)? {
        if member.standing != Standing::Join {
            continue;
        }
        let id = quote(user::id(view, user)?.as_str());
        let mut fields = Vec::with_capacity(2);
        if let Some(profile) = event::load(view, member.event)?.content_as::<Profile>() {
            let named = [("display_name", profile.displayname), ("avatar_url", profile.avatar_url)];
            for (key, value) in named.into_iter().filter(|(_, value)| value.is_string()) {
                fields.push(format!(r#""{key}":{value}"#));
            }
        }
        parts.push(format!("{id}:{{{}}}", fields.join(",")));
    }
    Ok(format!("{{{}}}", parts.join(",")))
}

/// The rooms that a user is joined to.
///
/// # Errors
/// Faults of the store.
pub fn joined_rooms(view: &View, user: User) -> Reply<Vec<OwnedRoomId>> {
    room::joined_rooms(view, user)?.iter().map(|room| room::id(view, *room)).collect()
}
