//! `POST /search`: what a search found, as far as the searcher may see it, with what stands around it.
//!
//! The index only names candidates; each passes the gate and the filter like any event that is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{Event, Reply, Room, Seq, User};
use ruma::api::client::filter::RoomEventFilter;
use store::{
    Direction, View,
    event::{self, Stored},
    room,
    schema::Standing,
    state::{self, Part},
    user,
};

use crate::{
    client_event::{Writer, ignored},
    filter::RoomEvents,
    gate::Gate,
    json::Out,
    messages::Reader,
    timeline::{Query, passes},
    token::Token,
};

/// Events around a result, on each side, at most.
pub const AROUND_MAX: usize = 50;

/// How results are to be told.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// Events before and after each result; none: no context at all.
    pub around: Option<Around>,
    /// The current state of the rooms, too.
    pub include_state: bool,
    /// Group by room.
    pub by_room: bool,
    /// Group by sender.
    pub by_sender: bool,
}

/// What is told around a result.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Events before it.
    pub before: usize,
    /// Events after it.
    pub after: usize,
    /// The names and pictures that its senders had then.
    pub profiles: bool,
}

/// The rooms that somebody may search: those they are in, and those they were in and have not forgotten.
///
/// # Errors
/// Faults of the store.
pub fn rooms(view: &View, searcher: User, filter: &RoomEvents) -> Reply<Vec<Room>> {
    let mut found = Vec::new();
    for (room, membership) in room::rooms_of(view, searcher)?.iter() {
        let in_it = membership.standing == Standing::Join || membership.was_joined;
        if in_it && !membership.forgotten && filter.matcher.room(&room::info(view, *room)?.id) {
            found.push(*room);
        }
    }
    Ok(found)
}

/// Something found that the searcher may see.
pub struct Found {
    stored: Arc<Stored>,
    order: Seq,
    rank: f32,
}

/// Of the candidates, those that the searcher may see and the filter lets through, in their order.
///
/// # Errors
/// Faults of the store.
pub fn seen(
    view: &View,
    reader: &Reader<'_>,
    filter: &RoomEvents,
    candidates: &[(Event, f32)],
) -> Reply<Vec<Option<Found>>> {
    let ignored = ignored(view, reader.user)?;
    let mut gates: BTreeMap<Room, Gate<'_>> = BTreeMap::new();
    let mut found = Vec::with_capacity(candidates.len());
    for (event, rank) in candidates {
        found.push(None);
        let stored = event::load(view, *event)?;
        let Some(order) = event::order(view, *event)? else { continue };
        let room = stored.row.room;
        let gate = match gates.entry(room) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(Gate::new(view, room, reader.user, reader.id)?)
            }
        };
        let sender = user::id(view, stored.row.sender)?;
        let wanted = stored.row.redacted_by.is_none()
            && !ignored.iter().any(|id| id == sender.as_str())
            && passes(filter, &stored, sender.as_str())
            && gate.sees(&stored, order)?;
        if wanted && let Some(last) = found.last_mut() {
            *last = Some(Found { stored, order, rank: *rank });
        }
    }
    Ok(found)
}

/// What stands around results passes this.
struct Passing {
    ignored: Vec<String>,
    everything: RoomEvents,
}

/// The JSON body. `count`: of all candidates; `highlights`: the words looked for; `next`: where the next page begins.
///
/// # Errors
/// Faults of the store.
pub fn answer(
    view: &View,
    reader: &Reader<'_>,
    form: &Form,
    found: &[Found],
    count: usize,
    highlights: &[String],
    next: Option<&str>,
) -> Reply<String> {
    let mut out = Out::with_capacity(1024 * (1 + found.len()));
    out.open().key("search_categories").open().key("room_events").open();
    out.key("count").number(count as u64);
    out.key("highlights").open_array();
    for word in highlights {
        out.text(word);
    }
    out.close_array();
    if let Some(next) = next {
        out.key("next_batch").text(next);
    }
    let everything = RoomEvents::compile(&RoomEventFilter::default());
    let passing = Passing { ignored: ignored(view, reader.user)?, everything };
    out.key("results").open_array();
    for one in found {
        result(view, reader, form, &passing, one, &mut out)?;
    }
    out.close_array();
    if form.by_room || form.by_sender {
        groups(view, form, found, next, &mut out)?;
    }
    if form.include_state {
        current_state(view, reader, found, &mut out)?;
    }
    out.close().close().close();
    Ok(out.finish())
}

