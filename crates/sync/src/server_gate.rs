//! The one gate towards other servers: which events of a room a server may see whole (spec: Client-Server API, "Room history
//! visibility"). A server sees what any of its users could have seen; of everything else it gets the redacted form, so that
//! the graph stays whole for it.
//!
//! The rule is the one for clients ([`protocol::visible`]): it grants the more the more present a viewer was, so the most
//! present of a server's users stands for all of them.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
};

use base::{Reply, Room, User};
use protocol::visible::{Around, History, Presence, Visibility, visible};
use ruma::{OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use store::{
    View,
    event::{self, Stored, is_outlier},
    room,
    schema::{ACCOUNTS, Standing},
    state::{self, Root},
    user,
};

/// Members of a room that are looked through for those of one server.
const MEMBERS_SCAN_MAX: usize = 200_000;
/// Users of one server whose memberships are looked up, those who came first before others. Beyond, what only the others
/// could see is redacted.
const USERS_MAX: usize = 1_000;

/// One server looking at one room through one view.
pub struct ServerGate<'a> {
    view: &'a View,
    room: Room,
    server: &'a ServerName,
    present: bool,
    users: OnceCell<Vec<OwnedUserId>>,
    came_in: OnceCell<Option<u64>>,
    /// Who was there the last time: mostly they are there the next time too.
    last: Cell<usize>,
    history_at: RefCell<HashMap<Root, History>>,
    presence_at: RefCell<HashMap<Root, Presence>>,
    erased: RefCell<HashMap<User, bool>>,
}

