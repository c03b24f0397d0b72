//! Working off what a server sent to a room and what waits there.

use std::{collections::HashMap, time::Duration};

use base::{Error, Reply, Room};
use protocol::Pdu;
use rooms::remote::{self, Outcome};
use ruma::{OwnedRoomId, OwnedServerName, RoomVersionId};
use store::{
    Lane, room,
    schema::{STAGED, Staged},
};
use tokio::time::{Instant, sleep_until};

use super::{Inbound, missing::Search};

/// Staged events looked at in one transaction.
const BATCH: usize = 500;
/// After a failure, before the next try for an event: four times as long each time.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries until an event is given up: what follows it will lead to it again.
const TRIES_MAX: u32 = 5;

/// A room in which events wait, and the server that sent them.
#[derive(Clone)]
pub(super) struct Queue {
    pub(super) room: Room,
    pub(super) id: OwnedRoomId,
    pub(super) version: RoomVersionId,
    pub(super) origin: OwnedServerName,
}

/// How often an event has been tried, and when it is tried again.
#[derive(Clone, Copy)]
struct Tried {
    times: u32,
    again: Instant,
}

impl Inbound {
    /// Works until nothing waits, or the server stops.
    pub(super) async fn work(&self, room: Room, origin: OwnedServerName) {
        let mut stop = self.0.stop.subscribe();
        let place = (room, origin);
        let mut tried = HashMap::new();
        loop {
            let round = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                round = self.round(&place, &mut tried) => round,
            };
            let again = match round {
                Ok(Some(again)) => again,
                Ok(None) => {
                    self.0.working.lock().remove(&place);
                    // Something may have come between looking and leaving.
                    match self.waiting(&place).await {
                        Ok(next) if next.is_empty() => return,
                        _ if self.0.working.lock().insert(place.clone()) => continue,
                        _ => return,
                    }
                }
                Err(error) => {
                    tracing::error!(%room, %error, "events of a room wait");
                    Instant::now() + PAUSE
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep_until(again) => {}
            }
        }
        self.0.working.lock().remove(&place);
    }

    async fn waiting(&self, place: &(Room, OwnedServerName)) -> Reply<Vec<(u64, Staged)>> {
        let (room, origin) = (place.0, place.1.as_str().to_owned());
        let read = self.0.store.read(move |view| {
            let rows: Vec<((Room, String, u64), Staged)> =
                view.under(&STAGED, (room, origin), BATCH)?;
            Ok(rows.into_iter().map(|((.., number), staged)| (number, staged)).collect())
        });
        read.await
    }

    /// Takes in what can be taken in, and searches for what one event misses. Says when to come again; `None`: nothing
    /// waits.
    async fn round(
        &self,
        place: &(Room, OwnedServerName),
        tried: &mut HashMap<u64, Tried>,
    ) -> Reply<Option<Instant>> {
        let waiting = self.waiting(place).await?;
        if waiting.is_empty() {
            return Ok(None);
        }
        let queue = self.queue(place).await?;
        let mut pdus = Vec::with_capacity(waiting.len());
        for (number, staged) in waiting {
            match protocol::pdu::parse(&queue.version, &staged.pdu) {
                Ok(pdu) => pdus.push((number, pdu)),
                Err(_) => self.drop_staged(&queue, number).await?,
            }
        }
        let left = self.receive(&queue, pdus).await?;
        tried.retain(|number, _| left.iter().any(|(n, _)| n == number));
        let now = Instant::now();
        let due = |number: &u64| tried.get(number).is_none_or(|tried| tried.again <= now);
        let Some((number, pdu)) = left.iter().find(|(number, _)| due(number)) else {
            return Ok(Some(tried.values().map(|t| t.again).min().unwrap_or(now)));
        };
        let search = Search { inbound: self, queue: &queue };
        let times = tried.get(number).map_or(1, |tried| tried.times + 1);
        match search.bring_in(pdu, times < TRIES_MAX).await {
            Ok(()) => self.drop_staged(&queue, *number).await?,
            Err(error) if times >= TRIES_MAX => {
                tracing::warn!(event = %pdu.event_id, %error, "an event is given up");
                metrics::counter!("althing_federation_events_given_up_total").increment(1);
                self.drop_staged(&queue, *number).await?;
            }
            Err(error) => {
                tracing::info!(event = %pdu.event_id, %error, "an event waits for others");
                let again = Instant::now() + PAUSE * 4_u32.pow(times - 1);
                tried.insert(*number, Tried { times, again });
            }
        }
        Ok(Some(now))
    }

    async fn queue(&self, place: &(Room, OwnedServerName)) -> Reply<Queue> {
        let (room, origin) = place.clone();
        let read = self.0.store.read(move |view| {
            let info = room::info(view, room)?;
            let version = RoomVersionId::try_from(info.version.as_str())
                .map_err(|e| Error::fault(format!("room {room}: {e}")))?;
            Ok(Queue { room, id: room::id(view, room)?, version, origin: origin.clone() })
        });
        read.await
    }

    async fn drop_staged(&self, queue: &Queue, number: u64) -> Reply<()> {
        let (room, lane) = (queue.room, Lane::of_room(queue.id.as_str()));
        let origin = queue.origin.as_str().to_owned();
        let write = self.0.store.write(Some(lane), move |tx| {
            tx.delete(&STAGED, (room, origin.clone(), number));
            Ok(())
        });
        write.await.map(drop)
    }

    /// Receives those of the staged events that miss nothing; gives back the others.
    async fn receive(&self, queue: &Queue, pdus: Vec<(u64, Pdu)>) -> Reply<Vec<(u64, Pdu)>> {
        let (room, lane) = (queue.room, Lane::of_room(queue.id.as_str()));
        let (origin, all) = (queue.origin.as_str().to_owned(), pdus.clone());
        let write = self.0.store.write(Some(lane), move |tx| {
            // Nobody is here any more who could want them.
            let gone = !room::is_resident(tx, room)?;
            let mut left = Vec::new();
            for (number, pdu) in &all {
                if !gone {
                    match remote::receive(tx, room, pdu) {
                        Ok(Outcome::Missing(_)) => {
                            left.push(*number);
                            continue;
                        }
                        Ok(_) | Err(Error::Refused(_)) => {}
                        Err(fault) => return Err(fault),
                    }
                }
                tx.delete(&STAGED, (room, origin.clone(), *number));
            }
            Ok(left)
        });
        let left = write.await?.value;
        Ok(pdus.into_iter().filter(|(number, _)| left.contains(number)).collect())
    }
}
