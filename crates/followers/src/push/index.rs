//! Whom an entry of the log concerns, among the users of this server who have pushers: kept in memory.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use accounts::pusher::PUSHERS_MAX;
use base::{Reply, Room, User};
use store::{
    View,
    log::Entry,
    room,
    schema::{PUSHERS, Pusher, PusherId},
};

use super::slot::Rooms;

/// Rows read at once.
const CHUNK: usize = 1_000;

/// What is known of a user.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Their pushers that are switched on, each with when it was set.
    pub(super) pushers: HashMap<PusherId, base::UnixMs>,
    /// The rooms they are in.
    pub(super) rooms: Arc<[Room]>,
}

/// What was new.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Learned {
    /// Pushers that were not there, or were set again.
    pub(super) new: Vec<PusherId>,
    /// Pushers that are not there any more.
    pub(super) gone: Vec<PusherId>,
    /// Rooms that the user was not in.
    pub(super) entered: Vec<Room>,
}

/// Whom something concerns, and in which rooms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Concern {
    pub(super) user: User,
    pub(super) rooms: Rooms,
    /// No event came; only what is unread may have changed.
    pub(super) counts_only: bool,
}

/// Users with pushers, and the rooms that they are in.
#[derive(Default)]
pub(super) struct Index {
    users: HashMap<User, Known>,
    by_room: HashMap<Room, HashSet<User>>,
}

impl Index {
    /// Whose pushers or rooms this entry changes, if that is to be known.
    pub(super) fn changes(&self, entry: &Entry) -> Option<User> {
        match entry {
            Entry::Pushers { user } => Some(*user),
            Entry::Event { target: Some(user), .. } if self.users.contains_key(user) => Some(*user),
            _ => None,
        }
    }

    /// Takes in what is known of a user now.
    pub(super) fn learn(&mut self, user: User, known: Known) -> Learned {
        let before = self.users.remove(&user).unwrap_or_default();
        let was: HashSet<Room> = before.rooms.iter().copied().collect();
        let is: HashSet<Room> = known.rooms.iter().copied().collect();
        let stays = !known.pushers.is_empty();
        for room in was.iter().filter(|room| !stays || !is.contains(room)) {
            if let Some(users) = self.by_room.get_mut(room) {
                users.remove(&user);
                if users.is_empty() {
                    self.by_room.remove(room);
                }
            }
        }
        let gone = before.pushers.keys().filter(|id| !known.pushers.contains_key(*id)).copied();
        let gone = gone.collect();
        if !stays {
            return Learned { gone, ..Learned::default() };
        }
        for room in &is {
            self.by_room.entry(*room).or_default().insert(user);
        }
        let new = known.pushers.iter().filter(|(id, set)| before.pushers.get(*id) != Some(set));
        let new = new.map(|(id, _)| *id).collect();
        let entered = is.difference(&was).copied().collect();
        self.users.insert(user, known);
        Learned { new, gone, entered }
    }

    /// The pushers of a user.
    pub(super) fn pushers(&self, user: User) -> Vec<PusherId> {
        self.users.get(&user).map_or_else(Vec::new, |known| known.pushers.keys().copied().collect())
    }

    /// Whom an entry concerns: as many as have pushers, not as many as are in the room.
    pub(super) fn concerns(&self, entry: &Entry) -> Vec<Concern> {
        let mut concerns = Vec::new();
        let mut add = |user: User, rooms: Rooms, counts_only: bool| {
            if self.users.contains_key(&user) {
                concerns.push(Concern { user, rooms, counts_only });
            }
        };
        let one = |room: &Room| Rooms::from_iter([*room]);
        match entry {
            Entry::Event { room, target, .. } => {
                let members = self.by_room.get(room);
                for user in members.into_iter().flatten() {
                    add(*user, one(room), false);
                }
                // Who is invited is not in the room, and who left no longer.
                if let Some(target) = target
                    && !members.is_some_and(|members| members.contains(target))
                {
                    add(*target, one(room), false);
                }
            }
            Entry::Redacted { room, .. } => {
                for user in self.by_room.get(room).into_iter().flatten() {
                    add(*user, one(room), true);
                }
            }
            Entry::Receipt { room, user, .. } => add(*user, one(room), true),
            Entry::AccountData { user, kind, .. }
                if matches!(kind.as_str(), "m.push_rules" | "m.ignored_user_list") =>
            {
                add(*user, Rooms::All, true);
            }
            _ => {}
        }
        concerns
    }
}

