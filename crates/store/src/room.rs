//! Reading rooms: what every domain needs of them.

use std::{collections::BTreeSet, sync::Arc};

use base::{Error, Event, Reply, Room, Seq, User};
use kv::Direction;
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;

use crate::{
    event::{self, Stored},
    remote_lists,
    schema::{
        HEADS, Head, MEMBERS, MEMBERS_IN_ORDER, Member, Membership, PARTIAL, ROOM_IDS, ROOMS,
        ROOMS_OF, RoomInfo, SERVERS, Standing, TIMELINE, TURNS, Turn,
    },
    state::{self, Root},
    user,
    view::{CacheSpace, Tx, View},
};

static INFOS: CacheSpace = CacheSpace { tag: 4, owned: Some(crate::Kind::RoomInfo) };
static JOINED: CacheSpace = CacheSpace { tag: 5, owned: Some(crate::Kind::RoomsOf) };
static SERVERS_OF: CacheSpace = CacheSpace { tag: 120, owned: Some(crate::Kind::Servers) };
static ROOMS_OF_USER: CacheSpace = CacheSpace { tag: 6, owned: Some(crate::Kind::RoomsOf) };

/// Rooms of one user: more than anyone has, yet a bound for one read.
pub const ROOMS_OF_MAX: usize = 100_000;
/// What a server's name costs beside its text.
const SERVER_OVERHEAD: usize = 48;
/// Members of one room read at once.
pub const MEMBERS_MAX: usize = 1_000_000;

/// The number of a room, if we know it.
pub fn find(view: &View, id: &RoomId) -> Reply<Option<Room>> {
    view.get(&ROOM_IDS, (id.as_str().to_owned(),))
}

/// What never changes about a room.
pub fn info(view: &View, room: Room) -> Reply<Arc<RoomInfo>> {
    view.cached(&INFOS, u128::from(room.0), |view| {
        let info = view
            .get(&ROOMS, (room,))?
            .ok_or_else(|| Error::fault(format!("room {room} is missing")))?;
        Ok((info, 256))
    })
}

/// The id of a room.
pub fn id(view: &View, room: Room) -> Reply<OwnedRoomId> {
    let info = info(view, room)?;
    OwnedRoomId::try_from(info.id.as_str())
        .map_err(|e| Error::fault(format!("room {room} has a bad id: {e}")))
}

/// Where the room's event graph and state stand.
pub fn head(view: &View, room: Room) -> Reply<Head> {
    view.get(&HEADS, (room,))?.ok_or_else(|| Error::fault(format!("room {room} has no head")))
}

/// How a user stands to a room now, if they ever did.
pub fn member(view: &View, room: Room, user: User) -> Reply<Option<Member>> {
    view.get(&MEMBERS, (room, user))
}

/// Is the user joined now?
pub fn is_joined(view: &View, room: Room, user: User) -> Reply<bool> {
    Ok(member(view, room, user)?.is_some_and(|m| m.standing == Standing::Join))
}

/// All who ever stood to the room, with how they stand now.
pub fn members(view: &View, room: Room) -> Reply<Vec<(User, Member)>> {
    members_upto(view, room, MEMBERS_MAX)
}

/// As [`members`], at most `limit`, in the order of the users' numbers.
pub fn members_upto(view: &View, room: Room, limit: usize) -> Reply<Vec<(User, Member)>> {
    let rows: Vec<((Room, User), Member)> = view.under(&MEMBERS, (room,), limit)?;
    Ok(rows.into_iter().map(|((_, user), member)| (user, member)).collect())
}

/// Writes how a user stands to a room, from the room's side; returns how they stood before.
pub fn set_member(tx: &mut Tx, room: Room, user: User, member: Member) -> Reply<Option<Member>> {
    let old = tx.get(&MEMBERS, (room, user))?;
    if let Some(old) = old {
        tx.delete(&MEMBERS_IN_ORDER, (room, group(old.standing), old.event));
    }
    tx.put(&MEMBERS, (room, user), &member);
    tx.put(&MEMBERS_IN_ORDER, (room, group(member.standing), member.event), &user);
    let was = old.is_some_and(|old| old.standing == Standing::Join);
    let is = member.standing == Standing::Join;
    if was != is {
        count_server(tx, room, user, is)?;
    }
    Ok(old)
}