impl<'a> ServerGate<'a> {
    /// A gate for a server, whether or not it is in the room.
    ///
    /// # Errors
    /// Faults of the store.
    pub fn new(view: &'a View, room: Room, server: &'a ServerName) -> Reply<ServerGate<'a>> {
        Ok(ServerGate {
            view,
            room,
            server,
            present: room::servers(view, room)?.contains(server.as_str()),
            users: OnceCell::new(),
            came_in: OnceCell::new(),
            last: Cell::new(0),
            history_at: RefCell::default(),
            presence_at: RefCell::default(),
            erased: RefCell::default(),
        })
    }

    /// The room.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Is a user of the server joined to the room now?
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// May the server ask for events of the room at all?
    ///
    /// # Errors
    /// Faults of the store.
    pub fn may_look(&self) -> Reply<bool> {
        let here = room::is_resident(self.view, self.room)?;
        Ok(self.present || (here && room::world_readable(self.view, self.room)?))
    }

    /// May the server see the event whole?
    ///
    /// # Errors
    /// Faults of the store.
    pub fn sees(&self, stored: &Stored) -> Reply<bool> {
        if stored.row.room != self.room {
            return Ok(false);
        }
        if user::id(self.view, stored.row.sender)?.server_name() == self.server {
            return Ok(true);
        }
        if is_outlier(&stored.row) {
            // Nobody knows what was around it. State is what servers in the room tell each other in any case.
            return Ok(self.present && stored.row.state_key.is_some());
        }
        let (before, after) = (stored.row.before, stored.row.after);
        let (before, after) = match self.may_change(stored) {
            true => (before, after),
            false => (before, before),
        };
        if stored.row.state_key.is_none() && self.is_erased(stored.row.sender)? {
            return Ok(self.presence(before)? == Presence::Joined);
        }
        let history = Around { before: self.history(before)?, after: self.history(after)? };
        let nobody = Around::unchanged(Presence::Absent);
        let joined_later = self.present;
        if visible(&Visibility { history, presence: nobody, joined_later }) {
            return Ok(true);
        }
        let presence = Around { before: self.presence(before)?, after: self.presence(after)? };
        Ok(visible(&Visibility { history, presence, joined_later }))
    }

    /// May the server be given the event whole where it asks for what came before others? What it sees; and in a room in which it
    /// is, all state: servers tell each other that in any case (`GET /state`, auth chains), and who has an event of the
    /// state without its content judges by other rules than everyone else, and shows people without their names.
    ///
    /// # Errors
    /// Faults of the store.
    pub fn takes(&self, stored: &Stored) -> Reply<bool> {
        let of_room = stored.row.room == self.room;
        Ok(of_room && self.present && stored.row.state_key.is_some() || self.sees(stored)?)
    }

    /// Is the event to be told to the server without being asked for: does the server see it, and was it in the room around it, or
    /// came in beside it? What happened before a server came, or while it was out, it asks for if it wants it.
    ///
    /// # Errors
    /// Faults of the store.
    pub fn is_told(&self, stored: &Stored) -> Reply<bool> {
        if is_outlier(&stored.row) || !self.sees(stored)? {
            return Ok(false);
        }
        let was_there = self.presence(stored.row.before)? == Presence::Joined
            || self.presence(stored.row.after)? == Presence::Joined;
        Ok(was_there || self.came_in()?.is_some_and(|depth| stored.row.depth >= depth))
    }

    /// The depth of the first of the joins by which users of the server are in the room now. What is no less deep does not lead up to it.
    fn came_in(&self) -> Reply<Option<u64>> {
        if let Some(known) = self.came_in.get() {
            return Ok(*known);
        }
        let root = room::head(self.view, self.room)?.state;
        let mut first = None;
        for id in self.users()? {
            let member = room::state(self.view, root, "m.room.member", id.as_str())?;
            let joined = member.filter(|member| room::standing(member) == Some(Standing::Join));
            let depth = joined.map(|member| member.row.depth);
            first = [first, depth].into_iter().flatten().min();
        }
        Ok(*self.came_in.get_or_init(|| first))
    }

    /// Did the sender want to be forgotten? Then only servers that were there when it was sent go on seeing it (spec:
    /// Client-Server API, `POST /account/deactivate`).
    fn is_erased(&self, sender: User) -> Reply<bool> {
        let known = self.erased.borrow().get(&sender).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let erased = self.view.get(&ACCOUNTS, (sender,))?.is_some_and(|account| account.erased);
        self.erased.borrow_mut().insert(sender, erased);
        Ok(erased)
    }

    /// Can the event itself change the answer?
    fn may_change(&self, stored: &Stored) -> bool {
        let key = stored.row.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok());
        stored.is_state("m.room.history_visibility")
            || (stored.is_state("m.room.member")
                && key.is_some_and(|id| id.server_name() == self.server))
    }

    fn history(&self, root: Root) -> Reply<History> {
        #[derive(Deserialize)]
        struct Content {
            history_visibility: Option<String>,
        }
        if let Some(known) = self.history_at.borrow().get(&root) {
            return Ok(*known);
        }
        let content = match state::get(self.view, root, "m.room.history_visibility", "")? {
            Some(event) => event::load(self.view, event)?.content_as::<Content>(),
            None => None,
        };
        let history = History::read(content.and_then(|c| c.history_visibility).as_deref());
        self.history_at.borrow_mut().insert(root, history);
        Ok(history)
    }

    /// The most that any user of the server was in a version of the state.
    fn presence(&self, root: Root) -> Reply<Presence> {
        if let Some(known) = self.presence_at.borrow().get(&root) {
            return Ok(*known);
        }
        let users = self.users()?;
        let (earlier, rest) = users.split_at(self.last.get().min(users.len()));
        let mut most = Presence::Absent;
        for (place, id) in (earlier.len()..).zip(rest).chain((0..).zip(earlier)) {
            let member = room::state(self.view, root, "m.room.member", id.as_str())?;
            let standing = member.and_then(|member| room::standing(&member));
            match Presence::read(standing.map(Standing::as_str)) {
                Presence::Joined => {
                    self.last.set(place);
                    most = Presence::Joined;
                    break;
                }
                Presence::Invited => most = Presence::Invited,
                Presence::Absent => {}
            }
        }
        self.presence_at.borrow_mut().insert(root, most);
        Ok(most)
    }

    /// The server's users who ever stood to the room, in the order of their member events of today.
    fn users(&self) -> Reply<&[OwnedUserId]> {
        if let Some(known) = self.users.get() {
            return Ok(known);
        }
        let mut found = Vec::new();
        for (member, row) in room::members_upto(self.view, self.room, MEMBERS_SCAN_MAX)? {
            let id = self.id_if_here(member)?;
            found.extend(id.map(|id| (row.event, id)));
        }
        found.sort_by_key(|(event, _)| *event);
        found.truncate(USERS_MAX);
        Ok(self.users.get_or_init(|| found.into_iter().map(|(_, id)| id).collect()))
    }

    fn id_if_here(&self, member: User) -> Reply<Option<OwnedUserId>> {
        let id = user::id(self.view, member)?;
        Ok((id.server_name() == self.server).then_some(id))
    }
}
