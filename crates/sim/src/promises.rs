//! What must hold after a run.

use std::collections::{BTreeMap, BTreeSet};

use base::{Error, Event, Reply, Room, Seq, User};
use ruma::{EventId, RoomId, UserId};
use serde_json::Value;
use store::{
    Direction, View,
    event::{self, Stored},
    log::Entry,
    room,
    schema::TIMELINE,
    state::{self, Root},
    user,
};

use crate::{
    ledger::Acknowledged,
    person::Person,
    watcher::{Heard, Watcher},
};

/// Events of one room in a run: far more than there are.
const EVENTS_MAX: usize = 1_000_000;

/// A room as its server has it.
pub(crate) struct Timeline {
    /// The room.
    pub(crate) room: Room,
    /// Positions and events, in order.
    pub(crate) events: Vec<(Seq, Event, String)>,
}

impl Timeline {
    /// Its first event and its last, to know it by.
    fn ends(&self) -> Option<(&str, &str)> {
        Some((&self.events.first()?.2, &self.events.last()?.2))
    }
}

/// The timeline of a room; `None` if the server does not know the room.
pub(crate) fn timeline(view: &View, id: &str) -> Reply<Option<Timeline>> {
    let Ok(parsed) = RoomId::parse(id) else { return Ok(None) };
    let Some(room) = room::find(view, &parsed)? else { return Ok(None) };
    let (from, to) = ((room, Seq::ZERO), (room, Seq::MAX));
    let rows: Vec<((Room, Seq), Event)> =
        view.range(&TIMELINE, from, to, Direction::Forward, EVENTS_MAX)?;
    let named = |((_, seq), event): ((Room, Seq), Event)| {
        Ok((seq, event, event::load(view, event)?.id.to_string()))
    };
    let events = rows.into_iter().map(named).collect::<Reply<_>>()?;
    Ok(Some(Timeline { room, events }))
}

/// Nothing acknowledged is lost: the event is there as it was sent, or redacted.
pub(crate) fn kept(view: &View, it: &Acknowledged) -> Reply<Result<(), String>> {
    let lost = |why: &str| Ok(Err(format!("{} was acknowledged and {why}: {it:?}", it.event)));
    let Ok(id) = EventId::parse(&it.event) else { return lost("is no event id") };
    let Some(stored) = event::load_id(view, &id)? else { return lost("is not there") };
    let content: Value = serde_json::from_str(stored.content()).unwrap_or_default();
    let same = it.body.is_empty() || content["body"] == it.body.as_str();
    if !same && stored.row.redacted_by.is_none() {
        return lost("says something else");
    }
    Ok(Ok(()))
}

/// A message that was sent again after an answer was lost is there once.
pub(crate) fn once(view: &View, timeline: &Timeline) -> Reply<Result<(), String>> {
    let mut said: BTreeMap<String, &str> = BTreeMap::new();
    for (_, event, id) in &timeline.events {
        let stored = event::load(view, *event)?;
        let content: Value = serde_json::from_str(stored.content()).unwrap_or_default();
        let Some(body) = content["body"].as_str() else { continue };
        if let Some(first) = said.insert(body.to_owned(), id) {
            return Ok(Err(format!("{body:?} was said twice: {first} and {id}")));
        }
    }
    Ok(Ok(()))
}

/// How a user stood to a room around one event of its timeline, as the server had it when that came.
struct Turned {
    at: Seq,
    before: bool,
    after: bool,
}

/// The same of all events.
struct Presence(Vec<Turned>);

impl Presence {
    fn read(view: &View, timeline: &Timeline, id: &UserId) -> Reply<Presence> {
        let joined =
            |root| -> Reply<bool> { Ok(membership(view, root, id)?.as_deref() == Some("join")) };
        let turned = |(at, event, _): &(Seq, Event, String)| {
            let turn = room::turn(view, *at, &*event::load(view, *event)?)?;
            Ok(Turned { at: *at, before: joined(turn.before)?, after: joined(turn.after)? })
        };
        Ok(Presence(timeline.events.iter().map(turned).collect::<Reply<_>>()?))
    }

