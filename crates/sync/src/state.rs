//! A room's state as whoever asks may see it (`GET /rooms/{roomId}/state`, `…/state/{eventType}/{stateKey}`), and who is in
//! it (`…/members`, `…/joined_members`).
//!
//! Who is in the room sees the current state, who has left sees it as it was then.

use base::{Error, Reply, Seq, User};
use ruma::RoomId;
use serde::Deserialize;
use serde_json::Value;
use store::{
    View, event, room,
    schema::Standing,
    state::{self, Part},
    user,
};

use crate::{access, client_event::Writer, gate::Gate, json::Out, messages::Reader};

/// The content of a piece of state as JSON text, or with `whole` the whole event.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in the room, 404 `M_NOT_FOUND` if the room has no such state.
pub fn get(
    view: &View,
    reader: &Reader<'_>,
    room_id: &RoomId,
    (kind, state_key): (&str, &str),
    whole: bool,
) -> Reply<String> {
    let access = access::of_state(view, room_id, reader.user)?;
    let found = room::state(view, access.root, kind, state_key)?;
    let found = found.ok_or_else(|| Error::not_found("the room has no such state"))?;
    if !whole {
        return Ok(found.content().to_owned());
    }
    let gate = Gate::new(view, access.room, reader.user, reader.id)?;
    let mut out = Out::with_capacity(1024);
    Writer::new(view, &gate, Some(reader.device))
        .with_room_id(access.room)?
        .write(&mut out, &found)?;
    Ok(out.finish())
}

/// The whole state as a JSON array of events.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in the room.
pub fn all(view: &View, reader: &Reader<'_>, room_id: &RoomId) -> Reply<String> {
    let access = access::of_state(view, room_id, reader.user)?;
    let gate = Gate::new(view, access.room, reader.user, reader.id)?;
    let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(access.room)?;
    let events = state::list(view, access.root, Part::All)?;
    let mut out = Out::with_capacity(1024 * (1 + events.len()));
    out.open_array();
    for event in events {
        writer.write(&mut out, &*event::load(view, event)?)?;
    }
    out.close_array();
    Ok(out.finish())
}

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

/// The membership events of a room, as the body of `GET …/members`: now, or at a position, but never later than the
/// reader's own leaving.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who was never in the room.
pub fn members(
    view: &View,
    reader: &Reader<'_>,
    room_id: &RoomId,
    at: Option<Seq>,
    wanted: Wanted,
) -> Reply<String> {
    let access = access::of_state(view, room_id, reader.user)?;
    let root = match at.filter(|at| *at < access.upto) {
        Some(at) => room::state_at(view, access.room, at)?,
        None => access.root,
    };
    let gate = Gate::new(view, access.room, reader.user, reader.id)?;
    let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(access.room)?;
    let mut out = Out::with_capacity(4096);
    out.open().key("chunk").open_array();
    for event in state::list(view, root, Part::Only("m.room.member"))? {
        let event = event::load(view, event)?;
        if event.is_state("m.room.member") && room::standing(&event).is_some_and(|s| wanted.lets(s))
        {
            writer.write(&mut out, &event)?;
        }
    }
    out.close_array().close();
    Ok(out.finish())
}

/// The joined members with name and avatar, as the body of `GET …/joined_members`.
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
    let forbidden = || Error::forbidden("you are not in this room");
    let room = room::find(view, room_id)?.ok_or_else(forbidden)?;
    if !room::is_joined(view, room, user)? {
        return Err(forbidden());
    }
    let mut out = Out::with_capacity(4096);
    out.open().key("joined").open();
    for (user, member) in room::members(view, room)? {
        if member.standing != Standing::Join {
            continue;
        }
        out.key(user::id(view, user)?.as_str()).open();
        if let Some(profile) = event::load(view, member.event)?.content_as::<Profile>() {
            let named = [("display_name", profile.displayname), ("avatar_url", profile.avatar_url)];
            for (key, value) in &named {
                if let Some(text) = value.as_str() {
                    out.key(key).text(text);
                }
            }
        }
        out.close();
    }
    out.close().close();
    Ok(out.finish())
}
