//! Who joins the room that replaced one of theirs keeps tags, push rules and direct chats (spec: Client-Server API, "Room
//! Upgrades").
//!
//! Only where the old room itself names the new one: otherwise anyone could make a room that passes for someone's
//! favourite.

use base::{Event, Reply, Room, Seq, User};
use ruma::OwnedRoomId;
use serde::Deserialize;
use store::{
    Tx, View, event,
    follow::Follower,
    log::Entry,
    room,
    schema::{ACCOUNTS, Standing},
    user,
};

pub(crate) struct Successor;

impl Follower for Successor {
    fn id(&self) -> &'static str {
        "successor"
    }

    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::Event { target: Some(_), .. })
    }

    fn concerns(&self, view: &View, entry: &Entry) -> Reply<bool> {
        Ok(arrival(view, entry)?.is_some())
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        let Some(Arrival { user, old, new }) = arrival(tx, entry)? else { return Ok(()) };
        let id = user::id(tx, user)?;
        let (old_id, new_id) = (room::id(tx, old)?, room::id(tx, new)?);
        accounts::successor::carry_over(tx, user, &id, (old, &old_id), (new, &new_id))
    }
}

/// A user of this server comes from an old room into the new one.
struct Arrival {
    user: User,
    old: Room,
    new: Room,
}

fn arrival(view: &View, entry: &Entry) -> Reply<Option<Arrival>> {
    let Entry::Event { room: new, event, target: Some(user), .. } = entry else { return Ok(None) };
    let Some(old) = predecessor(view, *new)? else { return Ok(None) };
    let comes = view.has(&ACCOUNTS, (*user,))?
        && says_join(view, Some(*event))?
        && !says_join(view, event::load(view, *event)?.row.replaces)?
        && room::membership(view, *user, old)?.is_some_and(|past| past.was_joined);
    Ok(comes.then_some(Arrival { user: *user, old, new: *new }))
}

fn says_join(view: &View, member: Option<Event>) -> Reply<bool> {
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }
    let Some(member) = member else { return Ok(false) };
    let content = event::load(view, member)?.content_as::<Content>();
    Ok(content.is_some_and(|content| content.membership == Standing::Join.as_str()))
}

/// The room that this one replaced, if both say so.
fn predecessor(view: &View, new: Room) -> Reply<Option<Room>> {
    #[derive(Deserialize)]
    struct Create {
        predecessor: Option<Predecessor>,
    }
    #[derive(Deserialize)]
    struct Predecessor {
        room_id: OwnedRoomId,
    }
    #[derive(Deserialize)]
    struct Tombstone {
        replacement_room: OwnedRoomId,
    }
    let info = room::info(view, new)?;
    let create = event::load(view, info.create)?.content_as::<Create>();
    let Some(named) = create.and_then(|create| create.predecessor) else { return Ok(None) };
    let Some(old) = room::find(view, &named.room_id)? else { return Ok(None) };
    let state = room::head(view, old)?.state;
    let tombstone = room::state(view, state, "m.room.tombstone", "")?;
    let tombstone = tombstone.and_then(|event| event.content_as::<Tombstone>());
    Ok(tombstone.filter(|t| t.replacement_room == info.id).map(|_| old))
}