    /// Where they last came in, from their server's point of view: by an event, or with the state that it was told. Where
    /// it came in by a server that had not heard of their leave, the join is none in the graph.
    fn last_join(&self) -> Option<Seq> {
        let (mut was, mut last) = (false, None);
        for it in &self.0 {
            if !was && (it.before || it.after) {
                last = Some(it.at);
            }
            was = it.after;
        }
        last
    }

    /// Were they in the room when what stands here came, or some time later?
    fn here_or_later(&self, at: Seq) -> bool {
        self.0.iter().filter(|it| it.at >= at).any(|it| it.before || it.after)
    }
}

/// Who is in a room was told that, and everything since they joined, once and in order; who is not, that they are out; and
/// nobody what the gate keeps from them.
pub(crate) fn told(
    view: &View,
    timeline: &Timeline,
    me: &Person,
    heard: &Heard,
) -> Reply<Result<(), String>> {
    let id: &UserId = &me.account.id;
    let user = user::find(view, id)?.ok_or_else(|| Error::fault("a user is gone"))?;
    let presence = Presence::read(view, timeline, id)?;
    for event in &heard.events {
        // How they stand themselves, everybody is told, of rooms too that their server is not in.
        if is_own_membership(view, id, event)? {
            continue;
        }
        if let Err(why) = may_see(view, timeline, user, id, &presence, event)? {
            return Ok(Err(format!("{id} was told {event}, but {why}")));
        }
    }
    let joined = is_joined(view, timeline, user)?;
    if joined != heard.inside {
        let knows = if heard.inside { "in" } else { "out of" };
        return Ok(Err(format!("{id} was told to be {knows} a room of {:?}", timeline.ends())));
    }
    if !joined {
        return Ok(Ok(()));
    }
    // What followed their last join, as it was told.
    // A server that lost the answer to a join learns of it with the state, when it comes in by another; then nobody was told.
    let Some(since) = presence.last_join() else { return Ok(Ok(())) };
    let mut wanted: Vec<&str> = Vec::new();
    for (at, _, event) in timeline.events.iter().filter(|(at, ..)| *at >= since) {
        // What was put into the past stands where `/sync` had gone by: clients find it as they scroll.
        if !is_news(view, timeline.room, *at, event)? {
            continue;
        }
        // What others did at the same time may lie behind the join and yet have happened before it.
        if may_see(view, timeline, user, id, &presence, event)?.is_ok() {
            wanted.push(event);
        }
    }
    let known: BTreeSet<&str> = wanted.iter().copied().collect();
    let told = heard.events.get(heard.begins..).unwrap_or_default();
    let got: Vec<&str> = told.iter().map(|id| &**id).filter(|id| known.contains(id)).collect();
    // A timeline may begin late; what lies before, clients ask for when somebody looks at it.
    let begun = wanted.iter().position(|id| got.first() == Some(id)).unwrap_or(0);
    let wanted = wanted.get(begun..).unwrap_or_default();
    if got != wanted {
        return Ok(Err(format!("{id} was to be told {wanted:?} and was told {got:?}")));
    }
    Ok(Ok(()))
}

/// Did an event come as news, announced by the log entry of its position?
pub(crate) fn is_news(view: &View, room: Room, at: Seq, id: &str) -> Reply<bool> {
    let entry = view.log(Seq(at.0.saturating_sub(1)), at, 1)?.pop();
    let Some((_, Entry::Event { room: of, event, .. })) = entry else { return Ok(false) };
    Ok(of == room && event::load(view, event)?.id.as_str() == id)
}

/// Is an event about how a user stands to a room?
fn is_own_membership(view: &View, id: &UserId, event: &str) -> Reply<bool> {
    let Ok(event) = EventId::parse(event) else { return Ok(false) };
    Ok(event::load_id(view, &event)?.is_some_and(|stored| {
        stored.is_state("m.room.member") && stored.row.state_key.as_deref() == Some(id.as_str())
    }))
}

