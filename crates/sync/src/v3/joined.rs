//! A joined room in an answer.

use std::{collections::BTreeSet, sync::Arc};

use base::{Event, Reply, Room, Seq, User};
use ruma::{OwnedUserId, UserId};
use store::{
    Direction, View,
    event::{self, Stored},
    room,
    schema::{COMPLETED, Membership, RECEIPTS, Receipt, Standing},
    state::{self, Part, Root},
    user,
};

use super::{Context, StateAfter};
use crate::{
    client_event::Writer,
    filter::TIMELINE_DEFAULT,
    gate::Gate,
    heroes,
    json::Out,
    own_data,
    receipts::{self, RECEIPTS_MAX},
    sticky,
    timeline::{Query, Span, passes},
    token::Token,
    unread,
};

/// The part of a timeline that goes into an answer, oldest first, and what the client has of the room.
pub(super) struct Window {
    pub(super) events: Vec<(Seq, Arc<Stored>)>,
    pub(super) limited: bool,
    /// The client has the room's state as of here; `None`: nothing of the room.
    pub(super) since: Option<Seq>,
    /// Up to where the timeline goes.
    pub(super) upto: Seq,
}

impl Window {
    /// May the summary of the room have changed for the client?
    fn is_summarised(&self) -> bool {
        self.limited || self.events.iter().any(|(_, e)| e.is_state("m.room.member"))
    }
}

