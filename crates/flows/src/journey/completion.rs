//! Completing rooms that this server came into without being told of all their members (MSC3706, MSC3902): what is missing
//! of the state before the join is asked for, learned, and put to the rest.
//!
//! Which rooms these are stands in `PARTIAL`, so that a restart forgets none.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use base::{Event, Reply, Room};
use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use rooms::remote;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, RoomVersionId,
    api::federation::event::{get_event, get_room_state, get_room_state_ids},
};
use store::{
    Lane, event, room,
    schema::{PARTIAL, Partial},
};
use tokio::{sync::watch, time::Instant};

use super::{
    Journeys,
    arrival::{self, Into, Told},
    in_turn,
    setback::Setback,
};
use crate::peers::{Patience, Unanswered};

/// Rooms that are completed at once: the answers may be large.
const AT_ONCE: usize = 2;
/// Rooms looked at when there is a place.
const ROOMS_MAX: usize = 10_000;
/// Until a room is tried again; twice as long after each further time.
const PAUSE_MIN: Duration = Duration::from_secs(30);
/// At most.
const PAUSE_MAX: Duration = Duration::from_secs(1_800);
/// Until the pauses are so long, nothing may be left out that can be checked only later.
const WHOLE_UNTIL: Duration = Duration::from_secs(240);
/// If so many events are missing at most, each is asked for by itself.
const SINGLE_MAX: usize = 50;
/// Of those, so many at once.
const SINGLE_AT_ONCE: usize = 8;
/// For the whole state of a large room.
const STATE: Patience =
    Patience { timeout: Duration::from_secs(180), insist: true, body_max: 128 << 20 };

