//! The one gate towards clients: which events of a room a viewer may see. It gathers what the pure rule
//! ([`protocol::visible`]) asks for, once per version of the room's state.

use std::{cell::RefCell, collections::HashMap};

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

/// One viewer looking at one room through one view.
pub struct Gate<'a> {
    view: &'a View,
    room: Room,
    viewer: User,
    viewer_id: &'a UserId,
    /// The last position at which the viewer joined; `MAX` while they are in.
    last_join: Option<Seq>,
    at_root: RefCell<HashMap<Root, (History, Presence)>>,
    of_event: RefCell<HashMap<Event, History>>,
}

/// Steps back through somebody's member events to find the last join: more changes than this since are not
/// made by people.
const MEMBER_STEPS_MAX: usize = 100;

impl<'a> Gate<'a> {
    /// A gate for a viewer who is, was or never was in the room.
    pub fn new(view: &'a View, room: Room, viewer: User, viewer_id: &'a UserId) -> Reply<Gate<'a>> {
        let last_join = match room::member(view, room, viewer)? {
            Some(m) if m.standing == Standing::Join => Some(Seq::MAX),
            Some(m) => match last_stay(view, m.event)? {
                Some((joined, _)) => event::order(view, joined)?,
                None => None,
            },
            None => None,
        };
        let at_root = RefCell::default();
        Ok(Gate { view, room, viewer, viewer_id, last_join, at_root, of_event: RefCell::default() })
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
        Ok(member.and_then(|m| standing(&m)).map_or("leave", Standing::as_str))
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
        let presence = Presence::read(member.and_then(|m| standing(&m)).map(Standing::as_str));
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

/// The `membership` of a member event.
pub fn standing(stored: &Stored) -> Option<Standing> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: Option<std::borrow::Cow<'a, str>>,
    }
    let content: Content<'_> = stored.content_as()?;
    Standing::parse(&content.membership?)
}

/// When somebody was last in a room, found from their newest member event: their last member event as one who was
/// joined, and the one by which they left. What came later (invites, knocks, bans) changes nothing of what they may see.
pub(crate) fn last_stay(view: &View, newest: Event) -> Reply<Option<(Event, Event)>> {
    let mut at = newest;
    for _ in 0..MEMBER_STEPS_MAX {
        let Some(before) = event::load(view, at)?.row.replaces else { return Ok(None) };
        if standing(&*event::load(view, before)?) == Some(Standing::Join) {
            return Ok(Some((before, at)));
        }
        at = before;
    }
    Ok(None)
}
