//! What an answer holds beside joined rooms: invites, knocks, left rooms, global account data, device lists.

use base::{Reply, Room, Seq};
use protocol::invite::Reception;
use store::{
    event, room,
    schema::{Membership, Standing},
};

use super::{Context, StateAfter};
use crate::{device_lists::DeviceLists, gate::Gate, json::Out, own_data};

impl Context<'_> {
    /// Has this membership changed for the client?
    fn is_new(&self, room: Room, membership: &Membership) -> Reply<bool> {
        let Some(since) = self.since else { return Ok(true) };
        if self.ask.full_state
            || event::order(self.view, membership.event)?.unwrap_or_default() > since
        {
            return Ok(true);
        }
        // Where the graph has several ends, the room may have come back to an event that the client was told of long ago.
        match self.changes.has_shifted(room) {
            Some(shifted) => Ok(shifted),
            None => Ok(self.stood(room, since)? != self.stood(room, self.head)?),
        }
    }

    pub(super) fn invited(&self, out: &mut Out, room: Room, m: &Membership) -> Reply<bool> {
        if m.standing != Standing::Invite || !self.is_new(room, m)? {
            return Ok(false);
        }
        if store::invite::reception(self.view, self.ask.user, m.sender)? != Reception::Allow {
            return Ok(false);
        }
        stripped(out, "invite_state", m);
        Ok(true)
    }

    pub(super) fn knocked(&self, out: &mut Out, room: Room, m: &Membership) -> Reply<bool> {
        if m.standing != Standing::Knock || !self.is_new(room, m)? {
            return Ok(false);
        }
        stripped(out, "knock_state", m);
        Ok(true)
    }

    /// A room that the user has left or was put out of since, up to and with the event that says so. If they were
    /// invited or banned since then, nothing of the room between the two is told.
    pub(super) fn left(&self, out: &mut Out, room: Room, m: &Membership) -> Reply<bool> {
        let gone = matches!(m.standing, Standing::Leave | Standing::Ban);
        if !gone || !self.is_new(room, m)? {
            return Ok(false);
        }
        let stood = match self.since {
            Some(since) => self.stood(room, since)?,
            None if self.ask.filter.include_leave => None,
            None => return Ok(false),
        };
        // Who forgot the room is told of it only if their client does not know yet that they are out.
        let out_before = matches!(stood, None | Some(Standing::Leave | Standing::Ban));
        if m.forgotten && out_before {
            return Ok(false);
        }
        let gate = Gate::new(self.view, room, self.ask.user, self.viewer_id)?;
        let writer = self.writer(&gate);
        let newest = event::order(self.view, m.event)?.unwrap_or_default();
        let was_there = m.was_joined && !m.forgotten;
        let stay = if was_there { room::last_stay(self.view, m.event)? } else { None };
        let Some(room::Stay { left: departure, .. }) = stay else {
            // An invite declined or withdrawn, a knock refused: nothing of the room but the event itself.
            return self.only_leave(out, m, &writer, newest);
        };
        let end = event::order(self.view, departure)?.unwrap_or_default();
        if !self.ask.full_state && self.since.is_some_and(|since| end <= since) {
            return self.only_leave(out, m, &writer, newest);
        }
        let since = self.since.filter(|_| stood == Some(Standing::Join));
        let mut window = self.window(room, &gate, since, end)?;
        self.state(out, &writer, room, &window)?;
        if departure != m.event {
            window.events.push((newest, event::load(self.view, m.event)?));
        }
        self.timeline(out, &writer, &window)?;
        Ok(true)
    }

    fn only_leave(
        &self,
        out: &mut Out,
        m: &Membership,
        writer: &crate::client_event::Writer<'_>,
        end: Seq,
    ) -> Reply<bool> {
        let stored = event::load(self.view, m.event)?;
        out.key("timeline").open().key("events").open_array();
        writer.write(out, &stored)?;
        out.close_array().key("limited").flag(false);
        out.key("prev_batch")
            .text(&crate::Token::at(Seq(end.0.saturating_sub(1))).to_string())
            .close();
        out.key(self.state_key()).open().key("events").open_array();
        if self.ask.state_after != StateAfter::No {
            writer.write(out, &stored)?;
        }
        out.close_array().close();
        Ok(true)
    }

    /// How the user stood to a room at a position.
    fn stood(&self, room: Room, since: Seq) -> Reply<Option<Standing>> {
        let root = room::state_at(self.view, room, since)?;
        let member = room::state(self.view, root, "m.room.member", self.viewer_id.as_str())?;
        Ok(member.and_then(|m| room::standing(&m)))
    }

    pub(super) fn account_data(&self, out: &mut Out) -> Reply<()> {
        let before = out.mark();
        out.key("account_data").open().key("events").open_array();
        let start = out.mark();
        let wanted = |kind: &str| self.ask.filter.account_data.kind(kind);
        self.data_events(out, Room(0), self.since, wanted)?;
        if self.since.is_none() && wanted("m.push_rules") {
            own_data::default_push_rules(self.view, out, self.ask.user, self.viewer_id)?;
        }
        if out.mark() == start {
            out.take_back(before);
        } else {
            out.close_array().close();
        }
        Ok(())
    }

    /// Whose devices the client has to look at again, and whose no longer.
    pub(super) fn device_lists(&self, out: &mut Out) -> Reply<()> {
        let Some(since) = self.since else { return Ok(()) };
        let lists = DeviceLists::of(self.view, self.ask.user, since, &self.changes)?;
        if !lists.is_empty() {
            lists.write(out);
        }
        Ok(())
    }
}

fn stripped(out: &mut Out, key: &str, m: &Membership) {
    out.key(key).open().key("events").raw(m.stripped.as_deref().unwrap_or("[]")).close();
}
