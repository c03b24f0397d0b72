//! `GET /rooms/{roomId}/timestamp_to_event`: the event nearest to a moment, by an index of the room's events by time.

use base::{Error, Event, Reply, Room, Seq, UnixMs};
use ruma::RoomId;
use store::{
    Direction, View,
    event::{self, Stored},
    room,
    schema::BY_TIME,
};

use crate::{access, gate::Gate, json::Out, messages::Reader, server_gate::ServerGate};

/// Rows looked at from one moment on.
const SCAN_MAX: usize = 1_000;
/// Rows read at once.
const CHUNK: usize = 32;

/// The nearest event that the reader may see, at the moment or later (forward) or earlier (backward): the JSON body.
///
/// Where the [`SCAN_MAX`] events next to the moment are hidden, the search goes on at the nearest moment at which the
/// reader came into the room or left it; what lies between is not looked at.
///
/// # Errors
/// 403 `M_FORBIDDEN` if the reader may not read the room, 404 `M_NOT_FOUND` if there is no such event.
pub fn nearest(
    view: &View,
    reader: &Reader<'_>,
    room_id: &RoomId,
    at: UnixMs,
    direction: Direction,
) -> Reply<String> {
    answer(find(view, reader, room_id, at, direction)?.nearest, at, direction)
}

/// What [`nearest`] tells of.
pub struct Found {
    /// The room.
    pub room: Room,
    /// Id and time.
    pub nearest: Option<(String, UnixMs)>,
}

/// The same, if there is one.
///
/// # Errors
/// 403 `M_FORBIDDEN` if the reader may not read the room.
pub fn find(
    view: &View,
    reader: &Reader<'_>,
    room_id: &RoomId,
    at: UnixMs,
    direction: Direction,
) -> Reply<Found> {
    let access = access::of(view, room_id, reader.user)?;
    let gate = Gate::new(view, access.room, reader.user, reader.id)?;
    let sees = |stored: &Stored, order| gate.sees(stored, order);
    let (room, upto) = (access.room, access.upto);
    let search = Search { view, room, upto, sees: &sees, direction };
    let mut found = search.from(at)?;
    if found.is_none()
        && let Some(edge) = search.edge(reader)?
        && search.is_ahead(at, edge)
    {
        found = search.from(edge)?;
    }
    Ok(Found { room, nearest: found })
}

/// The same for another server (`GET /_matrix/federation/v1/timestamp_to_event/{roomId}`): among the [`SCAN_MAX`] events
/// next to the moment.
///
/// # Errors
/// 404 `M_NOT_FOUND` if there is no such event.
pub fn nearest_for_server(
    view: &View,
    gate: &ServerGate<'_>,
    at: UnixMs,
    direction: Direction,
) -> Reply<String> {
    let sees = |stored: &Stored, _| gate.sees(stored);
    let search = Search { view, room: gate.room(), upto: Seq::MAX, sees: &sees, direction };
    answer(search.from(at)?, at, direction)
}

/// The JSON body of an answer.
///
/// # Errors
/// 404 `M_NOT_FOUND` if there is no event.
pub fn answer(found: Option<(String, UnixMs)>, at: UnixMs, direction: Direction) -> Reply<String> {
    let Some((id, sent_at)) = found else {
        let way = if direction == Direction::Forward { "forward" } else { "backward" };
        let text = format!("Unable to find event from {} in {way} direction", at.0);
        return Err(Error::not_found(text));
    };
    let mut out = Out::default();
    out.open().key("event_id").text(&id).key("origin_server_ts").number(sent_at.0).close();
    Ok(out.finish())
}

struct Search<'a> {
    view: &'a View,
    room: Room,
    /// What came later is not shown.
    upto: Seq,
    sees: &'a dyn Fn(&Stored, Seq) -> Reply<bool>,
    direction: Direction,
}

impl Search<'_> {
    /// The first event from a moment on that may be shown.
    fn from(&self, at: UnixMs) -> Reply<Option<(String, UnixMs)>> {
        let room = self.room;
        let (mut from, mut to) = match self.direction {
            Direction::Forward => ((room, at, Event(0)), (room, UnixMs(u64::MAX), Event(u64::MAX))),
            Direction::Backward => ((room, UnixMs(0), Event(0)), (room, at, Event(u64::MAX))),
        };
        let mut looked_at = 0;
        while looked_at < SCAN_MAX {
            let rows: Vec<((Room, UnixMs, Event), ())> =
                self.view.range(&BY_TIME, from, to, self.direction, CHUNK)?;
            for ((_, sent_at, event), ()) in &rows {
                if let Some(id) = self.shown(*event)? {
                    return Ok(Some((id, *sent_at)));
                }
            }
            let Some(((_, sent_at, event), ())) = rows.last() else { break };
            match self.direction {
                Direction::Forward => from = (room, *sent_at, Event(event.0.saturating_add(1))),
                Direction::Backward => to = (room, *sent_at, *event),
            }
            if rows.len() < CHUNK {
                break;
            }
            looked_at += rows.len();
        }
        Ok(None)
    }

    fn shown(&self, event: Event) -> Reply<Option<String>> {
        let order = event::order(self.view, event)?.unwrap_or(Seq::MAX);
        if order > self.upto {
            return Ok(None);
        }
        let stored = event::load(self.view, event)?;
        Ok((self.sees)(&stored, order)?.then(|| stored.id.to_string()))
    }

    /// When the reader's last stay ended, for going back to it, or when it began, for going forward.
    fn edge(&self, reader: &Reader<'_>) -> Reply<Option<UnixMs>> {
        let Some(mine) = room::membership(self.view, reader.user, self.room)? else {
            return Ok(None);
        };
        let stay = room::last_stay(self.view, mine.event)?;
        let edge = match (self.direction, stay) {
            (Direction::Backward, Some(stay)) => stay.left,
            (Direction::Backward, None) => return Ok(None),
            (Direction::Forward, Some(stay)) if mine.standing != store::schema::Standing::Join => {
                room::stay_began(self.view, stay.joined)?
            }
            (Direction::Forward, _) => room::stay_began(self.view, mine.event)?,
        };
        Ok(Some(event::load(self.view, edge)?.row.sent_at))
    }

    fn is_ahead(&self, at: UnixMs, edge: UnixMs) -> bool {
        match self.direction {
            Direction::Forward => edge > at,
            Direction::Backward => edge < at,
        }
    }
}
