//! A room that the user is in.

use std::{collections::BTreeSet, sync::Arc};

use base::{Event, Reply, Room, Seq, User};
use store::{
    Direction,
    event::{self, Stored},
    room,
    schema::Standing,
    state::{self, Root},
    user,
};

use super::{
    Outcome, Part, Scene,
    shown::{Field, Shown, face, mark},
    written,
};
use crate::{
    gate::Gate,
    sliding::{ask::Config, connection::Told, index::Row},
    timeline::{Query, Span},
    unread,
};

/// Members remembered as told for one room of one connection: beyond that, some are told again.
const MEMBERS_MAX: usize = 1_000;

/// A piece of a room: its newest events, and the state that goes with them.
pub(super) struct Piece {
    pub(super) events: Vec<(Seq, Arc<Stored>)>,
    pub(super) limited: bool,
    /// The state that the client has; none: nothing.
    pub(super) had: Option<Root>,
    pub(super) end: Root,
    /// State is wanted now that was not wanted before.
    pub(super) widened: bool,
    /// Members that the client was told of.
    pub(super) members: Arc<Vec<User>>,
}

impl Scene<'_> {
    pub(super) fn joined(
        &self,
        row: &Row,
        config: &Config,
        told: Option<&Told>,
    ) -> Reply<Option<Outcome>> {
        let known = told.filter(|told| told.standing == Standing::Join);
        let same = known.is_some_and(|t| {
            Arc::ptr_eq(&t.required, &config.required) || t.required == config.required
        });
        let deeper = known.is_some_and(|t| config.limit > t.depth);
        let upto = known.map_or(Seq::ZERO, |t| t.upto);
        let read = self.counts() && row.read > upto;
        if same && !deeper && !read && row.touched <= upto {
            return Ok(None);
        }
        let gate = Gate::new(self.view, row.room, self.ask.user, self.viewer_id)?;
        let from = if deeper { Seq::ZERO } else { upto };
        let span = self.newest(row.room, &gate, from, self.head, config.limit)?;
        let end = room::state_at(self.view, row.room, self.head)?;
        let had = known.map(|t| room::state_at(self.view, row.room, t.upto)).transpose()?;
        let mut next = self.told(row, config, known);
        next.depth = match known {
            // Where something is hidden, fewer come than were asked for, and asking again brings no more.
            _ if span.more => config.limit,
            Some(t) if !deeper => t.depth.saturating_add(span.events.len()),
            _ => usize::MAX,
        };
        let mut part = self.part(row)?;
        part.initial = known.is_none();
        part.expanded = deeper && span.events.iter().any(|(seq, _)| *seq <= upto);
        part.limited = span.more;
        let members = known.filter(|_| !span.more).map_or_else(Arc::default, |t| t.members.clone());
        let widened = known.is_some() && !same;
        let piece = Piece { events: span.events, limited: span.more, had, end, widened, members };
        let writer = self.writer(&gate);
        self.write_timeline(&mut part, &writer, &piece.events, self.head)?;
        next.members = self.write_state(&mut part, &writer, &piece, config, known)?;
        next.summary = self.show(&mut part, row, &piece, known.map(|t| t.summary))?;
        let empty = is_empty(&part);
        part.bump = Some(row.bump);
        Ok(Some((Some(part).filter(|_| !empty), next)))
    }

    /// The newest events of a span, oldest first.
    pub(super) fn newest(
        &self,
        room: Room,
        gate: &Gate<'_>,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> Reply<Span> {
        let query = Query {
            view: self.view,
            room,
            gate,
            filter: &self.everything,
            ignored: &self.ignored,
            after,
            upto,
            stop_at_hidden_state: true,
        };
        let mut span = query.read(Direction::Backward, limit)?;
        span.events.reverse();
        Ok(span)
    }

    /// Fills in the state that the client wants and does not have; returns the members that it then knows.
    pub(super) fn write_state(
        &self,
        part: &mut Part,
        writer: &crate::client_event::Writer<'_>,
        piece: &Piece,
        config: &Config,
        known: Option<&Told>,
    ) -> Reply<Arc<Vec<User>>> {
        let required = &config.required;
        let mut state: Vec<Arc<Stored>> = Vec::new();
        let mut have: BTreeSet<Event> = BTreeSet::new();
        let mut add = |state: &mut Vec<Arc<Stored>>, stored: Arc<Stored>| {
            if have.insert(stored.event) {
                state.push(stored);
            }
        };
        match piece.had {
            None => {
                required.read(self.view, piece.end)?.into_iter().for_each(|s| add(&mut state, s))
            }
            Some(had) => {
                let all_members = required.lazy() && !piece.limited;
                for change in state::diff(self.view, had, piece.end)? {
                    let Some(stored) = change.after.or(change.before) else { continue };
                    let stored = event::load(self.view, stored)?;
                    let member = all_members && stored.is_state("m.room.member");
                    if !member && !required.wants_event(&stored) {
                        continue;
                    }
                    match change.after {
                        Some(_) => add(&mut state, stored),
                        None => {
                            let key = stored.row.state_key.clone().unwrap_or_default();
                            part.stubs.push((stored.row.kind.clone(), key));
                        }
                    }
                }
                if piece.widened {
                    let old = known.map(|told| &told.required);
                    for stored in required.read(self.view, piece.end)? {
                        if !old.is_some_and(|old| old.wants_event(&stored)) {
                            add(&mut state, stored);
                        }
                    }
                }
            }
        }
        let mut members: Vec<User> = piece.members.to_vec();
        if required.lazy() {
            for stored in self.introduce(piece, &members)? {
                add(&mut state, stored);
            }
        }
        let new = if required.lazy() { self.told_of(&state, &members)? } else { Vec::new() };
        if !state.is_empty() || part.initial {
            part.state = Some(written(writer, state.iter().map(|stored| &**stored))?);
        }
        if new.is_empty() {
            return Ok(piece.members.clone());
        }
        if members.len() + new.len() > MEMBERS_MAX {
            members.clear();
        }
        members.extend(new);
        members.truncate(MEMBERS_MAX);
        Ok(Arc::new(members))
    }

    /// The members among pieces of state whom the client did not know.
    fn told_of(&self, state: &[Arc<Stored>], known: &[User]) -> Reply<Vec<User>> {
        let members = state.iter().filter(|stored| stored.is_state("m.room.member"));
        let mut new = Vec::new();
        for id in members.filter_map(|stored| stored.row.state_key.as_deref()) {
            let Ok(id) = <&ruma::UserId>::try_from(id) else { continue };
            new.extend(user::find(self.view, id)?.filter(|user| !known.contains(user)));
        }
        Ok(new)
    }

    /// The member events of whom the timeline mentions and the client does not know: senders, and those whose membership
    /// is changed.
    fn introduce(&self, piece: &Piece, known: &[User]) -> Reply<Vec<Arc<Stored>>> {
        let mut who: BTreeSet<String> = BTreeSet::new();
        for (_, stored) in &piece.events {
            if !known.contains(&stored.row.sender) {
                who.insert(user::id(self.view, stored.row.sender)?.to_string());
            }
            if stored.is_state("m.room.member") {
                who.extend(stored.row.state_key.clone());
            }
        }
        let mut found = Vec::with_capacity(who.len());
        for id in who {
            found.extend(room::state(self.view, piece.end, "m.room.member", &id)?);
        }
        Ok(found)
    }

    /// Fills in what the room is shown as, as far as that has changed.
    fn show(
        &self,
        part: &mut Part,
        row: &Row,
        piece: &Piece,
        before: Option<Shown>,
    ) -> Reply<Shown> {
        let first = before.is_none();
        let mut shown = before.unwrap_or_default();
        if piece.had != Some(piece.end) {
            let head = room::head(self.view, row.room)?;
            let members = (head.joined, head.invited);
            self.show_face(part, &mut shown, row.room, piece.end, members)?;
            if first || shown.joined != head.joined {
                part.joined = Some(head.joined);
            }
            if first || shown.invited != head.invited {
                part.invited = Some(head.invited);
            }
            (shown.joined, shown.invited) = (head.joined, head.invited);
        }
        if (first && row.dm) || shown.dm != row.dm {
            part.dm = Some(row.dm);
            shown.dm = row.dm;
        }
        if self.counts() {
            let (user, id) = (self.ask.user, self.viewer_id);
            let main = unread::counts(self.view, user, id, row.room, row.member)?.main;
            let unread = (main.notifications, main.highlights);
            if first || shown.unread != unread {
                part.unread = Some(unread);
                shown.unread = unread;
            }
        }
        Ok(shown)
    }

    /// Name, avatar and heroes.
    fn show_face(
        &self,
        part: &mut Part,
        shown: &mut Shown,
        room: Room,
        root: Root,
        members: (u64, u64),
    ) -> Reply<()> {
        let face = face(self, room, root, members)?;
        part.name = field(face.name, &mut shown.name);
        part.avatar = field(face.avatar, &mut shown.avatar);
        let heroes = if face.heroes.is_empty() { 0 } else { mark(&face.heroes) };
        if heroes != shown.heroes {
            part.heroes = Some(face.heroes);
            shown.heroes = heroes;
        }
        Ok(())
    }
}

/// How a field is told that was shown before; takes down how it is shown now. What was never shown was not set.
fn field(value: Option<String>, was: &mut u64) -> Field<String> {
    let now = value.as_ref().map_or(0, mark);
    let before = std::mem::replace(was, now);
    match value {
        _ if before == now => Field::Same,
        Some(value) => Field::Is(value),
        None => Field::Gone,
    }
}

/// Is there nothing in it?
fn is_empty(part: &Part) -> bool {
    let Part { initial, expanded, timeline, limited, state, stubs, .. } = part;
    let Part { name, avatar, heroes, dm, joined, invited, unread, .. } = part;
    let told = *initial || *expanded || *limited || timeline.is_some() || state.is_some();
    let face = *name != Field::Same || *avatar != Field::Same || heroes.is_some();
    let counted = dm.is_some() || joined.is_some() || invited.is_some() || unread.is_some();
    !(told || face || counted || !stubs.is_empty())
}
