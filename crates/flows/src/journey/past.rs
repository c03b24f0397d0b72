//! What happened in a room before this server came, asked for when somebody looks that far back (spec: Server-Server API,
//! "Backfilling and retrieving missing events").
//!
//! Where to go on stands in `GAPS`: events that others name and that are not here. So it works page by page, and over
//! restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use base::{Event, Reply, Room, Seq, UnixMs};
use protocol::Pdu;
use rooms::remote;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId,
    RoomVersionId, UInt,
    api::federation::{backfill::get_backfill, event::get_event_by_timestamp},
};
use store::{
    Direction, Lane, View, event, room,
    schema::{GAPS, JUDGED},
};

use super::{
    Journeys,
    arrival::{self, Into},
    in_turn,
    setback::Setback,
};
use crate::peers::Patience;

/// Events asked for at once.
const EVENTS: u32 = 100;
/// And taken: servers may send some more.
const EVENTS_MAX: usize = 500;
/// Gaps of one room that are looked at.
const GAPS_MAX: usize = 500;
/// Events that one request begins at (spec: none; the URL must stay short).
const BEGIN_MAX: usize = 20;
/// Servers asked for one stretch of the past.
const SERVERS: usize = 3;
/// How long who scrolls waits; what comes later is there for the next who does.
const WAIT: Duration = Duration::from_secs(10);
/// For one server.
const ANSWER: Duration = Duration::from_secs(8);
/// How long a room is left alone in which nobody had anything.
const DRY: Duration = Duration::from_secs(60);
/// The same, where somebody who may have it could not be reached. Who is known to be away is not asked in between, so that
/// trying again costs next to nothing.
const DRY_AWAY: Duration = Duration::from_secs(1);
/// Auth events that are asked for one by one.
const AUTH_MAX: usize = 50;

/// The events that are missing behind what a stretch of a room's timeline shows, oldest first: those that events in the span
/// (behind the first position, up to the second) follow.
///
/// # Errors
/// Faults.
pub fn gaps(view: &View, room: Room, span: (Seq, Seq)) -> Reply<Vec<OwnedEventId>> {
    let rows: Vec<((Room, String), Event)> = view.under(&GAPS, (room,), GAPS_MAX)?;
    let mut found: BTreeMap<Seq, Vec<OwnedEventId>> = BTreeMap::new();
    for ((_, id), citing) in rows {
        let (Some(at), Ok(id)) = (event::order(view, citing)?, OwnedEventId::try_from(id)) else {
            continue;
        };
        if at > span.0 && at <= span.1 {
            found.entry(at).or_default().push(id);
        }
    }
    Ok(found.into_values().flatten().take(BEGIN_MAX).collect())
}

/// The same by time: what events that were sent later than that follow, and is not here.
///
/// # Errors
/// Faults.
pub fn gaps_later_than(view: &View, room: Room, than: UnixMs) -> Reply<Vec<OwnedEventId>> {
    let rows: Vec<((Room, String), Event)> = view.under(&GAPS, (room,), GAPS_MAX)?;
    let mut found = Vec::new();
    for ((_, id), citing) in rows {
        if let Ok(id) = OwnedEventId::try_from(id) {
            found.push((event::load(view, citing)?.row.sent_at, id));
        }
    }
    found.retain(|(at, _)| *at > than);
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, id)| id).take(BEGIN_MAX).collect())
}

/// Is an event in its room here, or known not to belong there?
///
/// # Errors
/// Faults.
pub fn is_known(view: &View, id: &EventId) -> Reply<bool> {
    let Some(event) = event::find(view, id)? else { return Ok(false) };
    Ok(!event::is_outlier(&event::load(view, event)?.row) || view.has(&JUDGED, (event,))?)
}

/// A room whose past is asked for.
struct Past {
    into: Into,
    servers: Vec<OwnedServerName>,
    /// Those that are still missing.
    begin: Vec<OwnedEventId>,
}