impl Context<'_> {
    /// Writes a joined room; says whether there was anything.
    pub(super) fn joined(&self, out: &mut Out, room: Room, membership: &Membership) -> Reply<bool> {
        let since = self.has_since(room, membership)?;
        let new_to_client = since.is_none() || self.ask.full_state;
        let gate = Gate::new(self.view, room, self.ask.user, self.viewer_id)?;
        let window = self.window(room, &gate, since, self.head)?;

        let start = out.mark();
        let writer = self.writer(&gate);
        let any_events = self.timeline(out, &writer, &window)?;
        let any_state = self.state(out, &writer, room, &window)?;
        let any_sticky = self.sticky(out, &writer, room, &window)?;
        let any_ephemeral = self.ephemeral(out, room, since)?;
        let any_data = self.room_account_data(out, room, since)?;
        let read = self.has_read(room, since)? || self.changes.recounted.contains(&room);
        let any = any_events || any_state || any_sticky || any_ephemeral || any_data;
        if !(any || new_to_client || read) {
            out.take_back(start);
            return Ok(false);
        }
        if new_to_client || window.is_summarised() {
            self.summary(out, room)?;
        }
        self.unread(out, room, membership)?;
        Ok(true)
    }

    /// Has the user's own receipt moved, so that counts differ?
    fn has_read(&self, room: Room, since: Option<Seq>) -> Reply<bool> {
        if let Some(who) = self.changes.receipts(room) {
            return Ok(who.contains(&self.ask.user));
        }
        let rows: Vec<((Room, User, String, u8), Receipt)> =
            self.view.under(&RECEIPTS, (room, self.ask.user), RECEIPTS_MAX)?;
        Ok(rows.iter().any(|(_, receipt)| since.is_none_or(|since| receipt.moved > since)))
    }

    /// From where on the client has this room: not at all if it joined since.
    fn has_since(&self, room: Room, membership: &Membership) -> Reply<Option<Seq>> {
        let Some(since) = self.since else { return Ok(None) };
        let changed = event::order(self.view, membership.event)?.unwrap_or_default();
        if changed <= since {
            return Ok(Some(since));
        }
        let then = room::state_at(self.view, room, since)?;
        let member = room::state(self.view, then, "m.room.member", self.viewer_id.as_str())?;
        // Left and joined again in between: the client never knew, and what it has is brought up to date.
        let was_in = member.and_then(|m| room::standing(&m)) == Some(Standing::Join);
        Ok(was_in.then_some(since))
    }

    pub(super) fn writer<'b>(&'b self, gate: &'b Gate<'b>) -> Writer<'b> {
        Writer::new(self.view, gate, Some(&self.ask.device))
            .with_fields(self.ask.filter.fields.as_deref())
    }

    /// The newest events after `since` that fit.
    pub(super) fn window(
        &self,
        room: Room,
        gate: &Gate<'_>,
        since: Option<Seq>,
        upto: Seq,
    ) -> Reply<Window> {
        let filter = &self.ask.filter.timeline;
        let limit = filter.limit.unwrap_or(TIMELINE_DEFAULT).min(base::limits::SYNC_TIMELINE_MAX);
        let query = Query {
            view: self.view,
            room,
            gate,
            filter,
            ignored: &self.ignored,
            after: since.unwrap_or(Seq::ZERO),
            upto,
            stop_at_hidden_state: true,
        };
        let Span { mut events, more, .. } = query.read(Direction::Backward, limit)?;
        events.reverse();
        Ok(Window { events, limited: more, since, upto })
    }

    pub(super) fn timeline(
        &self,
        out: &mut Out,
        writer: &Writer<'_>,
        window: &Window,
    ) -> Reply<bool> {
        if window.events.is_empty() && !window.limited && window.since.is_some() {
            return Ok(false);
        }
        out.key("timeline").open().key("events").open_array();
        for (_, stored) in &window.events {
            writer.write(out, stored)?;
        }
        out.close_array().key("limited").flag(window.limited);
        let first = window.events.first().map_or(window.upto.next(), |(seq, _)| *seq);
        let before = Token::at(Seq(first.0.saturating_sub(1)));
        out.key("prev_batch").text(&before.to_string()).close();
        Ok(!window.events.is_empty() || window.limited)
    }

    /// Sticky events that are not in the timeline (MSC4354).
    fn sticky(
        &self,
        out: &mut Out,
        writer: &Writer<'_>,
        room: Room,
        window: &Window,
    ) -> Reply<bool> {
        let events = match (window.since, self.ask.since) {
            (Some(_), Some(token)) => {
                let (after, upto) = (token.sticky(), self.sticky_upto);
                sticky::read(self.view, room, after, upto, sticky::STICKY_MAX)?
            }
            _ => sticky::read_all(self.view, room, self.head)?,
        };
        let mut wanted = Vec::new();
        for (_, stored) in events {
            let sender = user::id(self.view, stored.row.sender)?;
            let shown = window.events.iter().any(|(_, e)| e.event == stored.event);
            if !shown && !self.ignored.iter().any(|i| i == sender.as_str()) {
                wanted.push(stored);
            }
        }
        if wanted.is_empty() {
            return Ok(false);
        }
        out.key("msc4354_sticky").open().key("events").open_array();
        for stored in &wanted {
            writer.write(out, stored)?;
        }
        out.close_array().close();
        Ok(true)
    }

    /// The state that the client needs beside the timeline.
    pub(super) fn state(
        &self,
        out: &mut Out,
        writer: &Writer<'_>,
        room: Room,
        window: &Window,
    ) -> Reply<bool> {
        let in_timeline: BTreeSet<Event> = window.events.iter().map(|(_, e)| e.event).collect();
        let end = room::state_at(self.view, room, window.upto)?;
        let start = match window.events.first() {
            Some((at, first)) => room::turn(self.view, *at, first)?.before,
            None => end,
        };
        let after = self.ask.state_after != StateAfter::No;
        let whole = window.since.is_none()
            || self.ask.full_state
            || self.has_been_completed(room, window.since)?;
        let mut events = match (whole, window.since) {
            (false, Some(since)) => self.state_changes(room, since, start, end, &in_timeline)?,
            _ if after => self.state_whole(room, end, window)?,
            _ => self.state_whole(room, start, window)?,
        };
        if !whole {
            let root = if after { end } else { start };
            self.add_lazy_members(&mut events, room, root, window)?;
        }
        let filter = &self.ask.filter.state;
        if !filter.all {
            let mut kept = Vec::new();
            for stored in events {
                let sender = user::id(self.view, stored.row.sender)?;
                if passes(filter, &stored, sender.as_str()) {
                    kept.push(stored);
                }
            }
            events = kept;
        }
        self.note_members(room, &events, window)?;
        if events.is_empty() && !whole {
            return Ok(false);
        }
        out.key(self.state_key()).open().key("events").open_array();
        for stored in &events {
            writer.write(out, stored)?;
        }
        out.close_array().close();
        Ok(!events.is_empty())
    }

    /// Have members come to light that the client cannot know of (spec: Server-Server API, `omit_members`)? With lazy members it
    /// asks for them itself.
    fn has_been_completed(&self, room: Room, since: Option<Seq>) -> Reply<bool> {
        if self.lazy_members() || !self.changes.may_be_completed(room) {
            return Ok(false);
        }
        let at = self.view.get(&COMPLETED, (room,))?;
        Ok(at.is_some_and(|at| since.is_some_and(|since| at > since)))
    }

    /// What a room's state is called.
    pub(super) fn state_key(&self) -> &'static str {
        match self.ask.state_after {
            StateAfter::No => "state",
            StateAfter::Stable => "state_after",
            StateAfter::Unstable => "org.matrix.msc4222.state_after",
        }
    }

    /// What changed between `since` and the start of the timeline, and what changed within it without being shown.
    /// With `state_after`, all that changed up to the end.
    fn state_changes(
        &self,
        room: Room,
        since: Seq,
        start: Root,
        end: Root,
        in_timeline: &BTreeSet<Event>,
    ) -> Reply<Vec<Arc<Stored>>> {
        let had = room::state_at(self.view, room, since)?;
        let after = self.ask.state_after != StateAfter::No;
        let mut wanted = BTreeSet::new();
        if !after {
            wanted.extend(state::diff(self.view, had, start)?.into_iter().filter_map(|c| c.after));
        }
        let to_end = state::diff(self.view, had, end)?.into_iter().filter_map(|c| c.after);
        wanted.extend(to_end.filter(|event| after || !in_timeline.contains(event)));
        wanted.into_iter().map(|event| event::load(self.view, event)).collect()
    }

    /// A whole state; with lazy members only those who matter.
    fn state_whole(&self, room: Room, root: Root, window: &Window) -> Reply<Vec<Arc<Stored>>> {
        let lazy = self.lazy_members();
        let part = if lazy { Part::Except("m.room.member") } else { Part::All };
        let mut events = Vec::new();
        for event in state::list(self.view, root, part)? {
            events.push(event::load(self.view, event)?);
        }
        if lazy {
            let mut who = self.senders(window)?;
            who.insert(self.viewer_id.to_owned());
            who.extend(heroes::current(self.view, room, self.ask.user)?);
            for id in who {
                events.extend(room::state(self.view, root, "m.room.member", id.as_str())?);
            }
        }
        Ok(events)
    }

    pub(super) fn lazy_members(&self) -> bool {
        self.ask.filter.state.lazy_members || self.ask.filter.timeline.lazy_members
    }

    fn senders(&self, window: &Window) -> Reply<BTreeSet<OwnedUserId>> {
        let users: BTreeSet<User> = window.events.iter().map(|(_, e)| e.row.sender).collect();
        users.into_iter().map(|u| user::id(self.view, u)).collect()
    }

    /// With lazy members, whoever speaks in the timeline is introduced, and who stands for the room in its summary, but for
    /// those that the client has been told. `root`: the state that the answer tells of.
    fn add_lazy_members(
        &self,
        events: &mut Vec<Arc<Stored>>,
        room: Room,
        root: Root,
        window: &Window,
    ) -> Reply<()> {
        if !self.lazy_members() {
            return Ok(());
        }
        let mut have: BTreeSet<Event> = events.iter().map(|e| e.event).collect();
        have.extend(window.events.iter().map(|(_, e)| e.event));
        let mut who = self.senders(window)?;
        if window.is_summarised() {
            who.extend(heroes::current(self.view, room, self.ask.user)?);
        }
        for id in who {
            let Some(member) = room::state(self.view, root, "m.room.member", id.as_str())? else {
                continue;
            };
            if have.insert(member.event) && !self.has_been_told(&member)? {
                events.push(member);
            }
        }
        Ok(())
    }

    fn has_been_told(&self, member: &Stored) -> Reply<bool> {
        let Some(told) = &self.told else { return Ok(false) };
        let whose = member_of(self.view, member)?;
        Ok(whose.is_some_and(|user| told.knows(member.row.room, user, member.event)))
    }

    /// Takes down which member events the answer tells, the last one of each user.
    fn note_members(&self, room: Room, state: &[Arc<Stored>], window: &Window) -> Reply<()> {
        if self.told.is_none() {
            return Ok(());
        }
        let mut introduced = self.introduced.borrow_mut();
        let after = self.ask.state_after != StateAfter::No;
        let timeline = window.events.iter().map(|(_, e)| e).filter(|_| !after);
        for member in state.iter().chain(timeline).filter(|e| e.is_state("m.room.member")) {
            if let Some(user) = member_of(self.view, member)? {
                introduced.push((room, user, member.event));
            }
        }
        Ok(())
    }

    fn ephemeral(&self, out: &mut Out, room: Room, since: Option<Seq>) -> Reply<bool> {
        let filter = &self.ask.filter.ephemeral;
        let before = out.mark();
        out.key("ephemeral").open().key("events").open_array();
        let start = out.mark();
        if filter.matcher.kind("m.typing") {
            let epoch = match since {
                Some(_) => self.ask.since.map_or(base::Epoch(0), |t| t.typing),
                None => base::Epoch(0),
            };
            if let Some(users) = self.view.typing(room, epoch)
                && !(users.is_empty() && since.is_none())
            {
                out.open().key("type").text("m.typing").key("content").open();
                out.key("user_ids").open_array();
                for user in users {
                    let id = user::id(self.view, user)?;
                    if !self.ignored.iter().any(|i| i == id.as_str()) {
                        out.text(id.as_str());
                    }
                }
                out.close_array().close().close();
            }
        }
        if filter.matcher.kind("m.receipt") {
            self.receipts(out, room, since)?;
        }
        if out.mark() == start {
            out.take_back(before);
            return Ok(false);
        }
        out.close_array().close();
        Ok(true)
    }

    fn receipts(&self, out: &mut Out, room: Room, since: Option<Seq>) -> Reply<()> {
        let mut rows: Vec<receipts::Row> = match self.changes.receipts(room) {
            Some(users) if since.is_some() => receipts::of_users(self.view, room, users)?,
            _ => self.view.under(&RECEIPTS, (room,), RECEIPTS_MAX)?,
        };
        rows.retain(|(_, receipt)| since.is_none_or(|since| receipt.moved > since));
        for layer in receipts::layers(self.view, self.ask.user, &self.ignored, rows)? {
            receipts::write(out, &layer);
        }
        Ok(())
    }

    fn room_account_data(&self, out: &mut Out, room: Room, since: Option<Seq>) -> Reply<bool> {
        let before = out.mark();
        out.key("account_data").open().key("events").open_array();
        let start = out.mark();
        self.data_events(out, room, since, |kind| {
            self.ask.filter.room_account_data.matcher.kind(kind)
        })?;
        if out.mark() == start {
            out.take_back(before);
            return Ok(false);
        }
        out.close_array().close();
        Ok(true)
    }

    /// Account data of a room (0: global) that the client does not have.
    pub(super) fn data_events(
        &self,
        out: &mut Out,
        room: Room,
        since: Option<Seq>,
        wanted: impl Fn(&str) -> bool,
    ) -> Reply<()> {
        let kinds = self.changes.account_data(room).filter(|_| since.is_some());
        for (kind, data) in own_data::read(self.view, self.ask.user, room, kinds)? {
            if wanted(&kind) {
                own_data::write(out, &kind, &data);
            }
        }
        Ok(())
    }

    fn unread(&self, out: &mut Out, room: Room, membership: &Membership) -> Reply<()> {
        let counts =
            unread::counts(self.view, self.ask.user, self.viewer_id, room, membership.event)?;
        let apart = self.ask.filter.timeline.threads_apart;
        let shown = if apart { counts.main } else { counts.total() };
        out.key("unread_notifications").open();
        out.key("notification_count").number(shown.notifications);
        out.key("highlight_count").number(shown.highlights).close();
        if apart {
            out.key("unread_thread_notifications").open();
            for (root, count) in counts.threads.iter().filter(|(_, c)| c.notifications > 0) {
                out.key(event::load(self.view, *root)?.id.as_str()).open();
                out.key("notification_count").number(count.notifications);
                out.key("highlight_count").number(count.highlights).close();
            }
            out.close();
        }
        Ok(())
    }
}

/// Whose membership a member event tells.
fn member_of(view: &View, member: &Stored) -> Reply<Option<User>> {
    let id = member.row.state_key.as_deref().and_then(|id| <&UserId>::try_from(id).ok());
    id.map(|id| user::find(view, id)).transpose().map(Option::flatten)
}
