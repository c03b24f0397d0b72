//! Asking for what is missing before an event can be judged (spec: Server-Server API, "Backfilling and retrieving missing
//! events"): the events before it, as far back as it takes and is allowed; where that is too far, the state before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::{Error, Event, Reply};
use protocol::Pdu;
use rooms::remote::{self, Missing, Outcome};
use ruma::{
    OwnedEventId, OwnedServerName, UInt,
    api::federation::{
        authorization::get_event_authorization, backfill::get_backfill, event::get_missing_events,
    },
};
use serde_json::value::RawValue;
use store::{Lane, event, room, schema::ENTERED};
use tokio::time::Instant;

use super::{Inbound, worker::Queue};
use crate::{
    journey::{
        arrival::{self, Into},
        setback::Setback,
    },
    peers::{Patience, Unanswered},
};

/// Events fetched because one that came follows them: a day of a busy room. What lies before is a gap.
const EVENTS_MAX: usize = 10_000;
/// Their bytes.
const BYTES_MAX: usize = 64 << 20;
/// Requests for them.
const ROUNDS_MAX: usize = 150;
/// Rounds in a row that bring nothing new.
const IDLE_MAX: usize = 2;
/// No more is asked for after this.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Events asked for at once.
const PAGE: u32 = 100;
/// Events that one request begins at: the URL must stay short.
const BEGIN_MAX: usize = 20;
/// Servers that are asked besides the one that sent the event.
const OTHERS_MAX: usize = 3;

/// A search on behalf of one event.
pub(super) struct Search<'a> {
    pub(super) inbound: &'a Inbound,
    pub(super) queue: &'a Queue,
}

/// What was found, by id.
type Found = BTreeMap<OwnedEventId, Pdu>;

