//! What the index holds of events: which ones, and their text as it stands after edits and redactions.

use std::collections::BTreeSet;

use base::{Event, Reply, Room, Seq};
use serde::Deserialize;
use store::{
    Direction, View,
    event::{self, Stored},
    log::Entry,
    schema::{RELATIONS, Relation},
};

use crate::messages::Key;

/// Something to be done to the index.
pub(crate) struct Change {
    pub(crate) event: Event,
    pub(crate) room: Room,
    pub(crate) order: Seq,
    pub(crate) key: Key,
    /// The index may hold the event already.
    pub(crate) replaces: bool,
    /// What it says now; none: nothing that can be found.
    pub(crate) text: Option<String>,
}

/// Edits of one event that are looked at to find the newest: who edits more often is found by an older text.
const EDITS_MAX: usize = 500;

/// Reads log entries after a position, at most so many; how far it came, and what changed.
pub(crate) fn read(view: &View, after: Seq, upto: Seq, limit: usize) -> Reply<(Seq, Vec<Change>)> {
    let entries = view.log(after, upto, limit)?;
    let full = entries.len() == limit;
    // Entries of others lie between ours, so that fewer than asked means all.
    let reached = if full { entries.last().map_or(upto, |(seq, _)| *seq) } else { upto };
    let mut changes = Vec::new();
    // An event that changes twice in a batch is read once: its state is that of the view anyway.
    let mut again = BTreeSet::new();
    for (_, entry) in entries {
        match entry {
            Entry::Event { event, .. } => {
                let stored = event::load(view, event)?;
                match edited(&stored) {
                    Some(original) => drop(again.insert(original)),
                    None => changes.extend(change(view, &stored, false)?),
                }
            }
            Entry::Redacted { event, .. } => {
                let stored = event::load(view, event)?;
                let original = edited(&stored).unwrap_or(event);
                again.insert(original);
            }
            _ => {}
        }
    }
    for event in again {
        changes.extend(change(view, &*event::load(view, event)?, true)?);
    }
    Ok((reached, changes))
}

/// The event that this one is an edit of.
fn edited(stored: &Stored) -> Option<Event> {
    let (parent, how) = stored.row.relates.as_ref()?;
    (how == "m.replace" && stored.row.state_key.is_none()).then_some(*parent)
}

fn key(stored: &Stored) -> Option<Key> {
    Some(match (stored.row.kind.as_str(), stored.row.state_key.is_some()) {
        ("m.room.message", false) => Key::Body,
        ("m.room.name", true) => Key::Name,
        ("m.room.topic", true) => Key::Topic,
        _ => return None,
    })
}

fn change(view: &View, stored: &Stored, replaces: bool) -> Reply<Option<Change>> {
    let Some(key) = key(stored) else { return Ok(None) };
    let Some(order) = event::order(view, stored.event)? else { return Ok(None) };
    let mut text = None;
    if stored.row.redacted_by.is_none() {
        text = match if replaces { newest_edit(view, stored)? } else { None } {
            Some(text) => Some(text),
            None => said(stored, key),
        };
    }
    let text = text.filter(|text| !text.trim().is_empty());
    if text.is_none() && !replaces {
        return Ok(None);
    }
    let (event, room) = (stored.event, stored.row.room);
    Ok(Some(Change { event, room, order, key, replaces, text }))
}

fn said(stored: &Stored, key: Key) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        body: Option<String>,
        name: Option<String>,
        topic: Option<String>,
    }
    let content: Content = stored.content_as()?;
    match key {
        Key::Body => content.body,
        Key::Name => content.name,
        Key::Topic => content.topic,
    }
}

/// What the newest valid edit says (spec: "Event replacements": same sender, same type, not redacted).
fn newest_edit(view: &View, original: &Stored) -> Reply<Option<String>> {
    #[derive(Deserialize)]
    struct New {
        body: Option<String>,
    }
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.new_content")]
        new: Option<New>,
    }
    let from = (original.event, Seq::ZERO);
    let rows: Vec<((Event, Seq), Relation)> =
        view.range(&RELATIONS, from, (original.event, Seq::MAX), Direction::Backward, EDITS_MAX)?;
    let mut newest: Option<(u64, String, Option<String>)> = None;
    for (_, relation) in rows {
        let same = relation.sender == original.row.sender && relation.kind == original.row.kind;
        if relation.rel_type != "m.replace" || !same {
            continue;
        }
        let edit = event::load(view, relation.child)?;
        let Some(new) = edit.content_as::<Content>().and_then(|content| content.new) else {
            continue;
        };
        let place = (edit.row.sent_at.0, edit.id.to_string());
        let newer = newest.as_ref().is_none_or(|(at, id, _)| place > (*at, id.clone()));
        if edit.row.redacted_by.is_none() && newer {
            newest = Some((place.0, place.1, new.body));
        }
    }
    Ok(newest.and_then(|(.., body)| body))
}
