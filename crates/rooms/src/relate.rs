//! What relations between events (`m.relates_to`) keep beside the events: children by parent, summaries of threads,
//! annotations that may not be made twice (spec: Client-Server API, "Threading", "Event annotations and reactions").

use base::{Error, Event, Reply, Room, Seq, User};
use protocol::relation::relation;
use store::{
    Announced, Direction, Tx, View,
    event::{self, Stored},
    schema::{ANNOTATIONS, RELATIONS, Relation, THREADS, Thread},
};

const THREAD: &str = "m.thread";
const ANNOTATION: &str = "m.annotation";
/// Children of a thread looked at when its newest reply is redacted, newest first: whoever redacts more than this
/// at the end of one thread sees an older summary.
const CHILDREN_MAX: usize = 1_000;

/// A relation to an event of the same room that we hold.
pub(crate) struct Related {
    pub(crate) parent: Event,
    pub(crate) rel_type: String,
    annotation: Option<[u8; 16]>,
}

impl Related {
    /// The row of the child.
    pub(crate) fn child(&self, child: Event, kind: &str, sender: User) -> Relation {
        Relation { child, rel_type: self.rel_type.clone(), kind: kind.to_owned(), sender }
    }
}

/// Where a child stands in the timeline.
pub(crate) enum At {
    /// Where it is announced.
    Announced(Announced),
    /// In the past.
    Past(Seq),
}

/// Reads the relation of a new event. A parent that we do not hold, or of another room, is none.
///
/// # Errors
/// 400 `M_UNKNOWN` for a thread that starts at an event which is itself a child; 400 `M_DUPLICATE_ANNOTATION`.
pub(crate) fn read(
    view: &View,
    room: Room,
    sender: User,
    kind: &str,
    content: &str,
) -> Reply<Option<Related>> {
    let Some((related, nested)) = find(view, room, sender, kind, content)? else { return Ok(None) };
    if nested {
        let text = "a thread cannot start at an event that relates to another";
        return Err(Error::refused(400, "M_UNKNOWN", text));
    }
    if let Some(hash) = related.annotation
        && view.has(&ANNOTATIONS, (related.parent, hash))?
    {
        let text = "you have annotated this event so already";
        return Err(Error::refused(400, "M_DUPLICATE_ANNOTATION", text));
    }
    Ok(Some(related))
}

/// Reads the relation of an event of another server, which may be what ours may not: then it is none.
pub(crate) fn read_theirs(
    view: &View,
    room: Room,
    sender: User,
    kind: &str,
    content: &str,
) -> Reply<Option<Related>> {
    let found = find(view, room, sender, kind, content)?;
    Ok(found.filter(|(_, nested)| !nested).map(|(related, _)| related))
}

/// The relation, and whether it makes a thread of a child.
fn find(
    view: &View,
    room: Room,
    sender: User,
    kind: &str,
    content: &str,
) -> Reply<Option<(Related, bool)>> {
    let Some(found) = relation(content) else { return Ok(None) };
    let Some(parent) = event::load_id(view, &found.event_id)? else { return Ok(None) };
    if parent.row.room != room {
        return Ok(None);
    }
    let nested = found.rel_type == THREAD && relation(parent.content()).is_some();
    let key = found.key.filter(|_| found.rel_type == ANNOTATION);
    let annotation = key.map(|key| annotation_of(sender, kind, &key));
    Ok(Some((Related { parent: parent.event, rel_type: found.rel_type, annotation }, nested)))
}

fn annotation_of(sender: User, kind: &str, key: &str) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    hash.update(&sender.0.to_be_bytes());
    hash.update(&(kind.len() as u64).to_be_bytes()).update(kind.as_bytes()).update(key.as_bytes());
    hash.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Writes what a new child changes.
pub(crate) fn index(
    tx: &mut Tx,
    room: Room,
    related: &Related,
    relation: Relation,
    at: At,
) -> Reply<()> {
    let (parent, child, sender) = (related.parent, relation.child, relation.sender);
    let newest = matches!(at, At::Announced(_));
    match at {
        At::Announced(at) => tx.put_at(&RELATIONS, at, move |seq| ((parent, seq), relation)),
        At::Past(seq) => tx.put_new(&RELATIONS, (parent, seq), &relation),
    }
    if let Some(hash) = related.annotation {
        tx.put(&ANNOTATIONS, (parent, hash), &child);
    }
    if related.rel_type == THREAD {
        let empty = || Thread { count: 0, latest: child, participants: Vec::new() };
        let mut thread = tx.get(&THREADS, (room, parent))?.unwrap_or_else(empty);
        thread.count += 1;
        if newest {
            thread.latest = child;
        }
        if !thread.participants.contains(&sender) {
            thread.participants.push(sender);
        }
        tx.put(&THREADS, (room, parent), &thread);
    }
    Ok(())
}

/// Takes back what a child that was just redacted had changed. `child` is the event as it was before.
pub(crate) fn unindex(tx: &mut Tx, child: &Stored) -> Reply<()> {
    let Some((parent, rel_type)) = child.row.relates.clone() else { return Ok(()) };
    match rel_type.as_str() {
        ANNOTATION => {
            let key = relation(child.content()).and_then(|found| found.key);
            if let Some(key) = key {
                let hash = annotation_of(child.row.sender, &child.row.kind, &key);
                tx.delete(&ANNOTATIONS, (parent, hash));
            }
            Ok(())
        }
        THREAD => shrink_thread(tx, parent, child),
        _ => Ok(()),
    }
}

fn shrink_thread(tx: &mut Tx, root: Event, child: &Stored) -> Reply<()> {
    let (room, sender) = (child.row.room, child.row.sender);
    let Some(mut thread) = tx.get(&THREADS, (room, root))? else { return Ok(()) };
    thread.count = thread.count.saturating_sub(1);
    if thread.count == 0 {
        tx.delete(&THREADS, (room, root));
        return Ok(());
    }
    let left = replies(tx, root)?;
    if thread.latest == child.event {
        thread.latest = left.first().map_or(root, |reply| reply.child);
    }
    let latest_is_theirs = event::load(tx, thread.latest)?.row.sender == sender;
    if !latest_is_theirs && !left.iter().any(|reply| reply.sender == sender) {
        thread.participants.retain(|user| *user != sender);
    }
    tx.put(&THREADS, (room, root), &thread);
    Ok(())
}

/// The newest replies of a thread that are not redacted, newest first.
fn replies(tx: &Tx, root: Event) -> Reply<Vec<Relation>> {
    let (from, to) = ((root, Seq::ZERO), (root, Seq::MAX));
    let rows: Vec<((Event, Seq), Relation)> =
        tx.range(&RELATIONS, from, to, Direction::Backward, CHILDREN_MAX)?;
    let mut left = Vec::new();
    for (_, relation) in rows.into_iter().filter(|(_, relation)| relation.rel_type == THREAD) {
        if event::load(tx, relation.child)?.row.redacted_by.is_none() {
            left.push(relation);
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests;