/// Everybody who has a pusher that is switched on.
pub(super) fn read_all(view: &View) -> Reply<Vec<(User, Known)>> {
    let mut users = Vec::new();
    let mut after = None;
    loop {
        let rows: Vec<((User, PusherId), Pusher)> = view.everything(&PUSHERS, after, CHUNK)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(*last);
        users.extend(rows.iter().map(|((user, _), _)| *user));
    }
    users.sort_unstable();
    users.dedup();
    read_some(view, &users)
}

/// What is known of these users.
pub(super) fn read_some(view: &View, users: &[User]) -> Reply<Vec<(User, Known)>> {
    users.iter().map(|user| Ok((*user, read_one(view, *user)?))).collect()
}

fn read_one(view: &View, user: User) -> Reply<Known> {
    let rows: Vec<((User, PusherId), Pusher)> = view.under(&PUSHERS, (user,), PUSHERS_MAX + 1)?;
    let on = rows.into_iter().filter(|(_, pusher)| pusher.enabled);
    let pushers: HashMap<_, _> = on.map(|((_, id), pusher)| (id, pusher.set)).collect();
    let rooms = match pushers.is_empty() {
        true => Arc::default(),
        false => room::joined_rooms(view, user)?,
    };
    Ok(Known { pushers, rooms })
}

#[cfg(test)]
mod tests {
    use base::{Event, UnixMs};

    use super::*;

    fn known(pushers: &[(u8, u64)], rooms: &[u64]) -> Known {
        let pushers = pushers.iter().map(|(id, set)| ([*id; 16], UnixMs(*set))).collect();
        Known { pushers, rooms: rooms.iter().map(|r| Room(*r)).collect() }
    }

    fn event(room: u64, target: Option<u64>) -> Entry {
        let (room, event, sender) = (Room(room), Event(1), User(99));
        Entry::Event { room, event, sender, target: target.map(User), state: target.is_some() }
    }

    fn users(index: &Index, entry: &Entry) -> Vec<u64> {
        let mut users: Vec<_> = index.concerns(entry).into_iter().map(|c| c.user.0).collect();
        users.sort_unstable();
        users
    }

    #[test]
    fn a_message_concerns_those_in_the_room_who_have_pushers() {
        let mut index = Index::default();
        index.learn(User(1), known(&[(1, 1)], &[10, 11]));
        index.learn(User(2), known(&[(1, 1), (2, 1)], &[11]));
        index.learn(User(3), known(&[], &[10, 11]));
        assert_eq!(users(&index, &event(11, None)), [1, 2]);
        assert_eq!(users(&index, &event(10, None)), [1]);
        assert!(users(&index, &event(12, None)).is_empty());
        assert_eq!(users(&index, &event(12, Some(2))), [2], "an invite");
        assert!(users(&index, &event(12, Some(3))).is_empty());
    }

    #[test]
    fn what_changed_is_told_apart_from_what_did_not() {
        let mut index = Index::default();
        let first = index.learn(User(1), known(&[(1, 1)], &[10]));
        assert_eq!((first.new, first.entered), (vec![[1; 16]], vec![Room(10)]));
        let second = index.learn(User(1), known(&[(1, 1), (2, 1)], &[11]));
        assert_eq!((second.new, second.entered), (vec![[2; 16]], vec![Room(11)]));
        assert!(users(&index, &event(10, None)).is_empty());
        let third = index.learn(User(1), known(&[(1, 2)], &[11]));
        assert_eq!((third.new, third.gone), (vec![[1; 16]], vec![[2; 16]]));
        let last = index.learn(User(1), known(&[], &[11]));
        assert_eq!(last.gone, [[1; 16]]);
        assert!(users(&index, &event(11, None)).is_empty());
        assert!(index.by_room.is_empty() && index.users.is_empty());
    }
}
