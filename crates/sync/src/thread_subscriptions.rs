//! Reading thread subscriptions: what has changed of them (MSC4308), and what counts for push rules (MSC4306).

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use base::{Event, Reply, Room, Seq, User};
use store::{
    CacheSpace, Direction, Kind, View, event, room,
    schema::{THREAD_SUBSCRIPTION_CHANGES, THREAD_SUBSCRIPTIONS, ThreadOf, ThreadSubscription},
};

use crate::json::Out;

static OF_USER: CacheSpace = CacheSpace { tag: 100, owned: Some(Kind::ThreadSubscriptions) };

/// Subscriptions of one user that count for push rules.
const SUBSCRIPTIONS_MAX: usize = 100_000;
/// Rows read at once to find the changes wanted: rows of changes that were overtaken lie between.
const CHUNK: usize = 256;

/// A change: only the last one of each thread is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its position; `bump_stamp` in answers.
    pub at: Seq,
    /// The room.
    pub room: Room,
    /// The thread's root.
    pub root: Event,
    /// How the user stands to it now.
    pub subscription: ThreadSubscription,
}

/// The last changes after a position and up to another, newest first, at most `limit`.
///
/// # Errors
/// Faults only.
pub fn changes(view: &View, user: User, after: Seq, upto: Seq, limit: usize) -> Reply<Vec<Change>> {
    let mut found = Vec::new();
    let mut upto = upto;
    while found.len() < limit && upto > after {
        let rows: Vec<((User, Seq), ThreadOf)> = view.range(
            &THREAD_SUBSCRIPTION_CHANGES,
            (user, after.next()),
            (user, upto.next()),
            Direction::Backward,
            CHUNK,
        )?;
        let full = rows.len() == CHUNK;
        for ((_, at), ThreadOf { room, root }) in rows {
            upto = Seq(at.0.saturating_sub(1));
            let row = view.get(&THREAD_SUBSCRIPTIONS, (user, room, root))?;
            if let Some(subscription) = row.filter(|row| row.changed == at)
                && found.len() < limit
            {
                found.push(Change { at, room, root, subscription });
            }
        }
        if !full {
            break;
        }
    }
    Ok(found)
}

/// Writes changes as `subscribed` and `unsubscribed` into an open object; what there is none of is left out.
///
/// # Errors
/// Faults only.
pub fn write(view: &View, out: &mut Out, changes: &[Change]) -> Reply<()> {
    for (key, subscribed) in [("subscribed", true), ("unsubscribed", false)] {
        let mut rooms: BTreeMap<Room, Vec<&Change>> = BTreeMap::new();
        for change in changes.iter().filter(|c| c.subscription.subscribed == subscribed) {
            rooms.entry(change.room).or_default().push(change);
        }
        if rooms.is_empty() {
            continue;
        }
        out.key(key).open();
        for (room, changes) in rooms {
            out.key(&room::info(view, room)?.id).open();
            for change in changes {
                out.key(event::load(view, change.root)?.id.as_str()).open();
                if subscribed {
                    out.key("automatic").flag(change.subscription.automatic);
                }
                out.key("bump_stamp").number(change.at.0).close();
            }
            out.close();
        }
        out.close();
    }
    Ok(())
}

/// A user's subscriptions as push rules ask for them.
pub(crate) struct Subscribed {
    rooms: BTreeMap<Room, InRoom>,
}

#[derive(Default)]
struct InRoom {
    roots: BTreeSet<Event>,
    stamp: u64,
}

impl Subscribed {
    /// Is the user subscribed to this thread? `None`: they have never subscribed to any, so that their clients know
    /// nothing of subscriptions, and threads notify as they did before there were any.
    pub(crate) fn to(&self, room: Room, root: Event) -> Option<bool> {
        let subscribed = self.rooms.get(&room).is_some_and(|r| r.roots.contains(&root));
        (!self.rooms.is_empty()).then_some(subscribed)
    }

    /// A number that changes with whatever counts in a room.
    pub(crate) fn stamp(&self, room: Room) -> u64 {
        match self.rooms.get(&room) {
            Some(in_room) => in_room.stamp,
            None => u64::from(!self.rooms.is_empty()),
        }
    }
}

/// The user's subscriptions.
pub(crate) fn subscribed(view: &View, user: User) -> Reply<Arc<Subscribed>> {
    view.cached(&OF_USER, u128::from(user.0), |view| {
        let rows: Vec<((User, Room, Event), ThreadSubscription)> =
            view.under(&THREAD_SUBSCRIPTIONS, (user,), SUBSCRIPTIONS_MAX)?;
        let bytes = 64 + rows.len() * 32;
        let mut rooms: BTreeMap<Room, InRoom> = BTreeMap::new();
        for ((_, room, root), row) in rows {
            let in_room = rooms.entry(room).or_default();
            if row.subscribed {
                in_room.roots.insert(root);
            }
        }
        for in_room in rooms.values_mut() {
            let mut hasher = DefaultHasher::new();
            in_room.roots.hash(&mut hasher);
            in_room.stamp = hasher.finish();
        }
        Ok((Subscribed { rooms }, bytes))
    })
}
