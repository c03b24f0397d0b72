//! What lives in memory only: who types, and who is present (spec: Server-Server API, "Typing", "Presence"). Whoever cannot
//! be reached at the moment is not told.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use base::{Epoch, Reply, Room, UnixMs, User};
use store::{View, room};

use super::{
    concern,
    desk::{Audience, Passing},
};

/// Who goes on typing is told of again after this: servers forget it after about a minute, milliseconds.
const TYPING_AGAIN_MS: u64 = 30_000;
/// Users whose presence is told at once. The others are told the next time.
const PRESENT_MAX: usize = 500;
/// How long it is remembered which servers share a room with a user, milliseconds.
const SHARING_MS: u64 = 5 * 60_000;
/// Users of whom that is remembered.
const SHARING_MAX: usize = 10_000;

/// What was told, and to whom it goes.
#[derive(Default)]
pub(super) struct Memory {
    typing: Epoch,
    /// Users of this server who type, with when that was told.
    typists: HashMap<Room, HashMap<User, UnixMs>>,
    presence: Epoch,
    sharing: HashMap<User, (UnixMs, Audience)>,
}

impl Memory {
    /// Who began to type, or stopped.
    pub(super) fn typing(&mut self, view: &View) -> Reply<Vec<(Passing, Audience)>> {
        let (before, now) = (self.typing, view.typing_epoch());
        let mut out = Vec::new();
        for at in view.typing_rooms(before) {
            if let Some(typists) = view.typing(at, before) {
                self.changed(view, at, &typists, &mut out)?;
            }
        }
        self.typing = now;
        Ok(out)
    }

    fn changed(
        &mut self,
        view: &View,
        at: Room,
        typists: &[User],
        out: &mut Vec<(Passing, Audience)>,
    ) -> Reply<()> {
        let servers = room::servers(view, at)?;
        if is_only_ours(view, &servers) {
            self.typists.remove(&at);
            return Ok(());
        }
        let mut ours = HashSet::new();
        for user in typists {
            if concern::is_ours(view, *user)? {
                ours.insert(*user);
            }
        }
        let told = self.typists.entry(at).or_default();
        for user in &ours {
            if told.insert(*user, view.now()).is_none() {
                out.push((Passing::Typing(at, *user, true), servers.clone()));
            }
        }
        told.retain(|user, _| {
            let types = ours.contains(user);
            if !types {
                out.push((Passing::Typing(at, *user, false), servers.clone()));
            }
            types
        });
        if told.is_empty() {
            self.typists.remove(&at);
        }
        Ok(())
    }

    /// Does anyone of whom others were told type?
    pub(super) fn has_typists(&self) -> bool {
        !self.typists.is_empty()
    }

    /// Who goes on typing.
    pub(super) fn still_typing(&mut self, view: &View) -> Reply<Vec<(Passing, Audience)>> {
        let (now, mut out) = (view.now(), Vec::new());
        for (at, users) in &mut self.typists {
            for (user, told) in users {
                if now.0.saturating_sub(told.0) >= TYPING_AGAIN_MS {
                    *told = now;
                    out.push((Passing::Typing(*at, *user, true), room::servers(view, *at)?));
                }
            }
        }
        Ok(out)
    }

    /// Whose presence changed.
    pub(super) fn presence(&mut self, view: &View) -> Reply<Vec<(Passing, Audience)>> {
        let (users, upto) = view.presence_changed(self.presence, PRESENT_MAX);
        let mut out = Vec::new();
        for user in users {
            if concern::is_ours(view, user)? {
                let servers = self.sharing(view, user)?;
                if !is_only_ours(view, &servers) {
                    out.push((Passing::Presence(user), servers));
                }
            }
        }
        self.presence = self.presence.max(upto);
        Ok(out)
    }

    fn sharing(&mut self, view: &View, user: User) -> Reply<Audience> {
        let now = view.now();
        if let Some((until, servers)) = self.sharing.get(&user)
            && now < *until
        {
            return Ok(servers.clone());
        }
        let servers: Audience = Arc::new(concern::sharing(view, user)?);
        if self.sharing.len() >= SHARING_MAX {
            self.sharing.clear();
        }
        let until = UnixMs(now.0.saturating_add(SHARING_MS));
        self.sharing.insert(user, (until, servers.clone()));
        Ok(servers)
    }
}

/// Is nobody else there?
pub(super) fn is_only_ours(view: &View, servers: &BTreeSet<String>) -> bool {
    servers.iter().all(|server| server == view.server_name().as_str())
}
