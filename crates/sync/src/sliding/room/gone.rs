//! A room that the user is out of: up to the event by which they left, and what happened to their membership since.

use std::sync::Arc;

use base::{Reply, Seq};
use store::{
    event, room,
    schema::{Membership, Standing},
};

use super::{
    Field, Outcome, Scene,
    joined::Piece,
    shown::{face_of_state, mark},
    written,
};
use crate::{
    gate::Gate,
    sliding::{ask::Config, connection::Told, index::Row},
};

impl Scene<'_> {
    pub(super) fn gone(
        &self,
        row: &Row,
        config: &Config,
        told: Option<&Told>,
    ) -> Reply<Option<Outcome>> {
        if told.is_some_and(|t| row.touched <= t.upto) {
            return Ok(None);
        }
        let Some(m) = self.membership(row)? else { return Ok(None) };
        let out_before = told.is_none_or(|t| matches!(t.standing, Standing::Leave | Standing::Ban));
        if m.forgotten && out_before {
            return Ok(None);
        }
        let was_there = m.was_joined && !m.forgotten;
        let stay = if was_there { room::last_stay(self.view, m.event)? } else { None };
        let departure = match stay {
            Some(stay) => Some((stay.left, self.order(stay.left)?)),
            None => None,
        };
        // What lies before the client's last answer, it was told then, or may not know.
        match departure.filter(|(_, end)| told.is_none_or(|t| *end > t.upto)) {
            Some((departure, end)) => {
                self.departed(row, config, told, &m, (departure, end)).map(Some)
            }
            None => self.only_leave(row, config, told, &m).map(Some),
        }
    }

    /// The stay that has ended since, up to its end.
    fn departed(
        &self,
        row: &Row,
        config: &Config,
        told: Option<&Told>,
        m: &Membership,
        (departure, end): (base::Event, Seq),
    ) -> Reply<Outcome> {
        let known = told.filter(|t| t.standing == Standing::Join);
        let gate = Gate::new(self.view, row.room, self.ask.user, self.viewer_id)?;
        let after = known.map_or(Seq::ZERO, |t| t.upto);
        let span = self.newest(row.room, &gate, after, end, config.limit)?;
        let mut part = self.part(row)?;
        part.initial = known.is_none();
        part.limited = span.more;
        part.bump = Some(row.bump);
        let mut events = span.events;
        if departure != m.event {
            events.push((self.order(m.event)?, event::load(self.view, m.event)?));
        }
        let had = known.map(|t| room::state_at(self.view, row.room, t.upto)).transpose()?;
        let end_root = event::load(self.view, departure)?.row.after;
        let members = known.filter(|_| !span.more).map_or_else(Arc::default, |t| t.members.clone());
        let widened = known.is_some_and(|t| t.required != config.required);
        let piece = Piece { events, limited: span.more, had, end: end_root, widened, members };
        let writer = self.writer(&gate);
        self.write_timeline(&mut part, &writer, &piece.events, end)?;
        self.write_state(&mut part, &writer, &piece, config, known)?;
        let next = self.told(row, config, told);
        let face = face_of_state(self, piece.end)?;
        // What was made up from members then stays as it was shown.
        let shown = known.map(|t| t.summary).unwrap_or_default();
        part.name = face.name.filter(|n| mark(n) != shown.name).map_or(Field::Same, Field::Is);
        part.avatar =
            face.avatar.filter(|a| mark(a) != shown.avatar).map_or(Field::Same, Field::Is);
        Ok((Some(part), next))
    }

    /// An invite declined or withdrawn, a knock refused, a ban of somebody who has left: nothing but the event itself.
    fn only_leave(
        &self,
        row: &Row,
        config: &Config,
        told: Option<&Told>,
        m: &Membership,
    ) -> Reply<Outcome> {
        let gate = Gate::new(self.view, row.room, self.ask.user, self.viewer_id)?;
        let writer = self.writer(&gate);
        let stored = event::load(self.view, m.event)?;
        let order = self.order(m.event)?;
        let mut part = self.part(row)?;
        // Who was at the door has nothing of the room that this could be added to.
        let inside = told.is_some_and(|t| t.standing == Standing::Join);
        part.initial =
            !inside && !told.is_some_and(|t| matches!(t.standing, Standing::Leave | Standing::Ban));
        part.bump = Some(row.bump);
        let wanted = config.required.lazy() || config.required.wants_event(&stored);
        if wanted {
            part.state = Some(written(&writer, [&*stored])?);
        }
        let events = [(order, stored)];
        self.write_timeline(&mut part, &writer, &events, order)?;
        Ok((Some(part), self.told(row, config, told)))
    }
}
