//! `GET /notifications`: the events that notified the user, newest first.
//!
//! Nothing is stored for it: the user's push rules of today are asked about the timelines of their rooms, from the newest
//! event back, as unread counts do. An answer that has looked at many events for few notifications ends early, with a
//! token to go on from.

use std::{cmp::Reverse, collections::BinaryHeap};

use base::{Event, Reply, Room, Seq};
use store::{
    Direction, View,
    event::{self, Stored},
    room,
    schema::{Membership, Standing, TIMELINE},
};

use crate::{
    client_event::Writer, gate::Gate, json::Out, messages::Reader, token::Token, unread::Judge,
};

/// Events that the rules are asked about for one answer: about 20 ms.
const SCAN_MAX: usize = 2_000;
/// Notifications of one page at most.
const PAGE_MAX: usize = 100;
/// Rows of a room read at once.
const CHUNK: usize = 16;

/// One page, from a position back: the JSON body.
///
/// # Errors
/// Faults of the store.
pub fn notifications(
    view: &View,
    reader: &Reader<'_>,
    from: Option<Token>,
    limit: usize,
    only_highlights: bool,
) -> Reply<String> {
    let limit = limit.clamp(1, PAGE_MAX);
    let upto = from.map_or(Seq::MAX, |token| token.seq);
    let mut rooms = Vec::new();
    for (room, mine) in room::rooms_of(view, reader.user)?.iter() {
        if matches!(mine.standing, Standing::Join | Standing::Invite) {
            rooms.push(InRoom::new(view, reader, *room, mine, upto)?);
        }
    }
    let mut newest: BinaryHeap<(Seq, Reverse<usize>)> = BinaryHeap::new();
    for (at, room) in rooms.iter_mut().enumerate() {
        newest.extend(room.peek(view)?.map(|seq| (seq, Reverse(at))));
    }
    let mut out = Out::with_capacity(4096);
    out.open().key("notifications").open_array();
    let (mut looked_at, mut written, mut next) = (0, 0, None);
    while let Some((seq, Reverse(at))) = newest.pop() {
        if written == limit || looked_at == SCAN_MAX {
            next = Some(seq);
            break;
        }
        looked_at += 1;
        let Some(room) = rooms.get_mut(at) else { continue };
        if let Some(event) = room.take() {
            let stored = event::load(view, event)?;
            let told = Told { view, reader, only_highlights };
            written += usize::from(told.write(&mut out, room, seq, &stored)?);
        }
        newest.extend(room.peek(view)?.map(|seq| (seq, Reverse(at))));
    }
    out.close_array();
    if let Some(next) = next {
        out.key("next_token").text(&Token::at(next).to_string());
    }
    out.close();
    Ok(out.finish())
}

/// A room on the way back.
struct InRoom<'a> {
    judge: Judge<'a>,
    room: Room,
    mine: Membership,
    /// Where the stay began: nothing before it notified.
    since: Seq,
    /// Up to where to read next.
    upto: Seq,
    /// Read and not yet taken, oldest first.
    rows: Vec<(Seq, Event)>,
}

impl<'a> InRoom<'a> {
    fn new(
        view: &'a View,
        reader: &Reader<'_>,
        room: Room,
        mine: &Membership,
        upto: Seq,
    ) -> Reply<InRoom<'a>> {
        let invited = mine.standing == Standing::Invite;
        let began = if invited { mine.event } else { room::stay_began(view, mine.event)? };
        let since = event::order(view, began)?.unwrap_or_default();
        let joined = (!invited).then_some(mine.event);
        let judge = Judge::new(view, reader.user, reader.id, room, joined)?;
        let (mine, rows) = (mine.clone(), Vec::new());
        let mut this = InRoom { judge, room, mine, since, upto, rows };
        if invited {
            // Of a room that they are not in, the invite is all that concerns them.
            this.rows.extend((since <= upto).then_some((since, this.mine.event)));
            this.upto = Seq::ZERO;
        }
        Ok(this)
    }

    /// The position of the newest event not yet taken.
    fn peek(&mut self, view: &View) -> Reply<Option<Seq>> {
        if self.rows.is_empty() && self.upto > self.since {
            let (from, to) = ((self.room, self.since.next()), (self.room, self.upto.next()));
            let mut rows: Vec<((Room, Seq), Event)> =
                view.range(&TIMELINE, from, to, Direction::Backward, CHUNK)?;
            let more = rows.len() == CHUNK;
            let oldest =
                rows.last().map_or(Seq::ZERO, |((_, seq), _)| Seq(seq.0.saturating_sub(1)));
            self.upto = if more { oldest } else { Seq::ZERO };
            rows.reverse();
            self.rows = rows.into_iter().map(|((_, seq), event)| (seq, event)).collect();
        }
        Ok(self.rows.last().map(|(seq, _)| *seq))
    }

    fn take(&mut self) -> Option<Event> {
        self.rows.pop().map(|(_, event)| event)
    }
}

/// What is told of an event that notified.
struct Told<'a> {
    view: &'a View,
    reader: &'a Reader<'a>,
    only_highlights: bool,
}

impl Told<'_> {
    /// Writes the event if it notified; says whether it did.
    fn write(
        &self,
        out: &mut Out,
        room: &mut InRoom<'_>,
        seq: Seq,
        stored: &Stored,
    ) -> Reply<bool> {
        let Told { view, reader, only_highlights } = *self;
        let Some(verdict) = room.judge.notified(stored)? else { return Ok(false) };
        if only_highlights && !verdict.highlight {
            return Ok(false);
        }
        let gate = Gate::new(view, room.room, reader.user, reader.id)?;
        let invite = stored.event == room.mine.event;
        if !(invite || gate.sees(stored, seq)?) {
            return Ok(false);
        }
        let writer = Writer::new(view, &gate, Some(reader.device));
        let actions = serde_json::to_string(&verdict.actions)
            .map_err(|e| base::Error::fault(format!("actions of a push rule: {e}")))?;
        out.open().key("actions").raw(&actions);
        out.key("read").flag(room.judge.has_read(seq, stored)?);
        out.key("room_id").text(&room::info(view, room.room)?.id);
        out.key("ts").number(stored.row.sent_at.0);
        out.key("event");
        writer.write(out, stored)?;
        out.close();
        Ok(true)
    }
}
