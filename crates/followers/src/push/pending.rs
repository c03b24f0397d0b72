//! What a pusher has still to tell: the events behind its cursor that notify, in the order of the log.

use std::collections::HashMap;

use base::{Event, Reply, Room, Seq, User};
use ruma::UserId;
use store::{
    Direction, View,
    event::{self, Stored},
    room,
    schema::{Standing, TIMELINE},
};
use sync::{
    gate::Gate,
    unread::{self, Judge, Verdict, thread_of},
};

use super::slot::Rooms;

/// Events of one room looked at in one go.
const CHUNK: usize = 256;
/// Events found in one go: more wait for the next.
pub(super) const FOUND_MAX: usize = 64;

/// An event to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) seq: Seq,
    pub(super) room: Room,
    pub(super) event: Event,
}

/// Whom it is told to.
#[derive(Clone, Copy)]
pub(super) struct Me<'a> {
    pub(super) user: User,
    pub(super) id: &'a UserId,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Oldest first.
    pub(super) found: Vec<Found>,
    /// Everything up to here was looked at.
    pub(super) covered: Seq,
    /// The rooms that have more.
    pub(super) rooms: Rooms,
}

/// Looks through rooms for events with `after < position <= upto`.
pub(super) fn pending(
    view: &View,
    me: Me<'_>,
    rooms: &Rooms,
    after: Seq,
    upto: Seq,
) -> Reply<Pending> {
    let rooms: Vec<Room> = match rooms {
        Rooms::All => room::rooms_of(view, me.user)?
            .iter()
            .filter(|(_, m)| matches!(m.standing, Standing::Join | Standing::Invite))
            .map(|(room, _)| *room)
            .collect(),
        Rooms::Some(rooms) => rooms.iter().copied().collect(),
    };
    let (mut found, mut covered) = (Vec::new(), upto);
    let mut last_of = Vec::new();
    for room in rooms {
        let (of_room, last) = of_room(view, me, room, after, upto)?;
        covered = covered.min(last);
        last_of.push((room, last, of_room.last().map_or(after, |found| found.seq)));
        found.extend(of_room);
    }
    found.sort_unstable();
    if found.len() > FOUND_MAX {
        found.truncate(FOUND_MAX);
        covered = covered.min(found.last().map_or(upto, |found| found.seq));
    }
    found.retain(|found| found.seq <= covered);
    let more =
        |(room, last, newest): (Room, Seq, Seq)| (last < upto || newest > covered).then_some(room);
    let rooms = last_of.into_iter().filter_map(more).collect();
    Ok(Pending { found, covered, rooms })
}

/// The events of one room, and up to where it was looked at.
fn of_room(view: &View, me: Me<'_>, room: Room, after: Seq, upto: Seq) -> Reply<(Vec<Found>, Seq)> {
    let Some(stand) = Stand::of(view, me, room)? else { return Ok((Vec::new(), upto)) };
    let rows: Vec<((Room, Seq), Event)> = view.range(
        &TIMELINE,
        (room, after.next()),
        (room, upto.next()),
        Direction::Forward,
        CHUNK,
    )?;
    let last = match rows.last() {
        Some(((_, seq), _)) if rows.len() == CHUNK => *seq,
        _ => upto,
    };
    let mut judge = stand.judge(view, me)?;
    let mut own: HashMap<Option<Event>, Seq> = HashMap::new();
    let mut found = Vec::new();
    for ((_, seq), event) in rows {
        let stored = event::load(view, event)?;
        if stored.row.sender == me.user {
            own.insert(thread_of(view, &stored)?, seq);
        } else if stand.tell(view, me, &mut judge, seq, &stored)?.is_some() {
            found.push((thread_of(view, &stored)?, Found { seq, room, event }));
        }
    }
    // Whoever sends has read what was before (spec: "Marking notifications as read").
    let unread = |(thread, found): &(Option<Event>, Found)| {
        own.get(thread).is_none_or(|own| *own < found.seq)
    };
    Ok((found.into_iter().filter(unread).map(|(_, found)| found).collect(), last))
}

/// Is an event still to be told, and how? What was found before may have been read since.
pub(super) fn still(view: &View, me: Me<'_>, found: Found) -> Reply<Option<Verdict>> {
    let Some(stand) = Stand::of(view, me, found.room)? else { return Ok(None) };
    if stand.standing == Standing::Join {
        // Also by sending something themselves.
        let counts = unread::counts(view, me.user, me.id, found.room, stand.member)?;
        if counts.total().notifications == 0 {
            return Ok(None);
        }
    }
    let mut judge = stand.judge(view, me)?;
    let stored = event::load(view, found.event)?;
    stand.tell(view, me, &mut judge, found.seq, &stored)
}

/// How the user stands to a room.
struct Stand {
    room: Room,
    standing: Standing,
    member: Event,
}

impl Stand {
    fn of(view: &View, me: Me<'_>, room: Room) -> Reply<Option<Stand>> {
        let member = room::member(view, room, me.user)?;
        Ok(member
            .filter(|m| matches!(m.standing, Standing::Join | Standing::Invite))
            .map(|m| Stand { room, standing: m.standing, member: m.event }))
    }

    fn judge<'a>(&self, view: &'a View, me: Me<'_>) -> Reply<Judge<'a>> {
        let member = (self.standing == Standing::Join).then_some(self.member);
        Judge::new(view, me.user, me.id, self.room, member)
    }

    fn tell(
        &self,
        view: &View,
        me: Me<'_>,
        judge: &mut Judge<'_>,
        seq: Seq,
        stored: &Stored,
    ) -> Reply<Option<Verdict>> {
        // Who is invited knows of the invite, and of nothing else.
        if self.standing == Standing::Invite && stored.event != self.member {
            return Ok(None);
        }
        let Some(verdict) = judge.verdict(seq, stored)? else { return Ok(None) };
        if self.standing == Standing::Join
            && !Gate::new(view, self.room, me.user, me.id)?.sees(stored, seq)?
        {
            return Ok(None);
        }
        Ok(Some(verdict))
    }
}