fn count_server(tx: &mut Tx, room: Room, user: User, more: bool) -> Reply<()> {
    let id = user::id(tx, user)?;
    let local = user::is_local(tx, &id);
    let key = (room, id.server_name().as_str().to_owned());
    let before = tx.get(&SERVERS, key.clone())?.unwrap_or_default();
    match if more { before + 1 } else { before.saturating_sub(1) } {
        0 => {
            tx.delete(&SERVERS, key);
            let others: Vec<((Room, String), u64)> = tx.under(&SERVERS, (room,), 1)?;
            if local && !others.is_empty() {
                remote_lists::abandon(tx, room);
            }
        }
        now => tx.put(&SERVERS, key, &now),
    }
    if !local && !more {
        remote_lists::leaves(tx, user, room)?;
    }
    Ok(())
}

/// Forgets how a user stands to a room: they are not in its state any more.
pub fn unset_member(tx: &mut Tx, room: Room, user: User) -> Reply<Option<Member>> {
    let old = tx.get(&MEMBERS, (room, user))?;
    if let Some(old) = old {
        tx.delete(&MEMBERS_IN_ORDER, (room, group(old.standing), old.event));
        tx.delete(&MEMBERS, (room, user));
        if old.standing == Standing::Join {
            count_server(tx, room, user, false)?;
        }
    }
    Ok(old)
}

/// The servers that have somebody in the room, this one among them. While only part of the room's state is here, those
/// that another server named count too.
pub fn servers(view: &View, room: Room) -> Reply<Arc<BTreeSet<String>>> {
    let known = view.cached(&SERVERS_OF, u128::from(room.0), |view| {
        let rows: Vec<((Room, String), u64)> = view.under(&SERVERS, (room,), MEMBERS_MAX)?;
        let names: BTreeSet<String> = rows.into_iter().map(|((_, server), _)| server).collect();
        let bytes = names.iter().map(|name| name.len() + SERVER_OVERHEAD).sum();
        Ok((names, bytes))
    })?;
    match view.get(&PARTIAL, (room,))? {
        None => Ok(known),
        Some(partial) => Ok(Arc::new(known.union(&partial.servers).cloned().collect())),
    }
}

/// Is a user of this server joined to the room? If not, its events go by unseen, and coming in takes another server.
pub fn is_resident(view: &View, room: Room) -> Reply<bool> {
    view.has(&SERVERS, (room, view.server_name().as_str().to_owned()))
}

/// The state around an event of the timeline, as the room had it when the event came: at most places that is the state
/// around the event itself.
pub fn turn(view: &View, at: Seq, event: &Stored) -> Reply<Turn> {
    let turn = view.get(&TURNS, (event.row.room, at))?;
    Ok(turn.unwrap_or(Turn { before: event.row.before, after: event.row.after }))
}

/// The first members by the order of their member events, at most `limit`: those who are joined or invited, or (`here`
/// false) those who left or were banned.
pub fn first_members(view: &View, room: Room, here: bool, limit: usize) -> Reply<Vec<User>> {
    let rows: Vec<((Room, u8, Event), User)> =
        view.under(&MEMBERS_IN_ORDER, (room, if here { HERE } else { GONE }), limit)?;
    Ok(rows.into_iter().map(|(_, user)| user).collect())
}

fn group(standing: Standing) -> u8 {
    match standing {
        Standing::Join | Standing::Invite => HERE,
        Standing::Leave | Standing::Ban => GONE,
        Standing::Knock => 2,
    }
}

const HERE: u8 = 0;
const GONE: u8 = 1;

/// Joined or invited.
pub fn is_here(standing: Standing) -> bool {
    matches!(standing, Standing::Join | Standing::Invite)
}

/// The `membership` of a member event.
pub fn standing(event: &Stored) -> Option<Standing> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: std::borrow::Cow<'a, str>,
    }
    Standing::parse(&event.content_as::<Content<'_>>()?.membership)
}

/// When somebody was last in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Their last member event as one who was joined.
    pub joined: Event,
    /// The one by which they left, or were put out.
    pub left: Event,
}

