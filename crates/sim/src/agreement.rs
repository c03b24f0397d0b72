//! What must hold between servers after a run: they agree about the rooms that they share, have what the others acknowledged,
//! were told of nothing that was kept from them, and are behind with nothing.

use std::{collections::BTreeSet, sync::Arc};

use base::{Event, Reply, Room, Seq};
use ruma::{EventId, RoomId, UserId};
use serde_json::Value;
use store::{
    Store, View, event, room,
    schema::{COMPLETED, DESTINATIONS, Destination, ENTERED, PARTIAL},
    state::{self, Root},
    user,
};

use crate::{
    promises::{self, Timeline},
    server::Server,
};

/// Servers of one run.
const SERVERS_MAX: usize = 1_000;

/// Do all servers that are in a room see somebody joined to it?
pub(crate) fn see_joined(servers: &[Arc<Server>], id: &str, who: &UserId) -> Reply<bool> {
    for store in servers.iter().filter_map(|server| server.store()) {
        let Some(room) = resident(&store, id)? else { continue };
        let joined = store.read_here(|view| {
            let root = room::head(view, room)?.state;
            Ok(promises::membership(view, root, who)?.as_deref() == Some("join"))
        })?;
        if !joined {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Is a server in a room?
pub(crate) fn is_in(server: &Server, id: &str) -> Reply<bool> {
    server.store().map_or(Ok(false), |store| Ok(resident(&store, id)?.is_some()))
}

/// What is broken between these servers. Of `settled` rooms they are to have the same state, and the same events.
pub(crate) fn check(
    servers: &[Arc<Server>],
    rooms: &[String],
    settled: &BTreeSet<String>,
) -> Reply<Vec<String>> {
    let stores: Vec<Store> = servers.iter().filter_map(|server| server.store()).collect();
    let mut broken = Vec::new();
    for id in rooms {
        broken.extend(of_room(&stores, id, settled.contains(id))?);
    }
    for store in &stores {
        broken.extend(store.read_here(behind)?);
    }
    Ok(broken)
}

/// Of a server that has somebody in the room: its state.
fn resident(store: &Store, id: &str) -> Reply<Option<Room>> {
    store.read_here(|view| {
        let Ok(id) = RoomId::parse(id) else { return Ok(None) };
        let Some(room) = room::find(view, &id)? else { return Ok(None) };
        Ok(room::is_resident(view, room)?.then_some(room))
    })
}

fn of_room(stores: &[Store], id: &str, settled: bool) -> Reply<Vec<String>> {
    let mut broken = Vec::new();
    let mut states = Vec::new();
    for store in stores {
        let Some(room) = resident(store, id)? else { continue };
        let state = store.read_here(|view| promises::state_now(view, room))?;
        states.push((store, room, state));
    }
    for (one, two) in states.iter().zip(states.iter().skip(1)) {
        if settled && one.2 != two.2 {
            let only = |a: &BTreeSet<_>, b: &BTreeSet<_>| format!("{:?}", a - b);
            let (a, b) = (one.2.clone().into_iter().collect(), two.2.clone().into_iter().collect());
            let (here, there) = (one.0.server_name(), two.0.server_name());
            let (mine, yours) = (only(&a, &b), only(&b, &a));
            broken.push(format!("{id}: only {here} has {mine}, only {there} has {yours}"));
        }
    }
    for (store, ..) in &states {
        let timeline = store.read_here(|view| promises::timeline(view, id))?;
        let Some(timeline) = timeline else { continue };
        for other in stores.iter().filter(|other| other.server_name() != store.server_name()) {
            broken.extend(between(stores, (store, other), id, &timeline, settled)?);
        }
    }
    Ok(broken)
}

/// The events that users of one server sent, at another.
fn between(
    all: &[Store],
    (from, to): (&Store, &Store),
    id: &str,
    timeline: &Timeline,
    settled: bool,
) -> Reply<Vec<String>> {
    let mut broken = Vec::new();
    let is_there = resident(to, id)?.is_some();
    let entries = entries(to, id)?;
    let unheard = is_unheard(from, &entries)?;
    let anew = if unheard { self::entries(from, id)? } else { BTreeSet::new() };
    let blind = from.read_here(|view| Blind::read(view, timeline.room))?;
    // From the end: was the other server in the room from there on without a break?
    let (mut stayed, mut joins_later) = (is_there, is_there);
    // Counts once it is seen that the other took part before: a join whose answer was lost is none from its point of view.
    let mut missing = Vec::new();
    for (at, number, event_id) in timeline.events.iter().rev() {
        let (own, message, around) = from.read_here(|view| {
            let stored = event::load(view, *number)?;
            let own = user::is_local(view, &user::id(view, stored.row.sender)?);
            let turn = room::turn(view, *at, &stored)?;
            let before = Standing::read(view, to, turn.before)?;
            let after = Standing::read(view, to, turn.after)?;
            Ok((own, stored.row.state_key.is_none(), [before, after]))
        })?;
        let [before, after] = &around;
        stayed &= after.joined;
        joins_later |= after.joined;
        let (has, placed) = to.read_here(|view| found(view, event_id))?;
        if !stayed {
            missing.clear();
        } else if placed && before.joined {
            broken.append(&mut missing);
        }
        // What was sent while it knew itself to be out is a gap, to be fetched by whoever scrolls.
        if entries.contains(event_id) {
            stayed = false;
            missing.clear();
        }
        let (name, other) = (from.server_name(), to.server_name());
        // Of what nobody refers to whom it hears, it cannot know.
        if own && settled && stayed && before.joined && has.is_none() {
            missing.push(format!("{event_id} of {name} never came to {other}"));
        }
        // Who came in anew, and has not heard when the other did, cannot know whether that one was there before.
        stayed &= !anew.contains(event_id);
        // What was kept from it comes without its content, where events that it may have build on it.
        let in_full = has.map_or(Ok(false), |event| has_content(to, event))?;
        let may = |it: &Standing| it.may(joins_later);
        // Where servers parted, another may have told it, by what that one knew.
        if own
            && message
            && in_full
            && !blind.tells(*at, to)
            && !around.iter().any(may)
            && !seen_by_any(all, event_id, to, joins_later)?
        {
            broken.push(format!(
                "{other} has {event_id} of {name}, which is kept from it: {around:?}"
            ));
        }
    }
    Ok(broken)
}

/// Is the content of a message there?
fn has_content(at: &Store, event: Event) -> Reply<bool> {
    at.read_here(|view| {
        let content: Value =
            serde_json::from_str(event::load(view, event)?.content()).unwrap_or_default();
        Ok(content["body"].is_string())
    })
}

/// The events with which a server came into a room when none of its users was in it, as it knows it itself: what it heard
/// at the time, not what it was told later of before. A join whose answer it lost is none.
fn entries(of: &Store, id: &str) -> Reply<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let Some(timeline) = of.read_here(|view| promises::timeline(view, id))? else {
        return Ok(found);
    };
    let mut was = false;
    for (at, number, event_id) in &timeline.events {
        let joined = of.read_here(|view| {
            if !promises::is_news(view, timeline.room, *at, event_id)? {
                return Ok(None);
            }
            let stored = event::load(view, *number)?;
            let turn = room::turn(view, *at, &stored)?;
            Standing::read(view, of, turn.after).map(|standing| Some(standing.joined))
        })?;
        let Some(joined) = joined else { continue };
        if joined && !was {
            found.insert(event_id.clone());
        }
        was = joined;
    }
    Ok(found)
}

/// An event, if it is here at all, and whether it has a place in its room.
fn found(view: &View, id: &str) -> Reply<(Option<Event>, bool)> {
    let Ok(id) = EventId::parse(id) else { return Ok((None, false)) };
    let Some(event) = event::find(view, &id)? else { return Ok((None, false)) };
    Ok((Some(event), event::order(view, event)?.is_some()))
}

/// Is there one of these events that a server has not heard of?
fn is_unheard(server: &Store, events: &BTreeSet<String>) -> Reply<bool> {
    server.read_here(|view| {
        for id in events {
            if !found(view, id)?.1 {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// When a server did not know a room's members: then it told what its people said to the servers that were said to be there.
struct Blind {
    from: Option<Seq>,
    to: Option<Seq>,
    /// Who is said to be there; known only as long as it counts.
    servers: Option<BTreeSet<String>>,
}

impl Blind {
    fn read(view: &View, room: Room) -> Reply<Blind> {
        let entered = view.get(&ENTERED, (room,))?;
        let from = entered.map(|join| event::order(view, join)).transpose()?.flatten();
        let partial = view.get(&PARTIAL, (room,))?;
        let to = if partial.is_some() { Some(Seq::MAX) } else { view.get(&COMPLETED, (room,))? };
        Ok(Blind { from, to, servers: partial.map(|partial| partial.servers) })
    }

    fn tells(&self, at: Seq, whom: &Store) -> bool {
        let then = self.from.is_some_and(|from| at >= from) && self.to.is_some_and(|to| at < to);
        let servers = self.servers.as_ref();
        then && servers.is_none_or(|servers| servers.contains(whom.server_name().as_str()))
    }
}

/// Was a server in the room when an event came, as one of all knows it?
fn seen_by_any(all: &[Store], event_id: &str, of: &Store, joins_later: bool) -> Reply<bool> {
    let Ok(event_id) = EventId::parse(event_id) else { return Ok(false) };
    for store in all {
        let may = store.read_here(|view| {
            let Some(number) = event::find(view, &event_id)? else { return Ok(false) };
            let Some(at) = event::order(view, number)? else { return Ok(false) };
            let stored = event::load(view, number)?;
            let turn = room::turn(view, at, &stored)?;
            let (before, after) =
                (Standing::read(view, of, turn.before)?, Standing::read(view, of, turn.after)?);
            Ok(before.may(joins_later) || after.may(joins_later))
        })?;
        if may {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How a server stands to a room in a state.
#[derive(Debug)]
struct Standing {
    joined: bool,
    invited: bool,
    history: String,
}

impl Standing {
    fn may(&self, joins_later: bool) -> bool {
        self.joined
            || self.history == "world_readable"
            || self.history == "shared" && joins_later
            || self.history == "invited" && self.invited
    }

    fn read(view: &View, of: &Store, root: Root) -> Reply<Standing> {
        let history = promises::history(view, root)?;
        let mut standing = Standing { joined: false, invited: false, history };
        for member in state::list(view, root, state::Part::Only("m.room.member"))? {
            let stored = event::load(view, member)?;
            let target = stored.row.state_key.as_deref().unwrap_or_default();
            if target.split_once(':').is_none_or(|(_, server)| server != of.server_name().as_str())
            {
                continue;
            }
            let how = room::standing(&stored);
            standing.joined |= how == Some(store::schema::Standing::Join);
            standing.invited |= how == Some(store::schema::Standing::Invite);
        }
        Ok(standing)
    }
}

/// Destinations that have not acknowledged what was sent to them.
fn behind(view: &View) -> Reply<Vec<String>> {
    let rows: Vec<((String,), Destination)> = view.everything(&DESTINATIONS, None, SERVERS_MAX)?;
    let late = rows.into_iter().filter(|(_, it)| it.sending.is_some() || it.failures > 0);
    let name = view.server_name();
    Ok(late.map(|((to,), it)| format!("{name} is behind with {to}: {it:?}")).collect())
}