/// The rules of the spec once more, in the words of the spec (Client-Server API, "Room history visibility").
fn may_see(
    view: &View,
    timeline: &Timeline,
    user: User,
    id: &UserId,
    presence: &Presence,
    event: &str,
) -> Reply<Result<(), String>> {
    let Some((at, number, _)) = timeline.events.iter().find(|(.., id)| id == event) else {
        return Ok(Err("it is not in the room's timeline".to_owned()));
    };
    let stored = event::load(view, *number)?;
    let mut seen = Vec::new();
    // The state around the event itself counts, not what the room had come to when it arrived here.
    for root in [stored.row.before, stored.row.after] {
        let history = history(view, root)?;
        let membership = membership(view, root, id)?.unwrap_or_else(|| "leave".to_owned());
        seen.push((history, membership));
    }
    // For an event that changes one of the two, both count.
    let own = stored.row.state_key.as_deref() == Some(id.as_str());
    let changes = own || stored.is_state("m.room.history_visibility");
    // What came while they were in the room was sent before they came, or at the same time.
    let joined_later = presence.here_or_later(*at) || is_joined(view, timeline, user)?;
    let allowed = seen.iter().take(if changes { 2 } else { 1 }).any(|(history, membership)| {
        history == "world_readable"
            || membership == "join"
            || history == "shared" && joined_later
            || history == "invited" && membership == "invite"
    });
    Ok(if allowed { Ok(()) } else { Err(format!("at {at} history and membership were {seen:?}")) })
}

fn is_joined(view: &View, timeline: &Timeline, user: User) -> Reply<bool> {
    room::is_joined(view, timeline.room, user)
}

fn content(view: &View, root: Root, kind: &str, state_key: &str) -> Reply<Option<Value>> {
    let stored = room::state(view, root, kind, state_key)?;
    Ok(stored.map(|stored: std::sync::Arc<Stored>| {
        serde_json::from_str(stored.content()).unwrap_or_default()
    }))
}

/// How a user stood to the room in a state.
pub(crate) fn membership(view: &View, root: Root, id: &UserId) -> Reply<Option<String>> {
    let content = content(view, root, "m.room.member", id.as_str())?;
    Ok(content.and_then(|content| content["membership"].as_str().map(str::to_owned)))
}

/// The room's history visibility in a state.
pub(crate) fn history(view: &View, root: Root) -> Reply<String> {
    let content = content(view, root, "m.room.history_visibility", "")?;
    let said = content.as_ref().and_then(|content| content["history_visibility"].as_str());
    Ok(said.unwrap_or("shared").to_owned())
}

/// A room's state now: (type, state key) → event id.
pub(crate) fn state_now(view: &View, room: Room) -> Reply<BTreeMap<(String, String), String>> {
    let root = room::head(view, room)?.state;
    let events = state::list(view, root, state::Part::All)?;
    let named = |event| {
        let stored = event::load(view, event)?;
        let key = (stored.row.kind.clone(), stored.row.state_key.clone().unwrap_or_default());
        Ok((key, stored.id.to_string()))
    };
    events.into_iter().map(named).collect()
}

/// What a server's own people were promised.
pub(crate) fn of_own_people(
    view: &View,
    rooms: &[String],
    watchers: &[&(std::sync::Arc<Person>, Watcher)],
) -> Reply<Vec<String>> {
    let mut broken = Vec::new();
    for id in rooms {
        let Some(timeline) = timeline(view, id)? else { continue };
        broken.extend(once(view, &timeline)?.err());
        for (person, watcher) in watchers {
            let nothing = Heard::default();
            let heard = watcher.told.get(id).unwrap_or(&nothing);
            broken.extend(told(view, &timeline, person, heard)?.err());
        }
    }
    Ok(broken)
}