impl Journeys {
    /// Asks other servers for what is missing in a room, from these events backward. Says whether something has come, after at most
    /// ten seconds.
    ///
    /// # Errors
    /// Faults.
    pub async fn look_back(&self, room: &RoomId, missing: Vec<OwnedEventId>) -> Reply<bool> {
        if self.0.dry.get(room).is_some_and(|until| Instant::now() < until) {
            return Ok(false);
        }
        let (journey, id) = (self.clone(), room.to_owned());
        let way = self.go(async move { journey.fetch_past(id, missing).await });
        tokio::time::timeout(WAIT, way).await.unwrap_or(Ok(false))
    }

    async fn fetch_past(&self, id: OwnedRoomId, missing: Vec<OwnedEventId>) -> Reply<bool> {
        let _turn = self.0.rooms.take(&format!("past {id}")).await;
        let Some(past) = self.past_of(id.clone(), missing).await? else { return Ok(true) };
        let (servers, away) = (past.servers.clone(), AtomicBool::new(false));
        let ask = async |server| {
            let told = self.past_from(server, &past).await;
            if told.as_ref().is_err_and(Setback::is_away) {
                away.store(true, Ordering::Relaxed);
            }
            told
        };
        match self.try_each(servers, ask).await {
            Ok(placed) => Ok(placed > 0),
            Err(no) => {
                tracing::info!(room = %id, %no, "nobody tells the past of a room");
                let pause = if away.into_inner() { DRY_AWAY } else { DRY };
                self.0.dry.insert(id, Instant::now() + pause);
                Ok(false)
            }
        }
    }

    /// `None`: somebody else has just fetched it.
    async fn past_of(&self, id: OwnedRoomId, missing: Vec<OwnedEventId>) -> Reply<Option<Past>> {
        let (store, peers) = (self.0.store.clone(), self.0.peers.clone());
        let read = self.0.store.read(move |view| {
            let Some(room) = room::find(view, &id)? else { return Ok(None) };
            if !room::is_resident(view, room)? {
                return Ok(None);
            }
            let mut begin = Vec::new();
            for missing in missing {
                if view.has(&GAPS, (room, missing.as_str().to_owned()))? {
                    begin.push(missing);
                }
            }
            if begin.is_empty() {
                return Ok(None);
            }
            let info = room::info(view, room)?;
            let version = RoomVersionId::try_from(info.version.as_str())
                .map_err(|e| base::Error::fault(format!("room {room}: {e}")))?;
            let servers = who_knows(view, room)?;
            Ok(Some((room, id, version, servers, begin)))
        });
        let Some((room, id, version, servers, begin)) = read.await? else { return Ok(None) };
        let into = Into { store, peers, room, id, version };
        Ok(Some(Past { into, servers, begin }))
    }

