//! What is told of one room: everything, or what the client does not have of it.

mod gone;
mod joined;
mod shown;

use std::sync::Arc;

use base::{Reply, Seq};
use ruma::UserId;
use store::{
    View,
    event::{self, Stored},
    room,
    schema::{Membership, Standing},
};

pub(super) use self::shown::{Field, Hero, Shown};
use super::{
    ask::{Ask, Config, Shape},
    connection::Told,
    index::Row,
};
use crate::{client_event::Writer, filter::RoomEvents, gate::Gate, json::Out, token::Token};

/// A room in an answer. What is not set is not told, because nothing changed.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Its id.
    pub(super) id: String,
    /// How the user stands to it.
    pub(super) membership: &'static str,
    /// The lists that it is in.
    pub(super) lists: Vec<String>,
    /// See [`store::activity`].
    pub(super) bump: Option<Seq>,
    /// Everything is told: the client forgets what it had.
    pub(super) initial: bool,
    /// More of the past is told because more was asked for.
    pub(super) expanded: bool,
    /// The timeline, as a JSON array.
    pub(super) timeline: Option<String>,
    /// Something lies between what the client had and this timeline, or before it.
    pub(super) limited: bool,
    /// How many events of the timeline are new since the last answer.
    pub(super) live: u64,
    /// A token from which the past can be read.
    pub(super) prev_batch: Option<String>,
    /// State, as a JSON array.
    pub(super) state: Option<String>,
    /// State that is gone: type and key.
    pub(super) stubs: Vec<(String, String)>,
    /// The name.
    pub(super) name: Field<String>,
    /// The avatar.
    pub(super) avatar: Field<String>,
    /// Who stands for a room without a name.
    pub(super) heroes: Option<Vec<Hero>>,
    /// A direct chat?
    pub(super) dm: Option<bool>,
    /// How many are joined.
    pub(super) joined: Option<u64>,
    /// How many are invited.
    pub(super) invited: Option<u64>,
    /// Unread notifications and highlights of the main timeline.
    pub(super) unread: Option<(u64, u64)>,
    /// Stripped state, as a JSON array.
    pub(super) stripped: Option<String>,
    /// Ids of the events of the timeline, for receipts.
    pub(super) events: Vec<String>,
}

/// What parts are made from.
pub(super) struct Scene<'a> {
    pub(super) view: &'a View,
    pub(super) ask: &'a Ask,
    pub(super) viewer_id: &'a UserId,
    /// The answer goes up to here.
    pub(super) head: Seq,
    /// The client has answers up to here; none: this is the first.
    pub(super) since: Option<Seq>,
    pub(super) ignored: Vec<String>,
    /// The filter that lets everything pass.
    pub(super) everything: RoomEvents,
}

/// A room told, or at least looked at: what the client then knows of it.
pub(super) type Outcome = (Option<Part>, Told);

impl Scene<'_> {
    /// Looks at a room; none: nothing has changed since it was last looked at.
    pub(super) fn tell(
        &self,
        row: &Row,
        config: &Config,
        told: Option<&Told>,
    ) -> Reply<Option<Outcome>> {
        match row.standing {
            Standing::Join => self.joined(row, config, told),
            Standing::Invite | Standing::Knock => self.at_the_door(row, config, told),
            Standing::Leave | Standing::Ban => self.gone(row, config, told),
        }
    }

    /// An invite or a knock: the stripped state and nothing else.
    fn at_the_door(
        &self,
        row: &Row,
        config: &Config,
        told: Option<&Told>,
    ) -> Reply<Option<Outcome>> {
        if told.is_some_and(|t| t.standing == row.standing && row.touched <= t.upto) {
            return Ok(None);
        }
        let m = self.membership(row)?;
        let mut part = self.part(row)?;
        part.initial = true;
        part.bump = Some(row.bump);
        part.stripped = Some(m.and_then(|m| m.stripped).unwrap_or_else(|| "[]".to_owned()));
        Ok(Some((Some(part), self.told(row, config, None))))
    }

    fn membership(&self, row: &Row) -> Reply<Option<Membership>> {
        room::membership(self.view, self.ask.user, row.room)
    }

    fn part(&self, row: &Row) -> Reply<Part> {
        let id = room::info(self.view, row.room)?.id.clone();
        Ok(Part { id, membership: row.standing.as_str(), ..Part::default() })
    }

    /// What the client knows after this answer, but for what the caller changes.
    fn told(&self, row: &Row, config: &Config, before: Option<&Told>) -> Told {
        Told {
            upto: self.head,
            standing: row.standing,
            depth: 0,
            required: config.required.clone(),
            members: Arc::default(),
            data: before.map_or(Seq::ZERO, |told| told.data),
            receipts: before.map_or(Seq::ZERO, |told| told.receipts),
            summary: Shown::default(),
        }
    }

    fn writer<'b>(&'b self, gate: &'b Gate<'b>) -> Writer<'b> {
        Writer::new(self.view, gate, Some(&self.ask.device))
    }

    /// Fills in a timeline.
    fn write_timeline(
        &self,
        part: &mut Part,
        writer: &Writer<'_>,
        events: &[(Seq, Arc<Stored>)],
        end: Seq,
    ) -> Reply<()> {
        if !events.is_empty() {
            part.timeline = Some(written(writer, events.iter().map(|(_, stored)| &**stored))?);
        }
        let since = self.since.unwrap_or(Seq::MAX);
        part.live = events.iter().filter(|(seq, _)| *seq > since).count() as u64;
        if part.initial || part.limited || !events.is_empty() {
            let first = events.first().map_or(end.next(), |(seq, _)| *seq);
            part.prev_batch = Some(Token::at(Seq(first.0.saturating_sub(1))).to_string());
        }
        part.events = events.iter().map(|(_, stored)| stored.id.to_string()).collect();
        Ok(())
    }

    /// Do counts of unread events go into the answer?
    fn counts(&self) -> bool {
        self.ask.shape == Shape::Unstable
    }

    fn order(&self, event: base::Event) -> Reply<Seq> {
        Ok(event::order(self.view, event)?.unwrap_or_default())
    }
}

/// A JSON array of events.
fn written<'a>(writer: &Writer<'_>, events: impl IntoIterator<Item = &'a Stored>) -> Reply<String> {
    let mut out = Out::default();
    out.open_array();
    for stored in events {
        writer.write(&mut out, stored)?;
    }
    out.close_array();
    Ok(out.finish())
}