impl Search<'_> {
    /// Gets an event into its room, with all that it takes. `whole`: no state will do of which some cannot be checked just now.
    ///
    /// # Errors
    /// If nobody tells what is missing; faults.
    pub(super) async fn bring_in(&self, pdu: &Pdu, whole: bool) -> Reply<()> {
        let mut failure = None;
        let servers = self.servers().await?;
        for (at, server) in servers.iter().enumerate() {
            let others = servers.get(at + 1..).unwrap_or_default();
            match self.bring_in_from((server, others), pdu, whole).await {
                Ok(()) => return Ok(()),
                Err(Setback::Server(why)) => failure = Some(Error::from(why)),
                Err(Setback::End(error)) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::not_found("no server could be asked")))
    }

    /// Whom to ask: the sender, then others in the room.
    async fn servers(&self) -> Reply<Vec<OwnedServerName>> {
        let room = self.queue.room;
        let own = self.inbound.0.store.server_name().to_owned();
        let names = self.inbound.0.store.read(move |view| room::servers(view, room)).await?;
        let others = names.iter().filter_map(|name| OwnedServerName::try_from(&**name).ok());
        let others =
            others.filter(|name| *name != own && *name != self.queue.origin).take(OTHERS_MAX);
        Ok(std::iter::once(self.queue.origin.clone()).chain(others).collect())
    }

    async fn bring_in_from(
        &self,
        (server, others): (&OwnedServerName, &[OwnedServerName]),
        pdu: &Pdu,
        whole: bool,
    ) -> Result<(), Setback> {
        let Some(missing) = self.try_receive(pdu).await? else { return Ok(()) };
        let mut found = Found::new();
        if !missing.prev.is_empty() {
            found = self.look_back(server, others, pdu, &missing).await?;
        }
        let known: BTreeSet<OwnedEventId> = found.keys().cloned().collect();
        for one in in_order(found) {
            let edge = one.prev_events.iter().any(|id| !known.contains(id));
            match self.settle(server, &one, edge, whole).await {
                // It stays a gap, and what follows it is judged by what another way leads to.
                Err(Setback::Server(why)) => {
                    tracing::debug!(event = %one.event_id, %why, "an event of before is left out");
                }
                other => other?,
            }
        }
        self.settle(server, pdu, true, whole).await
    }

    /// Receives an event; what it misses is asked for: auth events one way, and if it may be (`edge`) the state before it
    /// instead of the events before it.
    async fn settle(
        &self,
        server: &OwnedServerName,
        pdu: &Pdu,
        edge: bool,
        whole: bool,
    ) -> Result<(), Setback> {
        let Some(mut missing) = self.try_receive(pdu).await? else { return Ok(()) };
        if !missing.auth.is_empty() {
            self.learn_auth(server, pdu).await?;
            match self.try_receive(pdu).await? {
                None => return Ok(()),
                Some(still) => missing = still,
            }
        }
        if missing.prev.is_empty() || !edge {
            return Err(Setback::nonsense("what is needed to judge an event was not told"));
        }
        let into = self.into();
        let journeys = &self.inbound.0.journeys;
        let before = journeys.state_before(server, &into, &pdu.event_id, whole).await?;
        match self.receive_at(pdu, before).await? {
            None => Ok(()),
            Some(_) => Err(Setback::nonsense("auth events of an event were not told")),
        }
    }

    fn into(&self) -> Into {
        let inbound = &self.inbound.0;
        Into {
            store: inbound.store.clone(),
            peers: inbound.peers.clone(),
            room: self.queue.room,
            id: self.queue.id.clone(),
            version: self.queue.version.clone(),
        }
    }

    /// What lies no deeper than this happened before this server came into the room, or beside it: it is no news, but a gap,
    /// to be fetched by whoever scrolls that far.
    async fn floor(&self) -> Reply<u64> {
        let room = self.queue.room;
        let read = self.inbound.0.store.read(move |view| match view.get(&ENTERED, (room,))? {
            Some(join) => Ok(event::load(view, join)?.row.depth),
            None => Ok(0),
        });
        read.await
    }

    /// The events between what is here and an event, since this server came into the room. What the server does not have, the
    /// others are asked for.
    async fn look_back(
        &self,
        server: &OwnedServerName,
        others: &[OwnedServerName],
        pdu: &Pdu,
        missing: &Missing,
    ) -> Result<Found, Setback> {
        let (mut found, mut early) = (Found::new(), BTreeSet::new());
        let floor = self.floor().await?;
        if follows_early(pdu, floor) {
            return Ok(found);
        }
        let (begun, mut bytes, mut idle) = (Instant::now(), 0, 0);
        let mut open: Vec<OwnedEventId> = missing.prev.clone();
        let mut others = others.iter();
        let mut asked = server;
        for round in 0..ROUNDS_MAX {
            let raw = match round {
                0 => self.missing_events(server, pdu, floor).await?,
                _ if asked == server => self.backfill(server, &open).await?,
                // It was only worth a try.
                _ => self.backfill(asked, &open).await.unwrap_or_default(),
            };
            bytes += raw.iter().map(|event| event.get().len()).sum::<usize>();
            let before = found.len() + early.len();
            for pdu in self.checked(raw).await? {
                if pdu.depth > floor {
                    found.entry(pdu.event_id.clone()).or_insert(pdu);
                } else {
                    early.insert(pdu.event_id);
                }
            }
            let late = found.values().chain([pdu]).filter(|one| !follows_early(one, floor));
            open = self.open_ends(late, &found, &early).await?;
            idle = if found.len() + early.len() == before { idle + 1 } else { 0 };
            let enough = found.len() >= EVENTS_MAX || bytes >= BYTES_MAX;
            if open.is_empty() || enough || begun.elapsed() > TIME_MAX {
                break;
            }
            if idle >= if asked == server { IDLE_MAX } else { 1 } {
                let Some(next) = others.next() else { break };
                (asked, idle) = (next, 0);
            }
        }
        Ok(found)
    }

    async fn missing_events(
        &self,
        server: &OwnedServerName,
        pdu: &Pdu,
        floor: u64,
    ) -> Result<Vec<Box<RawValue>>, Unanswered> {
        let room = self.queue.room;
        let read = self.inbound.0.store.read(move |view| {
            let head = room::head(view, room)?;
            let newest = head.extremities.iter().rev().take(BEGIN_MAX);
            newest.map(|end| Ok(event::load(view, *end)?.id.clone())).collect::<Reply<Vec<_>>>()
        });
        let earliest = read.await.map_err(|e| Unanswered::Silent(e.to_string()))?;
        let latest = vec![pdu.event_id.clone()];
        let mut ask = get_missing_events::v1::Request::new(self.queue.id.clone(), earliest, latest);
        ask.limit = UInt::from(PAGE);
        ask.min_depth = UInt::try_from(floor.saturating_add(1)).unwrap_or(UInt::MAX);
        match self.inbound.0.peers.request(server, ask, patience()).await {
            Ok(answer) => Ok(answer.events),
            // It does not know the event that it sent, or will not say: the state before it may do.
            Err(Unanswered::Refused(_)) => Ok(Vec::new()),
            Err(why) => Err(why),
        }
    }

    async fn backfill(
        &self,
        server: &OwnedServerName,
        from: &[OwnedEventId],
    ) -> Result<Vec<Box<RawValue>>, Unanswered> {
        let begin = from.iter().take(BEGIN_MAX).cloned().collect();
        let ask = get_backfill::v1::Request::new(self.queue.id.clone(), begin, UInt::from(PAGE));
        match self.inbound.0.peers.request(server, ask, patience()).await {
            Ok(answer) => Ok(answer.pdus),
            Err(Unanswered::Refused(_)) => Ok(Vec::new()),
            Err(why) => Err(why),
        }
    }

    async fn checked(&self, raw: Vec<Box<RawValue>>) -> Reply<Vec<Pdu>> {
        let checked = self.inbound.0.peers.check(&self.queue.version, raw).await?;
        let of_room = |pdu: &Pdu| pdu.room_id == self.queue.id && pdu.kind != "m.room.create";
        Ok(checked.into_iter().filter_map(Result::ok).filter(of_room).collect())
    }

    /// The events that these follow and that are neither among what was found nor here: the deepest first.
    async fn open_ends<'b>(
        &self,
        of: impl Iterator<Item = &'b Pdu>,
        found: &Found,
        early: &BTreeSet<OwnedEventId>,
    ) -> Reply<Vec<OwnedEventId>> {
        let mut named: BTreeMap<OwnedEventId, u64> = BTreeMap::new();
        let open = |id: &&OwnedEventId| !found.contains_key(*id) && !early.contains(*id);
        for one in of {
            for id in one.prev_events.iter().filter(open) {
                let depth = named.entry(id.clone()).or_default();
                *depth = (*depth).max(one.depth);
            }
        }
        let room = self.queue.room;
        let read = self.inbound.0.store.read(move |view| {
            let mut open = Vec::new();
            for (id, depth) in named {
                let here = event::find(view, &id)?.map(|e| event::load(view, e)).transpose()?;
                let placed = here.is_some_and(|e| e.row.room == room && !event::is_outlier(&e.row));
                if !placed {
                    open.push((depth, id));
                }
            }
            open.sort_unstable_by(|a, b| b.cmp(a));
            Ok(open.into_iter().map(|(_, id)| id).collect())
        });
        read.await
    }

    async fn learn_auth(&self, server: &OwnedServerName, pdu: &Pdu) -> Result<(), Setback> {
        let ask =
            get_event_authorization::v1::Request::new(self.queue.id.clone(), pdu.event_id.clone());
        let answer = self.inbound.0.peers.request(server, ask, patience()).await?;
        let told = arrival::in_order(Vec::new(), answer.auth_chain);
        self.into().learn(told).await?;
        Ok(())
    }

    /// What it misses, if it does.
    async fn try_receive(&self, pdu: &Pdu) -> Reply<Option<Missing>> {
        let (room, pdu) = (self.queue.room, pdu.clone());
        let lane = Lane::of_room(self.queue.id.as_str());
        let write = self
            .inbound
            .0
            .store
            .write(Some(lane), move |tx| missing(remote::receive(tx, room, &pdu)));
        Ok(write.await?.value)
    }

    async fn receive_at(&self, pdu: &Pdu, before: Vec<Event>) -> Reply<Option<Missing>> {
        let (room, pdu) = (self.queue.room, pdu.clone());
        let lane = Lane::of_room(self.queue.id.as_str());
        let write = self
            .inbound
            .0
            .store
            .write(Some(lane), move |tx| missing(remote::receive_at(tx, room, &pdu, &before)));
        Ok(write.await?.value)
    }
}

