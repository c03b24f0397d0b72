//! What waits for one pusher: names of rooms, not of events.

use std::collections::BTreeSet;

use base::{Room, Seq};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::badge::Badge;

/// Rooms to look at.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rooms {
    /// Every room of the user.
    All,
    /// These.
    Some(BTreeSet<Room>),
}

/// Rooms named one by one; with more, all are looked at.
const NAMED_MAX: usize = 4_096;

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms::Some(BTreeSet::new())
    }
}

impl FromIterator<Room> for Rooms {
    fn from_iter<T: IntoIterator<Item = Room>>(rooms: T) -> Rooms {
        Rooms::Some(rooms.into_iter().collect())
    }
}

impl Rooms {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Rooms::Some(rooms) if rooms.is_empty())
    }

    pub(super) fn merge(&mut self, others: &Rooms) {
        match (&mut *self, others) {
            (Rooms::All, _) => {}
            (Rooms::Some(_), Rooms::All) => *self = Rooms::All,
            (Rooms::Some(mine), Rooms::Some(others)) => {
                mine.extend(others);
                if mine.len() > NAMED_MAX {
                    *self = Rooms::All;
                }
            }
        }
    }
}

/// What happened, as far as one pusher is concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// Where events came.
    pub(super) rooms: Rooms,
    /// Where counts may have changed.
    pub(super) stale: Rooms,
    /// All that happened up to here has been named.
    pub(super) upto: Seq,
}

impl Work {
    pub(super) fn merge(&mut self, other: &Work) {
        self.rooms.merge(&other.rooms);
        self.stale.merge(&other.stale);
        self.upto = self.upto.max(other.upto);
    }
}

#[derive(Default)]
struct Inbox {
    work: Option<Work>,
    running: bool,
}

/// The place of a pusher.
#[derive(Default)]
pub(super) struct Slot {
    inbox: Mutex<Inbox>,
    /// What the last worker knew of unread messages.
    badge: Mutex<Badge>,
    /// The pusher was set again: whoever waits for its gateway need not.
    pub(super) again: Notify,
}

impl Slot {
    /// Adds work. `true`: nobody is at it, so a worker has to be started.
    pub(super) fn give(&self, work: &Work) -> bool {
        let mut inbox = self.inbox.lock();
        match &mut inbox.work {
            Some(waiting) => waiting.merge(work),
            None => inbox.work = Some(work.clone()),
        }
        if work.rooms == Rooms::All {
            self.again.notify_one();
        }
        !std::mem::replace(&mut inbox.running, true)
    }

    /// Takes what waits. `None`: there is nothing, and the worker that asked has ended.
    pub(super) fn take(&self) -> Option<Work> {
        let mut inbox = self.inbox.lock();
        let work = inbox.work.take();
        inbox.running = work.is_some();
        work
    }

    /// Takes what came while the worker was busy, which goes on.
    pub(super) fn more(&self) -> Option<Work> {
        self.inbox.lock().work.take()
    }

    pub(super) fn badge(&self) -> Badge {
        std::mem::take(&mut self.badge.lock())
    }
    /// Counts of these rooms have to be counted again.
    pub(super) fn touch(&self, rooms: &Rooms) {
        self.badge.lock().touch(rooms);
    }
    pub(super) fn keep(&self, badge: Badge) {
        *self.badge.lock() = badge;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(rooms: &[u64], upto: u64) -> Work {
        let rooms: Rooms = rooms.iter().map(|r| Room(*r)).collect();
        Work { stale: rooms.clone(), rooms, upto: Seq(upto) }
    }

    #[test]
    fn a_pusher_has_one_worker_at_a_time_and_nothing_is_lost_between_two() {
        let slot = Slot::default();
        assert!(slot.give(&work(&[1], 5)));
        assert!(!slot.give(&work(&[2], 7)), "a worker is on its way");
        assert_eq!(slot.take(), Some(work(&[1, 2], 7)));
        assert!(!slot.give(&work(&[3], 8)), "the worker will ask again");
        assert_eq!(slot.take(), Some(work(&[3], 8)));
        assert_eq!(slot.take(), None);
        assert!(slot.give(&work(&[4], 9)), "the worker has ended");
    }

    #[test]
    fn too_many_rooms_are_all_rooms() {
        let mut some = Rooms::default();
        some.merge(&(0..=NAMED_MAX as u64).map(Room).collect());
        assert_eq!(some, Rooms::All);
        some.merge(&Rooms::default());
        assert_eq!(some, Rooms::All);
    }
}
