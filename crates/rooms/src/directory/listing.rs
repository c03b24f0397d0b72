//! The directory as one sorted list, kept in memory and brought forward by the log: a request costs what changed since the
//! last one, and its page, whatever the number of rooms.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use base::{Reply, Room, Seq};
use ruma::directory::PublicRoomsChunk;
use store::{
    CacheSpace, View,
    log::Entry,
    schema::{NETWORK_ROOMS, PUBLISHED},
};

use super::summary::{bytes, summary};

static LISTING: CacheSpace = CacheSpace { tag: 92, owned: None };

/// Rooms that are looked through.
const ROOMS_MAX: usize = 100_000;
/// Entries of the log by which a list is brought forward; if there are more, it is made again.
const STEPS_MAX: usize = 10_000;
/// What a room costs in the list beside its summary.
const LISTED_OVERHEAD: usize = 64;

/// A room in the list.
pub(super) struct Listed {
    pub(super) room: Room,
    pub(super) chunk: Arc<PublicRoomsChunk>,
    /// What a search looks at, in lower case, a line each.
    text: String,
}

impl Listed {
    fn new(view: &View, room: Room) -> Reply<Arc<Listed>> {
        let chunk = summary(view, room)?;
        let alias = chunk.canonical_alias.as_ref().map(|alias| alias.as_str());
        let texts = [chunk.name.as_deref(), chunk.topic.as_deref(), alias];
        let text = texts.into_iter().flatten().collect::<Vec<_>>().join("\n").to_lowercase();
        Ok(Arc::new(Listed { room, chunk, text }))
    }

    /// Does name, topic or alias contain this lower-case text?
    pub(super) fn contains(&self, term: &str) -> bool {
        self.text.lines().any(|line| line.contains(term))
    }

    fn rank(&self) -> (Reverse<ruma::UInt>, Room) {
        (Reverse(self.chunk.num_joined_members), self.room)
    }
}

/// Rooms, those with most members first.
pub(super) type Sorted = Arc<Vec<Arc<Listed>>>;

struct Listing {
    /// As of here.
    at: Seq,
    rooms: Sorted,
}

/// The published rooms.
pub(super) fn published(view: &View) -> Reply<Sorted> {
    let head = view.head();
    let known = view.recall::<Listing>(&LISTING, 0);
    if let Some(known) = known.as_ref().filter(|known| known.at >= head) {
        return Ok(known.rooms.clone());
    }
    let rooms = match known {
        Some(known) => forward(view, &known, head)?,
        None => None,
    };
    let rooms = match rooms {
        Some(rooms) => rooms,
        None => build(view)?,
    };
    let weight = |room: &Arc<Listed>| bytes(&room.chunk) + room.text.len() + LISTED_OVERHEAD;
    let weight = rooms.iter().map(weight).sum();
    let listing = Arc::new(Listing { at: head, rooms: rooms.clone() });
    view.remember(&LISTING, 0, listing, weight);
    Ok(rooms)
}

fn build(view: &View) -> Reply<Sorted> {
    let rows: Vec<((Room,), ())> = view.everything(&PUBLISHED, None, ROOMS_MAX)?;
    sorted(view, rows.into_iter().map(|((room,), ())| room))
}

fn sorted(view: &View, rooms: impl Iterator<Item = Room>) -> Reply<Sorted> {
    let mut listed: Vec<_> = rooms.map(|room| Listed::new(view, room)).collect::<Reply<_>>()?;
    listed.sort_by_key(|room| room.rank());
    Ok(Arc::new(listed))
}

/// `None`: too much has happened.
fn forward(view: &View, known: &Listing, head: Seq) -> Reply<Option<Sorted>> {
    let entries = view.log(known.at, head, STEPS_MAX)?;
    if entries.len() == STEPS_MAX {
        return Ok(None);
    }
    let changed: BTreeSet<Room> = entries.iter().filter_map(|(_, entry)| changes(entry)).collect();
    let mut now = Vec::new();
    for room in &changed {
        if view.has(&PUBLISHED, (*room,))? {
            now.push(Listed::new(view, *room)?);
        }
    }
    let was_listed = |room: &Arc<Listed>| changed.contains(&room.room);
    if now.is_empty() && !known.rooms.iter().any(was_listed) {
        return Ok(Some(known.rooms.clone()));
    }
    now.extend(known.rooms.iter().filter(|room| !was_listed(room)).cloned());
    now.sort_by_key(|room| room.rank());
    Ok(Some(Arc::new(now)))
}

/// The room of which an entry changes what is shown.
fn changes(entry: &Entry) -> Option<Room> {
    match entry {
        Entry::Event { room, state: true, .. }
        | Entry::Redacted { room, .. }
        | Entry::Directory { room } => Some(*room),
        _ => None,
    }
}

/// The rooms that application services list under a network.
pub(super) fn of_network(view: &View, network: &str) -> Reply<Sorted> {
    let rows: Vec<((String, Room), ())> =
        view.under(&NETWORK_ROOMS, (network.to_owned(),), ROOMS_MAX)?;
    sorted(view, rows.into_iter().map(|((_, room), ())| room))
}

/// The published rooms, and those of every network.
pub(super) fn of_all_networks(view: &View) -> Reply<Sorted> {
    let own = published(view)?;
    let rows: Vec<((String, Room), ())> = view.everything(&NETWORK_ROOMS, None, ROOMS_MAX)?;
    let listed: BTreeSet<Room> = own.iter().map(|room| room.room).collect();
    let more: BTreeSet<Room> = rows.into_iter().map(|((_, room), ())| room).collect();
    if more.is_subset(&listed) {
        return Ok(own);
    }
    sorted(view, listed.union(&more).copied())
}