    /// The event of a room that was sent next to a moment, as the first server in it says that knows one and that this server does
    /// not have. Says nothing after ten seconds.
    ///
    /// # Errors
    /// Faults.
    pub async fn event_by_time(
        &self,
        room: &RoomId,
        at: UnixMs,
        direction: Direction,
    ) -> Reply<Option<(OwnedEventId, UnixMs)>> {
        let id = room.to_owned();
        let servers = self.0.store.read(move |view| match room::find(view, &id)? {
            Some(room) if room::is_resident(view, room)? => who_knows(view, room),
            _ => Ok(Vec::new()),
        });
        let servers = servers.await?;
        let ask = self.try_each(servers, |server| self.by_time_from(server, room, at, direction));
        match tokio::time::timeout(WAIT, ask).await {
            Ok(Ok(found)) => Ok(Some(found)),
            Ok(Err(fault @ base::Error::Fault(_))) => Err(fault),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    async fn by_time_from(
        &self,
        server: OwnedServerName,
        room: &RoomId,
        at: UnixMs,
        direction: Direction,
    ) -> Result<(OwnedEventId, UnixMs), Setback> {
        let Ok(ts) = UInt::try_from(at.0) else {
            return Err(Setback::nonsense("nothing was sent so late"));
        };
        let (ts, dir) = match direction {
            Direction::Forward => (ts, ruma::api::Direction::Forward),
            Direction::Backward => (ts, ruma::api::Direction::Backward),
        };
        let ts = MilliSecondsSinceUnixEpoch(ts);
        let ask = get_event_by_timestamp::v1::Request::new(room.to_owned(), ts, dir);
        let patience = Patience { timeout: ANSWER, insist: false, ..Patience::default() };
        let answer = self.0.peers.request(&server, ask, patience).await?;
        let sent_at = UnixMs(answer.origin_server_ts.get().into());
        let ahead = match direction {
            Direction::Forward => sent_at >= at,
            Direction::Backward => sent_at <= at,
        };
        let id = answer.event_id.clone();
        let known = self.0.store.read(move |view| is_known(view, &id)).await?;
        match ahead && !known {
            true => Ok((answer.event_id, sent_at)),
            false => Err(Setback::nonsense("it knows no other event there")),
        }
    }

    async fn past_from(&self, server: OwnedServerName, past: &Past) -> Result<usize, Setback> {
        let into = &past.into;
        let limit = UInt::from(EVENTS);
        let ask = get_backfill::v1::Request::new(into.id.clone(), past.begin.clone(), limit);
        let patience = Patience { timeout: ANSWER, insist: false, ..Patience::default() };
        let mut answer = self.0.peers.request(&server, ask, patience).await?.pdus;
        answer.truncate(EVENTS_MAX);
        let checked = self.0.peers.check(&into.version, answer).await?;
        let of_room = |pdu: &Pdu| pdu.room_id == into.id;
        let pdus = newest_first(checked.into_iter().flatten().filter(of_room).collect());
        let Some(oldest) = pdus.last() else {
            return Err(Setback::nonsense("it has nothing of before"));
        };
        let before = match oldest.kind.as_str() {
            "m.room.create" => Vec::new(),
            _ => self.state_before(&server, into, &oldest.event_id, false).await?,
        };
        self.learn_auth(&server, into, &pdus).await?;
        let (room, lane) = (into.room, Lane::of_room(into.id.as_str()));
        let placed =
            self.0.store.write_first(lane, move |tx| remote::look_back(tx, room, &pdus, &before));
        match placed.await?.value {
            0 => Err(Setback::nonsense("nothing of what it told has a place here")),
            placed => Ok(placed),
        }
    }

    /// Learns what authorises these events and is neither here nor among them.
    async fn learn_auth(
        &self,
        server: &OwnedServerName,
        into: &Into,
        pdus: &[Pdu],
    ) -> Result<(), Setback> {
        let among: BTreeSet<&OwnedEventId> = pdus.iter().map(|pdu| &pdu.event_id).collect();
        let named: BTreeSet<&OwnedEventId> = pdus.iter().flat_map(|p| &p.auth_events).collect();
        let named = named.difference(&among).map(|id| (*id).clone()).collect();
        let mut missing = arrival::missing(&self.0.store, named).await?;
        missing.truncate(AUTH_MAX);
        if !missing.is_empty() {
            let (told, _) = self.one_by_one(server, missing, false).await;
            into.learn(told).await?;
        }
        Ok(())
    }
}

/// A few servers that are in a room. Who made it is likely to know how it began.
fn who_knows(view: &View, room: Room) -> Reply<Vec<OwnedServerName>> {
    let known = room::servers(view, room)?;
    let creator = event::load(view, room::info(view, room)?.create)?.row.sender;
    let creator = store::user::id(view, creator)?.server_name().to_owned();
    let named = known.iter().filter_map(|name| OwnedServerName::try_from(&**name).ok());
    let first = Some(creator).filter(|server| known.contains(server.as_str()));
    let mut servers = in_turn(view.server_name(), first.into_iter().chain(named));
    servers.truncate(SERVERS);
    Ok(servers)
}

/// By depth: what follows another event is deeper than that.
fn newest_first(mut pdus: Vec<Pdu>) -> Vec<Pdu> {
    pdus.sort_by_key(|pdu| std::cmp::Reverse((pdu.depth, pdu.origin_server_ts)));
    pdus.dedup_by(|a, b| a.event_id == b.event_id);
    pdus
}
