//! What concerns an application service (spec: Application Service API, "Registration").
//!
//! It is interested in an event whose room's id or alias is in its namespaces, whose sender or whose target (of a
//! membership) is one of its users, or in whose room one of its users was joined when it happened. The last is
//! remembered as one *witness* for each room and version of its state: as long as the witness stays, nothing is to be
//! looked up, whatever the room's size.

use std::{collections::HashMap, sync::Arc};

use base::{Reply, Room, User};
use protocol::appservice::Registration;
use store::{
    CacheSpace, Kind, View,
    event::{self, Stored},
    log::Entry,
    room,
    schema::{ALIASES_OF, Standing},
    state::Root,
    user,
};
use sync::gate::standing;

/// Rooms and users that are remembered: 100 bytes each. Then it begins anew.
const REMEMBERED_MAX: usize = 100_000;
/// Aliases of one room.
const ALIASES_MAX: usize = 10_000;

static ALIASES: CacheSpace = CacheSpace { tag: 110, owned: Some(Kind::Aliases) };

/// What an application service cares for, and what was found out about rooms and users.
pub(super) struct Interest {
    service: Arc<Registration>,
    rooms: HashMap<Room, Known>,
    users: HashMap<User, bool>,
}

/// What is known of a room.
#[derive(Clone, Copy)]
struct Known {
    /// Its id is in the namespaces.
    named: bool,
    /// The version of its state that the witness was found in.
    root: Root,
    /// One of the application service's users who is joined.
    witness: Option<User>,
}

impl Interest {
    pub(super) fn new(service: Arc<Registration>) -> Interest {
        Interest { service, rooms: HashMap::new(), users: HashMap::new() }
    }

    /// Is this one of its users?
    pub(super) fn user(&mut self, view: &View, user: User) -> Reply<bool> {
        if let Some(known) = self.users.get(&user) {
            return Ok(*known);
        }
        let its = self.service.has_user(&user::id(view, user)?);
        if self.users.len() >= REMEMBERED_MAX {
            self.users.clear();
        }
        self.users.insert(user, its);
        Ok(its)
    }

    /// Does a log entry of an event concern it?
    pub(super) fn event(&mut self, view: &View, entry: &Entry) -> Reply<bool> {
        let Entry::Event { room, event, sender, target, state } = entry else { return Ok(false) };
        let mut its = self.user(view, *sender)?;
        if let Some(target) = target {
            its |= self.user(view, *target)?;
        }
        let known = self.rooms.get(room).copied();
        if !state && !its && known.is_some_and(|k| k.witness.is_none() && !k.named) {
            // Nothing that this event could have changed makes the room interesting.
            return self.aliases(view, *room);
        }
        let stored = event::load(view, *event)?;
        its |= self.room_at(view, *room, stored.row.before)?;
        if *state {
            self.follow(view, *room, &stored, *target)?;
        }
        Ok(its)
    }

    /// Does what happens in a room now concern it?
    pub(super) fn room(&mut self, view: &View, room: Room) -> Reply<bool> {
        let root = room::head(view, room)?.state;
        self.room_at(view, room, root)
    }

    fn room_at(&mut self, view: &View, room: Room, root: Root) -> Reply<bool> {
        let known = match self.rooms.get(&room) {
            Some(known) if known.root == root => *known,
            known => {
                let (named, before) = match known {
                    Some(known) => (known.named, known.witness),
                    None => (self.service.has_room(&room::info(view, room)?.id), None),
                };
                let witness = self.witness(view, room, root, before)?;
                self.remember(room, Known { named, root, witness })
            }
        };
        Ok(known.named || known.witness.is_some() || self.aliases(view, room)?)
    }

    fn remember(&mut self, room: Room, known: Known) -> Known {
        if self.rooms.len() >= REMEMBERED_MAX {
            self.rooms.clear();
        }
        self.rooms.insert(room, known);
        known
    }

    /// One of its users who was joined in a version of a room's state; `likely` and its own user are asked first.
    fn witness(
        &mut self,
        view: &View,
        room: Room,
        root: Root,
        likely: Option<User>,
    ) -> Reply<Option<User>> {
        let own = user::find(view, &self.service.sender)?;
        for user in likely.into_iter().chain(own) {
            if is_joined(view, root, user)? {
                return Ok(Some(user));
            }
        }
        // Whoever was ever in the room has a row: the names of users are looked at once, members' events only if theirs.
        for (user, _) in room::members(view, room)? {
            if self.user(view, user)? && is_joined(view, root, user)? {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }

    /// Takes note of a state event, so that the next event of the room finds its state known.
    fn follow(
        &mut self,
        view: &View,
        room: Room,
        stored: &Stored,
        target: Option<User>,
    ) -> Reply<()> {
        let Some(mut known) = self.rooms.get(&room).copied() else { return Ok(()) };
        if let Some(target) = target.filter(|_| stored.is_state("m.room.member")) {
            let joined = standing(stored) == Some(Standing::Join);
            if joined && known.witness.is_none() && self.user(view, target)? {
                known.witness = Some(target);
            } else if !joined && known.witness == Some(target) {
                known.witness = self.witness(view, room, stored.row.after, None)?;
            }
        }
        known.root = stored.row.after;
        self.remember(room, known);
        Ok(())
    }

    fn aliases(&self, view: &View, room: Room) -> Reply<bool> {
        if self.service.aliases.is_empty() {
            return Ok(false);
        }
        let aliases = view.cached(&ALIASES, u128::from(room.0), |view| {
            let rows: Vec<((Room, String), ())> = view.under(&ALIASES_OF, (room,), ALIASES_MAX)?;
            let names: Vec<String> = rows.into_iter().map(|((_, alias), ())| alias).collect();
            let bytes = names.iter().map(|name| name.len() + size_of::<String>()).sum();
            Ok((names, bytes))
        })?;
        Ok(aliases.iter().any(|alias| self.service.has_alias(alias)))
    }
}

fn is_joined(view: &View, root: Root, user: User) -> Reply<bool> {
    let id = user::id(view, user)?;
    let member = room::state(view, root, "m.room.member", id.as_str())?;
    Ok(member.and_then(|member| standing(&member)) == Some(Standing::Join))
}
