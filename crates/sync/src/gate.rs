//! The one gate towards clients: which events of a room a viewer may see. It gathers what the pure rule
//! ([`protocol::visible`]) asks for, once per version of the room's state.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use base::{Event, Reply, Room, Seq, User};
use protocol::visible::{Around, History, Presence, Visibility, visible};
use ruma::UserId;
use serde::Deserialize;
use store::{
    View,
    event::{self, Stored},
    room,
    schema::Standing,
    state::{self, Root},
};

pub use store::room::standing;

/// One viewer looking at one room through one view.
pub struct Gate<'a> {
    view: &'a View,
    room: Room,
    viewer: User,
    viewer_id: &'a UserId,
    /// The viewer's newest member event.
    member: Option<Event>,
    /// The last position at which the viewer joined; `MAX` while they are in.
    last_join: Option<Seq>,
    past: Past,
    at_root: RefCell<HashMap<Root, (History, Presence)>>,
    of_event: RefCell<HashMap<Event, History>>,
    /// See [`Gate::sees_all_since`].
    all_since: Cell<Option<Seq>>,
}

/// What the viewer's memberships of earlier are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    /// They show what members could see.
    Counts,
    /// Never joined, or not since the room was forgotten.
    OnlyInvites,
    /// The viewer has forgotten the room: what was, shows nothing.
    Forgotten,
}

impl<'a> Gate<'a> {
    /// A gate for a viewer who is, was or never was in the room. Who has forgotten the room counts as one who never was.
    pub fn new(view: &'a View, room: Room, viewer: User, viewer_id: &'a UserId) -> Reply<Gate<'a>> {
        let mine = room::membership(view, viewer, room)?;
        let (last_join, past) = match &mine {
            Some(m) if m.standing == Standing::Join => (Some(Seq::MAX), Past::Counts),
            Some(m) if m.forgotten => (None, Past::Forgotten),
            Some(m) if m.was_joined => match room::last_stay(view, m.event)? {
                Some(stay) => (event::order(view, stay.joined)?, Past::Counts),
                None => (None, Past::Counts),
            },
            _ => (None, Past::OnlyInvites),
        };
        Ok(Gate {
            view,
            room,
            viewer,
            viewer_id,
            member: mine.map(|m| m.event),
            last_join,
            past,
            at_root: RefCell::default(),
            of_event: RefCell::default(),
            all_since: Cell::default(),
        })
    }

    /// May the viewer see the event at this position?
    pub fn sees(&self, stored: &Stored, order: Seq) -> Reply<bool> {
        if stored.row.room != self.room {
            return Ok(false);
        }
        let (before, after) = self.around(stored)?;
        Ok(visible(&Visibility {
            history: Around { before: before.0, after: after.0 },
            presence: Around { before: before.1, after: after.1 },
            joined_later: self.last_join.is_some_and(|joined| joined > order),
        }))
    }

    /// Does the viewer see every event behind this position? "No" may be wrong; then each is to be asked about. It is
    /// so for who has been joined since, and for members where history has been shared with them since.
    pub fn sees_all_since(&self, order: Seq) -> Reply<bool> {
        if self.last_join != Some(Seq::MAX) {
            return Ok(false);
        }
        let since = match self.all_since.get() {
            Some(since) => since,
            None => {
                let since = self.shared_since()?.min(self.joined_since()?);
                self.all_since.set(Some(since));
                since
            }
        };
        Ok(since <= order)
    }

    /// Since when history is what it is now, if that is open to members who came later.
    fn shared_since(&self) -> Reply<Seq> {
        let root = room::head(self.view, self.room)?.state;
        let Some(event) = state::get(self.view, root, "m.room.history_visibility", "")? else {
            return Ok(Seq::ZERO);
        };
        match self.history_of(event)? {
            History::WorldReadable | History::Shared => {
                Ok(event::order(self.view, event)?.unwrap_or(Seq::MAX))
            }
            History::Invited | History::Joined => Ok(Seq::MAX),
        }
    }

    fn joined_since(&self) -> Reply<Seq> {
        let Some(member) = self.member else { return Ok(Seq::MAX) };
        let began = room::stay_began(self.view, member)?;
        Ok(event::order(self.view, began)?.unwrap_or(Seq::MAX))
    }

    /// [`Gate::sees`], for an event whose position is not at hand.
    pub fn shows(&self, stored: &Stored) -> Reply<bool> {
        match event::order(self.view, stored.event)? {
            Some(order) => self.sees(stored, order),
            None => Ok(false),
        }
    }

    /// May the viewer see all of the room's state as it was at an event that they see? Who was joined then knows it, and
    /// where history is world-readable, anyone may. For others, what made up the state is as hidden as any event.
    pub fn sees_state(&self, stored: &Stored) -> Reply<bool> {
        let (before, after) = self.around(stored)?;
        Ok([before, after].into_iter().any(|(history, presence)| {
            history == History::WorldReadable || presence == Presence::Joined
        }))
    }

    /// History visibility and the viewer's presence before and after an event.
    fn around(&self, stored: &Stored) -> Reply<((History, Presence), (History, Presence))> {
        let before = self.at(stored.row.before)?;
        // Only the room's visibility and the viewer's own membership can change the answer.
        let changes = stored.is_state("m.room.history_visibility")
            || (stored.is_state("m.room.member")
                && stored.row.state_key.as_deref() == Some(self.viewer_id.as_str()));
        let after = if changes { self.at(stored.row.after)? } else { before };
        Ok((before, after))
    }

    /// The viewer's membership when the event was sent, in the spec's word (`unsigned.membership`).
    pub fn membership_at(&self, stored: &Stored) -> Reply<&'static str> {
        let own = stored.is_state("m.room.member")
            && stored.row.state_key.as_deref() == Some(self.viewer_id.as_str());
        let root = if own { stored.row.after } else { stored.row.before };
        if let Some((_, Presence::Joined)) = self.at_root.borrow().get(&root) {
            return Ok("join");
        }
        let member = room::state(self.view, root, "m.room.member", self.viewer_id.as_str())?;
        Ok(member.and_then(|m| room::standing(&m)).map_or("leave", Standing::as_str))
    }

    /// History visibility and the viewer's presence in a version of the state.
    fn at(&self, root: Root) -> Reply<(History, Presence)> {
        if let Some(known) = self.at_root.borrow().get(&root) {
            return Ok(*known);
        }
        let history = match state::get(self.view, root, "m.room.history_visibility", "")? {
            Some(event) => self.history_of(event)?,
            None => History::read(None),
        };
        let member = room::state(self.view, root, "m.room.member", self.viewer_id.as_str())?;
        let presence =
            Presence::read(member.and_then(|m| room::standing(&m)).map(Standing::as_str));
        let presence = match (self.past, presence) {
            (Past::Counts, presence) | (Past::OnlyInvites, presence @ Presence::Invited) => {
                presence
            }
            (Past::OnlyInvites | Past::Forgotten, _) => Presence::Absent,
        };
        self.at_root.borrow_mut().insert(root, (history, presence));
        Ok((history, presence))
    }

    fn history_of(&self, event: Event) -> Reply<History> {
        if let Some(known) = self.of_event.borrow().get(&event) {
            return Ok(*known);
        }
        #[derive(Deserialize)]
        struct Content {
            history_visibility: Option<String>,
        }
        let content: Option<Content> = event::load(self.view, event)?.content_as();
        let history = History::read(content.and_then(|c| c.history_visibility).as_deref());
        self.of_event.borrow_mut().insert(event, history);
        Ok(history)
    }

    /// The viewer.
    pub fn viewer(&self) -> User {
        self.viewer
    }
}
