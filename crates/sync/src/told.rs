//! Which member events a device has been told with lazy loading, so that they are not sent again (spec: "Lazy-loading room
//! members", `include_redundant_members`).
//!
//! A note in memory, one for each device, only ever an optimisation: forgotten, it is begun anew and everybody is
//! introduced once more. It believes that something arrived only when the client comes back with the token of that very
//! answer; what an answer told that was lost on the way is told again.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{Event, Room, Seq, User};
use store::{CacheSpace, Direction, View};

static TOLD: CacheSpace = CacheSpace { tag: 81, owned: None };
static PAGED: CacheSpace = CacheSpace { tag: 82, owned: None };

/// Members kept for a device; with more, the note is begun anew.
const MEMBERS_MAX: usize = 4_096;
/// What one of them takes.
const MEMBER_BYTES: usize = 64;

/// A member event: whose, in which room, and which.
type Introduced = (Room, User, Event);

#[derive(Default)]
struct Note {
    /// What the client has, and the position of the answer that told it.
    known: HashMap<(Room, User), (Event, Seq)>,
    /// What the last answer told, up to its position: the client may or may not have got it.
    sent: Option<(Seq, Vec<Introduced>)>,
}

/// The note of one device, for one answer of `/sync`.
pub(crate) struct Told {
    id: u128,
    note: Arc<Mutex<Note>>,
    since: Option<Seq>,
}

fn id(viewer: User, of: impl std::hash::Hash) -> u128 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    u128::from(viewer.0) << 64 | u128::from(hasher.finish())
}

impl Told {
    /// For an answer to a client that has everything up to `since`.
    pub(crate) fn begin(view: &View, viewer: User, device: &str, since: Option<Seq>) -> Told {
        let id = id(viewer, device);
        let note = view.recall::<Mutex<Note>>(&TOLD, id).unwrap_or_default();
        let told = Told { id, note, since };
        let mut guard = told.lock();
        let note = &mut *guard;
        match (since, note.sent.take()) {
            // Whoever begins anew has forgotten everything.
            (None, _) => note.known.clear(),
            (Some(since), sent) => {
                if let Some((upto, members)) = sent.filter(|(upto, _)| *upto == since) {
                    let arrived = members.into_iter();
                    note.known
                        .extend(arrived.map(|(room, user, event)| ((room, user), (event, upto))));
                }
                // An older token: the client may have lost what came later.
                if note.known.values().any(|(_, at)| *at > since) {
                    note.known.retain(|_, (_, at)| *at <= since);
                }
            }
        }
        drop(guard);
        told
    }

    fn lock(&self) -> MutexGuard<'_, Note> {
        // Whoever panicked left at worst a note that knows too little.
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the client have this member event?
    pub(crate) fn knows(&self, room: Room, user: User, event: Event) -> bool {
        let Some(since) = self.since else { return false };
        let known = self.lock().known.get(&(room, user)).copied();
        known.is_some_and(|(known, at)| known == event && at <= since)
    }

    /// The answer goes up to here and tells of these.
    pub(crate) fn finish(self, view: &View, upto: Seq, members: Vec<Introduced>) {
        let mut note = self.lock();
        if note.known.len() + members.len() > MEMBERS_MAX {
            note.known.clear();
        }
        if members.is_empty() {
            return;
        }
        let bytes = (note.known.len() + members.len()) * MEMBER_BYTES;
        note.sent = (members.len() <= MEMBERS_MAX).then_some((upto, members));
        drop(note);
        view.remember(&TOLD, self.id, self.note, bytes);
    }
}

/// What the pages of `/messages` have told, from one page to the next that begins where it ended.
pub(crate) struct Paged {
    id: u128,
    known: BTreeSet<Event>,
}

struct Page {
    end: Seq,
    forward: bool,
    told: BTreeSet<Event>,
}

impl Paged {
    /// For a page from here on.
    pub(crate) fn begin(
        view: &View,
        viewer: User,
        (device, room): (&str, Room),
        from: Option<Seq>,
        direction: Direction,
    ) -> Paged {
        let id = id(viewer, (device, room.0));
        let forward = direction == Direction::Forward;
        let last = view.recall::<Page>(&PAGED, id);
        let follows = |page: &Arc<Page>| page.forward == forward && Some(page.end) == from;
        let known = last.filter(follows).map_or_else(BTreeSet::new, |page| page.told.clone());
        Paged { id, known }
    }

    /// Was this member event on a page before?
    pub(crate) fn knows(&self, event: Event) -> bool {
        self.known.contains(&event)
    }

    /// The page ends here and tells of these.
    pub(crate) fn finish(
        self,
        view: &View,
        end: Option<Seq>,
        direction: Direction,
        members: impl IntoIterator<Item = Event>,
    ) {
        let Some(end) = end else { return };
        let mut told = self.known;
        if told.len() > MEMBERS_MAX {
            told.clear();
        }
        told.extend(members);
        let bytes = told.len() * MEMBER_BYTES;
        let page = Page { end, forward: direction == Direction::Forward, told };
        view.remember(&PAGED, self.id, Arc::new(page), bytes);
    }
}