/// Completes rooms until `stop` says so. A room that takes long holds up none for which there is a place beside it.
pub async fn run(journeys: Journeys, mut stop: watch::Receiver<bool>) {
    let mut news = journeys.0.partial.subscribe();
    let mut pace = Pace::default();
    let mut tries = FuturesUnordered::new();
    while !*stop.borrow() {
        news.mark_unchanged();
        let (due, pause) = pace.due(&journeys).await;
        for (room, partial, whole) in due {
            let journeys = &journeys;
            tries.push(async move { (room, journeys.complete(room, partial, whole).await) });
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            Some((room, outcome)) = tries.next() => pace.note(room, outcome),
            _ = news.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Which rooms are tried when.
#[derive(Default)]
struct Pace {
    /// Those that are tried now.
    busy: HashSet<Room>,
    /// When those that failed are tried again, and how long that is after the last time.
    resting: HashMap<Room, (Instant, Duration)>,
}

impl Pace {
    /// The rooms to begin with now, as many as there are places for (with what [`Journeys::complete`] wants), and how long there
    /// is nothing to do if nothing happens. They are busy from now on.
    async fn due(&mut self, journeys: &Journeys) -> (Vec<(Room, Partial, bool)>, Duration) {
        let places = AT_ONCE.saturating_sub(self.busy.len());
        if places == 0 {
            return (Vec::new(), PAUSE_MAX);
        }
        let read = journeys.0.store.read(|view| view.everything(&PARTIAL, None, ROOMS_MAX)).await;
        let partial: Vec<((Room,), Partial)> = match read {
            Ok(partial) => partial,
            Err(error) => {
                tracing::error!(%error, "cannot read which rooms are partial");
                return (Vec::new(), PAUSE_MIN);
            }
        };
        let there: HashSet<Room> = partial.iter().map(|((room,), _)| *room).collect();
        self.resting.retain(|room, _| there.contains(room));
        let now = Instant::now();
        let mut due = Vec::new();
        for ((room,), partial) in partial {
            let rested = self.resting.get(&room).is_none_or(|(at, _)| *at <= now);
            if due.len() < places && rested && self.busy.insert(room) {
                let whole = self.resting.get(&room).is_none_or(|(_, pause)| *pause < WHOLE_UNTIL);
                due.push((room, partial, whole));
            }
        }
        let idle = self.resting.iter().filter(|(room, _)| !self.busy.contains(room));
        let next = idle.map(|(_, (at, _))| at.saturating_duration_since(now)).min();
        (due, next.unwrap_or(PAUSE_MAX))
    }

    fn note(&mut self, room: Room, outcome: Reply<()>) {
        self.busy.remove(&room);
        if let Err(error) = outcome {
            tracing::info!(room = room.0, %error, "a room stays partial for now");
            let last = self.resting.get(&room).map_or(PAUSE_MIN / 2, |(_, pause)| *pause);
            let pause = (last * 2).min(PAUSE_MAX);
            self.resting.insert(room, (Instant::now() + pause, pause));
        }
    }
}

impl Journeys {
    /// Tells that a room has become partial, or whole.
    pub(super) fn tell_partial(&self) {
        self.0.partial.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Waits until all members of a room are known, but no longer than that. Says whether they came meanwhile.
    ///
    /// # Errors
    /// Faults.
    pub async fn settled(&self, room: &RoomId, patience: Duration) -> Reply<bool> {
        let mut news = self.0.partial.subscribe();
        let wait = async {
            let mut waited = false;
            loop {
                news.mark_unchanged();
                let id = room.to_owned();
                let partial = self.0.store.read(move |view| match room::find(view, &id)? {
                    Some(room) => view.has(&PARTIAL, (room,)),
                    None => Ok(false),
                });
                if !partial.await? {
                    return Ok(waited);
                }
                waited = true;
                if news.changed().await.is_err() {
                    return Ok(false);
                }
            }
        };
        tokio::time::timeout(patience, wait).await.unwrap_or(Ok(false))
    }

    /// `whole`: nothing may be left out, as the keys of a server that cannot be reached now may be had a little later. Those of
    /// one that is gone never can, and the others in the room do not wait for that.
    async fn complete(&self, room: Room, partial: Partial, whole: bool) -> Reply<()> {
        let join = partial.join;
        let about = self.0.store.read(move |view| {
            let version = RoomVersionId::try_from(room::info(view, room)?.version.as_str());
            let version = version.map_err(|e| base::Error::fault(format!("room {room}: {e}")))?;
            Ok((room::id(view, room)?, version, event::load(view, join)?.id.clone()))
        });
        let (id, version, join) = about.await?;
        let (store, peers) = (self.0.store.clone(), self.0.peers.clone());
        let into = Into { store, peers, room, id, version };
        let names = std::iter::once(&partial.via).chain(&partial.servers);
        let names = names.filter_map(|name| OwnedServerName::try_from(&**name).ok());
        let servers = in_turn(self.0.store.server_name(), names);
        self.try_each(servers, |server| self.complete_from(server, &into, &join, whole)).await?;
        self.tell_partial();
        Ok(())
    }

    async fn complete_from(
        &self,
        server: OwnedServerName,
        into: &Into,
        join: &OwnedEventId,
        whole: bool,
    ) -> Result<(), Setback> {
        let before = self.state_before(&server, into, join, whole).await?;
        let (room, lane, join) = (into.room, Lane::of_room(into.id.as_str()), join.clone());
        let write = self.0.store.write_first(lane, move |tx| {
            let partial = tx.get(&PARTIAL, (room,))?;
            // Meanwhile this server may have left, and come in again by another join.
            match partial {
                Some(partial) if event::load(tx, partial.join)?.id == join => {
                    remote::complete(tx, room, &before)
                }
                _ => Ok(()),
            }
        });
        write.await?;
        Ok(())
    }

    /// The state before an event, as a server says; what is missing of it is learned. `whole`: it is a setback if some of it
    /// cannot be checked just now; otherwise that is left out.
    pub(crate) async fn state_before(
        &self,
        server: &OwnedServerName,
        into: &Into,
        at: &OwnedEventId,
        whole: bool,
    ) -> Result<Vec<Event>, Setback> {
        let (peers, id) = (&self.0.peers, into.id.clone());
        let ask = get_room_state_ids::v1::Request::new(at.clone(), id.clone());
        let ids = peers.request(server, ask, STATE).await?;
        if ids.pdu_ids.is_empty() {
            return Err(Setback::nonsense("a state without events"));
        }
        let all = ids.pdu_ids.iter().chain(&ids.auth_chain_ids).cloned().collect();
        let missing = arrival::missing(&self.0.store, all).await?;
        if !missing.is_empty() {
            let (told, failed) = match missing.len() {
                ..=SINGLE_MAX => self.one_by_one(server, missing, whole).await,
                _ => (all_of_it(self, server, at, &id).await?, None),
            };
            let awaited = into.learn(told).await?.awaited;
            if whole && awaited > 0 {
                let why = format!("{awaited} events of the state cannot be checked for now");
                return Err(Setback::nonsense(why));
            }
            // What did not come for now would be missing from the state for good: a ban, for example.
            if let Some(failed) = failed {
                return Err(failed.into());
            }
        }
        let before = arrival::here(&self.0.store, ids.pdu_ids).await?;
        if before.is_empty() {
            return Err(Setback::nonsense("a state of which nothing holds"));
        }
        Ok(before)
    }

    /// Events by their ids, as far as they come, and why some did not that may come later. `whole`: refused ones, too, as a
    /// server that names an event has it, but may have put this one out of the room meanwhile.
    pub(super) async fn one_by_one(
        &self,
        server: &OwnedServerName,
        ids: Vec<OwnedEventId>,
        whole: bool,
    ) -> (Vec<Told>, Option<Unanswered>) {
        let fetched = stream::iter(ids).map(|id| async move {
            let ask = get_event::v1::Request::new(id);
            self.0
                .peers
                .request(server, ask, Patience { insist: true, ..Patience::default() })
                .await
        });
        let fetched: Vec<_> = fetched.buffer_unordered(SINGLE_AT_ONCE).collect().await;
        let (mut raw, mut failed) = (Vec::new(), None);
        for answer in fetched {
            match answer {
                Ok(answer) => raw.push(answer.pdu),
                Err(why) if whole || why.is_passing() => failed = Some(why),
                Err(_) => {}
            }
        }
        (arrival::in_order(Vec::new(), raw), failed)
    }
}

async fn all_of_it(
    journeys: &Journeys,
    server: &OwnedServerName,
    at: &OwnedEventId,
    id: &OwnedRoomId,
) -> Result<Vec<Told>, Setback> {
    let ask = get_room_state::v1::Request::new(at.clone(), id.clone());
    let answer = journeys.0.peers.request(server, ask, STATE).await?;
    Ok(arrival::in_order(answer.pdus, answer.auth_chain))
}
