//! Who is online, as far as the caller shares a room with them (spec: "Presence").
//!
//! What is looked at is who has changed, never who is in a room. Somebody who comes into a room of the caller's, or whose
//! room the caller enters, is told of too, and whoever changed their name or picture.

use std::collections::BTreeSet;

use base::{Epoch, Reply, Room, User};
use store::{PresenceShown as Shown, PresenceState as State, View, room, schema::PROFILES, user};

use super::Ask;
use crate::{changes::Changes, json::Out};

/// Changes looked at for one answer; the others are looked at for the next.
const LOOKED_AT_MAX: usize = 1_000;

/// A portion of what changed.
pub(super) struct Portion {
    people: Vec<(User, Shown)>,
    /// Up to where this is all.
    pub(super) upto: Epoch,
}

impl Portion {
    pub(super) fn read(
        view: &View,
        ask: &Ask,
        mine: &[Room],
        changes: &Changes,
        ignored: &[String],
    ) -> Reply<Portion> {
        // A token without a position was made where presence is of no interest.
        let since = ask.since.map_or(Epoch(0), |token| token.presence);
        let (changed, upto) = view.presence_changed(since, LOOKED_AT_MAX);
        let changed: BTreeSet<User> = changed.into_iter().collect();
        let mut who = changed.clone();
        who.extend(changes.met.iter().take(LOOKED_AT_MAX));
        if changes.entered {
            who.extend(view.presence_changed(Epoch(0), LOOKED_AT_MAX).0);
        }
        let mut people = Vec::new();
        for user in who {
            let Some(shown) = view.presence(user) else { continue };
            // That somebody is offline is news only to who knew otherwise.
            let known = since != Epoch(0) && changed.contains(&user);
            if shown.state == State::Offline && !known {
                continue;
            }
            if user == ask.user || shares(view, user, mine)? {
                let id = user::id(view, user)?;
                let wanted = ask.filter.presence.matches("m.presence", id.as_str(), None, || false);
                if wanted && !ignored.iter().any(|i| i == id.as_str()) {
                    people.push((user, shown));
                }
            }
        }
        Ok(Portion { people, upto })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    pub(super) fn write(&self, view: &View, out: &mut Out) -> Reply<()> {
        out.key("presence").open().key("events").open_array();
        for (user, shown) in &self.people {
            out.open().key("type").text("m.presence");
            out.key("sender").text(user::id(view, *user)?.as_str());
            out.key("content").open();
            content(view, out, shown);
            for key in ["displayname", "avatar_url"] {
                if let Some(value) = view.get(&PROFILES, (*user, key.to_owned()))? {
                    out.key(key).raw(&value);
                }
            }
            out.close().close();
        }
        out.close_array().close();
        Ok(())
    }
}

/// What is told of how present somebody is, into an open object.
pub fn content(view: &View, out: &mut Out, shown: &Shown) {
    out.key("presence").text(shown.state.as_str());
    if let Some(at) = shown.active {
        out.key("last_active_ago").number(view.now().0.saturating_sub(at.0));
    }
    // Who is online has done something lately; when that is over, they are unavailable, and that is told.
    out.key("currently_active").flag(shown.state == State::Online);
    if let Some(status) = &shown.status {
        out.key("status_msg").text(status);
    }
}

/// Is the user in one of these rooms, which are in order?
pub fn shares(view: &View, user: User, mine: &[Room]) -> Reply<bool> {
    let theirs = room::joined_rooms(view, user)?;
    let (few, many) = if theirs.len() < mine.len() { (&*theirs, mine) } else { (mine, &*theirs) };
    Ok(few.iter().any(|room| many.binary_search(room).is_ok()))
}