/// Is all that an event follows no deeper than this?
fn follows_early(pdu: &Pdu, floor: u64) -> bool {
    pdu.depth.saturating_sub(1) <= floor && floor > 0
}

fn missing(outcome: Reply<Outcome>) -> Reply<Option<Missing>> {
    match outcome {
        Ok(Outcome::Missing(missing)) => Ok(Some(missing)),
        // What may not be in the room needs nothing more.
        Ok(_) | Err(Error::Refused(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn patience() -> Patience {
    Patience { timeout: Duration::from_secs(60), ..Patience::default() }
}

/// Each after those that it follows. Of events that follow themselves, none comes.
fn in_order(found: Found) -> Vec<Pdu> {
    let mut waits: BTreeMap<OwnedEventId, usize> = BTreeMap::new();
    let mut followers: BTreeMap<OwnedEventId, Vec<OwnedEventId>> = BTreeMap::new();
    let mut ready: BTreeSet<(u64, OwnedEventId)> = BTreeSet::new();
    for (id, pdu) in &found {
        let before: BTreeSet<_> =
            pdu.prev_events.iter().filter(|prev| found.contains_key(*prev)).collect();
        if before.is_empty() {
            ready.insert((pdu.depth, id.clone()));
        }
        waits.insert(id.clone(), before.len());
        for prev in before {
            followers.entry(prev.clone()).or_default().push(id.clone());
        }
    }
    let (mut found, mut ordered) = (found, Vec::new());
    while let Some((_, id)) = ready.pop_first() {
        for follower in followers.remove(&id).unwrap_or_default() {
            let Some(left) = waits.get_mut(&follower) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0
                && let Some(pdu) = found.get(&follower)
            {
                ready.insert((pdu.depth, follower));
            }
        }
        ordered.extend(found.remove(&id));
    }
    ordered
}
