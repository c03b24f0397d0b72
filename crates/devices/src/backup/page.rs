//! Reading the keys of a backup a page at a time, so that none is ever in memory as a whole.

use base::{Error, Reply, User};
use store::{
    Direction, View,
    schema::{BACKED_UP_KEYS, BackedUpKey},
};

use super::known;

/// Keys of one page.
const PAGE_KEYS: usize = 128;

/// Where reading stands.
#[derive(Clone, Debug)]
pub struct Reader {
    user: User,
    version: String,
    /// Only this room.
    room: Option<String>,
    /// The shelf that the first page was read from, and the last key that was read.
    at: Option<(u64, Option<(String, String)>)>,
}

/// A key: (room, session, JSON text).
pub type Key = (String, String, String);

impl Reader {
    /// All keys, or those of one room.
    #[must_use]
    pub fn new(user: User, version: &str, room: Option<&str>) -> Reader {
        let room = room.map(str::to_owned);
        Reader { user, version: version.to_owned(), room, at: None }
    }

    /// The next keys, by room and session; none: there are no more.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` without the backup, or if all of its keys were deleted since the first page.
    pub fn next(&mut self, view: &View) -> Reply<Vec<Key>> {
        let (_, backup) = known(view, self.user, &self.version)?;
        let (shelf, after) = self.at.take().unwrap_or((backup.shelf, None));
        if shelf != backup.shelf {
            return Err(Error::not_found("The keys were deleted while they were read."));
        }
        let key =
            |room: &str, session: &str| (self.user, shelf, room.to_owned(), session.to_owned());
        let rows = match &self.room {
            Some(room) if room.len() > base::limits::ID_BYTES_MAX => Vec::new(),
            room => {
                let first = room.as_deref().unwrap_or_default();
                let from = match &after {
                    // What comes first behind it.
                    Some((room, session)) => key(room, &format!("{session}\0")),
                    None => key(first, ""),
                };
                let to = match room {
                    Some(room) => key(&format!("{room}\0"), ""),
                    None => (self.user, shelf.saturating_add(1), String::new(), String::new()),
                };
                view.range(&BACKED_UP_KEYS, from, to, Direction::Forward, PAGE_KEYS)?
            }
        };
        let named = |((_, _, room, session), key): ((_, _, String, String), BackedUpKey)| {
            (room, session, key.json)
        };
        let keys: Vec<Key> = rows.into_iter().map(named).collect();
        let last = keys.last().map(|(room, session, _)| (room.clone(), session.clone()));
        self.at = Some((shelf, last.or(after)));
        Ok(keys)
    }

    /// Was this page the last one?
    #[must_use]
    pub fn is_last(page: &[Key]) -> bool {
        page.len() < PAGE_KEYS
    }
}