/// Steps back through somebody's member events: more changes than this are not made by people.
const MEMBER_STEPS_MAX: usize = 1_000;

/// When somebody who is not in a room was last in it, found from their newest member event. Invites, knocks and bans
/// since then change nothing of what they may see.
pub fn last_stay(view: &View, newest: Event) -> Reply<Option<Stay>> {
    let mut left = newest;
    for _ in 0..MEMBER_STEPS_MAX {
        let Some(joined) = event::load(view, left)?.row.replaces else { return Ok(None) };
        if standing(&*event::load(view, joined)?) == Some(Standing::Join) {
            return Ok(Some(Stay { joined, left }));
        }
        left = joined;
    }
    Ok(None)
}

/// The member event by which somebody's stay began, found from any of its later ones: changes of name are no joins.
pub fn stay_began(view: &View, member: Event) -> Reply<Event> {
    let mut at = member;
    for _ in 0..MEMBER_STEPS_MAX {
        let Some(before) = event::load(view, at)?.row.replaces else { break };
        if standing(&*event::load(view, before)?) != Some(Standing::Join) {
            break;
        }
        at = before;
    }
    Ok(at)
}

/// The rooms that a user is joined to, in the order of their numbers.
pub fn joined_rooms(view: &View, user: User) -> Reply<Arc<[Room]>> {
    let rooms = view.cached(&JOINED, u128::from(user.0), |view| {
        let rooms: Arc<[Room]> = rooms_of(view, user)?
            .iter()
            .filter(|(_, m)| m.standing == Standing::Join)
            .map(|(room, _)| *room)
            .collect();
        let bytes = rooms.len() * 8;
        Ok((rooms, bytes))
    })?;
    Ok((*rooms).clone())
}

/// Every room that the user is or was in, in the order of the rooms' numbers.
pub fn rooms_of(view: &View, user: User) -> Reply<Arc<Vec<(Room, Membership)>>> {
    view.cached(&ROOMS_OF_USER, u128::from(user.0), |view| {
        let rows: Vec<((User, Room), Membership)> = view.under(&ROOMS_OF, (user,), ROOMS_OF_MAX)?;
        let rooms: Vec<_> = rows.into_iter().map(|((_, room), m)| (room, m)).collect();
        let bytes =
            rooms.iter().map(|(_, m)| 64 + m.stripped.as_ref().map_or(0, String::len)).sum();
        Ok((rooms, bytes))
    })
}

/// How the user stands to the room, from the user's side.
pub fn membership(view: &View, user: User, room: Room) -> Reply<Option<Membership>> {
    view.get(&ROOMS_OF, (user, room))
}

/// A state event of a version of the state.
pub fn state(view: &View, root: Root, kind: &str, state_key: &str) -> Reply<Option<Arc<Stored>>> {
    let Some(event) = state::get(view, root, kind, state_key)? else { return Ok(None) };
    event::load(view, event).map(Some)
}

/// May anyone read the room's history now (spec: Client-Server API, "Room History Visibility")?
pub fn world_readable(view: &View, room: Room) -> Reply<bool> {
    #[derive(Deserialize)]
    struct Content {
        history_visibility: String,
    }
    let event = state(view, head(view, room)?.state, "m.room.history_visibility", "")?;
    let content = event.and_then(|event| event.content_as::<Content>());
    Ok(content.is_some_and(|content| content.history_visibility == "world_readable"))
}

/// The last event of the timeline at or before a position.
pub fn last_at(view: &View, room: Room, upto: Seq) -> Reply<Option<(Seq, base::Event)>> {
    let rows: Vec<((Room, Seq), base::Event)> =
        view.range(&TIMELINE, (room, Seq::ZERO), (room, upto.next()), Direction::Backward, 1)?;
    Ok(rows.into_iter().next().map(|((_, seq), event)| (seq, event)))
}

/// The room's state at a position: after the last event at or before it.
pub fn state_at(view: &View, room: Room, upto: Seq) -> Reply<Root> {
    match last_at(view, room, upto)? {
        Some((at, event)) => Ok(turn(view, at, &*event::load(view, event)?)?.after),
        None => Ok(Root::default()),
    }
}