fn result(
    view: &View,
    reader: &Reader<'_>,
    form: &Form,
    passing: &Passing,
    one: &Found,
    out: &mut Out,
) -> Reply<()> {
    let room = one.stored.row.room;
    let gate = Gate::new(view, room, reader.user, reader.id)?;
    let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?;
    out.open().key("rank").raw(&format!("{:.4}", one.rank));
    out.key("result");
    writer.write(out, &one.stored)?;
    if let Some(around) = form.around {
        out.key("context").open();
        context(view, passing, &gate, &writer, one, around, out)?;
        out.close();
    }
    out.close();
    Ok(())
}

fn context(
    view: &View,
    passing: &Passing,
    gate: &Gate<'_>,
    writer: &Writer<'_>,
    one: &Found,
    around: Around,
    out: &mut Out,
) -> Reply<()> {
    let span = |after: Seq, upto: Seq, direction, limit: usize| {
        let (room, filter, ignored) =
            (one.stored.row.room, &passing.everything, &passing.ignored[..]);
        let stop_at_hidden_state = false;
        Query { view, room, gate, filter, ignored, after, upto, stop_at_hidden_state }
            .read(direction, limit.min(AROUND_MAX))
    };
    let at = one.order;
    let before = span(Seq::ZERO, Seq(at.0.saturating_sub(1)), Direction::Backward, around.before)?;
    let after = span(at, view.head(), Direction::Forward, around.after)?;
    let start = before.reached.unwrap_or(at);
    out.key("start").text(&Token::at(Seq(start.0.saturating_sub(1))).to_string());
    out.key("end").text(&Token::at(after.reached.unwrap_or(at)).to_string());
    for (key, events) in [("events_before", &before.events), ("events_after", &after.events)] {
        out.key(key).open_array();
        for (_, event) in events {
            writer.write(out, event)?;
        }
        out.close_array();
    }
    if around.profiles {
        let events = before.events.iter().chain(&after.events).map(|(_, e)| e);
        let senders: BTreeSet<User> =
            events.map(|e| e.row.sender).chain([one.stored.row.sender]).collect();
        profiles(view, one, &senders, out)?;
    }
    Ok(())
}

/// The names and pictures of senders as the room had them at the result.
fn profiles(view: &View, one: &Found, senders: &BTreeSet<User>, out: &mut Out) -> Reply<()> {
    #[derive(serde::Deserialize)]
    struct Content {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    out.key("profile_info").open();
    for sender in senders {
        let id = user::id(view, *sender)?;
        let member = room::state(view, one.stored.row.before, "m.room.member", id.as_str())?;
        let Some(content) = member.and_then(|m| m.content_as::<Content>()) else { continue };
        out.key(id.as_str()).open();
        if let Some(name) = content.displayname {
            out.key("displayname").text(&name);
        }
        if let Some(url) = content.avatar_url {
            out.key("avatar_url").text(&url);
        }
        out.close();
    }
    out.close();
    Ok(())
}

fn groups(
    view: &View,
    form: &Form,
    found: &[Found],
    next: Option<&str>,
    out: &mut Out,
) -> Reply<()> {
    out.key("groups").open();
    for (wanted, name) in [(form.by_room, "room_id"), (form.by_sender, "sender")] {
        if !wanted {
            continue;
        }
        // In the order of each group's best result.
        let mut order: Vec<String> = Vec::new();
        let mut members: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for one in found {
            let group = match name {
                "room_id" => room::info(view, one.stored.row.room)?.id.clone(),
                _ => user::id(view, one.stored.row.sender)?.to_string(),
            };
            if !members.contains_key(&group) {
                order.push(group.clone());
            }
            members.entry(group).or_default().push(one.stored.id.as_str());
        }
        out.key(name).open();
        for (place, group) in order.iter().enumerate() {
            out.key(group).open().key("order").number(place as u64);
            if let Some(next) = next {
                out.key("next_batch").text(next);
            }
            out.key("results").open_array();
            for id in members.get(group).into_iter().flatten() {
                out.text(id);
            }
            out.close_array().close();
        }
        out.close();
    }
    out.close();
    Ok(())
}

/// The current state of the rooms of the results, where the searcher may see it.
fn current_state(view: &View, reader: &Reader<'_>, found: &[Found], out: &mut Out) -> Reply<()> {
    let rooms: BTreeSet<Room> = found.iter().map(|one| one.stored.row.room).collect();
    out.key("state").open();
    for room in rooms {
        let gate = Gate::new(view, room, reader.user, reader.id)?;
        let joined = room::is_joined(view, room, reader.user)?;
        let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?;
        out.key(&room::info(view, room)?.id).open_array();
        for event in state::list(view, room::head(view, room)?.state, Part::All)? {
            let stored = event::load(view, event)?;
            if joined || gate.shows(&stored)? {
                writer.write(out, &stored)?;
            }
        }
        out.close_array();
    }
    out.close();
    Ok(())
}
