//! Working off what waits in a room, in the order of its arrival.

use std::time::Duration;

use base::{Error, Reply, Room};
use protocol::Pdu;
use rooms::remote::{self, Outcome};
use ruma::{OwnedRoomId, OwnedServerName, RoomVersionId};
use store::{
    Lane, room,
    schema::{STAGED, Staged},
};

use super::{Inbound, missing::Search};

/// Staged events read at once.
const BATCH: usize = 50;
/// After a failure, before the next try: twice as long each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Tries until an event is given up: what follows it will lead to it again.
const TRIES_MAX: u32 = 6;

/// A room in which events wait.
#[derive(Clone)]
pub(super) struct Queue {
    pub(super) room: Room,
    pub(super) id: OwnedRoomId,
    pub(super) version: RoomVersionId,
}

impl Inbound {
    /// Works until nothing waits, or the server stops.
    pub(super) async fn work(&self, room: Room) {
        let mut stop = self.0.stop.subscribe();
        let (mut tries, mut pause) = (0, PAUSE_MIN);
        loop {
            let step = tokio::select! {
                step = self.step(room, tries >= TRIES_MAX) => step,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match step {
                Ok(true) => (tries, pause) = (0, PAUSE_MIN),
                Ok(false) => {
                    self.0.working.lock().remove(&room);
                    // Something may have come between looking and leaving.
                    match self.next(room).await {
                        Ok(next) if next.is_empty() => return,
                        _ if self.0.working.lock().insert(room) => {}
                        _ => return,
                    }
                }
                Err(error) => {
                    tracing::info!(%room, %error, "events of a room wait for others");
                    tries += 1;
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stop.wait_for(|stop| *stop) => break,
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        self.0.working.lock().remove(&room);
    }

    async fn next(&self, room: Room) -> Reply<Vec<((Room, u64), Staged)>> {
        self.0.store.read(move |view| view.under(&STAGED, (room,), BATCH)).await
    }

    /// Takes the next events; says whether there were any. `give_up`: the first is let go if it is in the way again.
    async fn step(&self, room: Room, give_up: bool) -> Reply<bool> {
        let next = self.next(room).await?;
        if next.is_empty() {
            return Ok(false);
        }
        let queue = self.queue(room).await?;
        let mut waiting = Vec::with_capacity(next.len());
        for ((_, number), staged) in next {
            match protocol::pdu::parse(&queue.version, &staged.pdu) {
                Ok(pdu) => waiting.push((number, staged, pdu)),
                Err(_) => self.drop_staged(&queue, number).await?,
            }
        }
        let pdus: Vec<(u64, Pdu)> = waiting.iter().map(|(n, _, pdu)| (*n, pdu.clone())).collect();
        let done = self.receive(&queue, pdus).await?;
        let Some((number, staged, pdu)) = waiting.into_iter().nth(done) else { return Ok(true) };
        let origin = OwnedServerName::try_from(staged.origin.as_str())
            .map_err(|e| Error::fault(format!("a staged event of {}: {e}", staged.origin)))?;
        let search = Search { inbound: self, queue: &queue, origin };
        match search.bring_in(&pdu).await {
            Ok(()) => {
                self.drop_staged(&queue, number).await?;
                Ok(true)
            }
            Err(error) if give_up => {
                tracing::warn!(event = %pdu.event_id, %error, "an event is given up");
                metrics::counter!("althing_federation_events_given_up_total").increment(1);
                self.drop_staged(&queue, number).await?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn queue(&self, room: Room) -> Reply<Queue> {
        let read = self.0.store.read(move |view| {
            let info = room::info(view, room)?;
            let version = RoomVersionId::try_from(info.version.as_str())
                .map_err(|e| Error::fault(format!("room {room}: {e}")))?;
            Ok(Queue { room, id: room::id(view, room)?, version })
        });
        read.await
    }

    async fn drop_staged(&self, queue: &Queue, number: u64) -> Reply<()> {
        let (room, lane) = (queue.room, Lane::of_room(queue.id.as_str()));
        let write = self.0.store.write(Some(lane), move |tx| {
            tx.delete(&STAGED, (room, number));
            Ok(())
        });
        write.await.map(drop)
    }

    /// Receives staged events up to the first that misses something; says how many.
    async fn receive(&self, queue: &Queue, pdus: Vec<(u64, Pdu)>) -> Reply<usize> {
        let (room, lane) = (queue.room, Lane::of_room(queue.id.as_str()));
        let write = self.0.store.write(Some(lane), move |tx| {
            // Nobody is here any more who could want them.
            let gone = !room::is_resident(tx, room)?;
            for (done, (number, pdu)) in pdus.iter().enumerate() {
                if !gone {
                    match remote::receive(tx, room, pdu) {
                        Ok(Outcome::Missing(_)) => return Ok(done),
                        Ok(_) | Err(Error::Refused(_)) => {}
                        Err(fault) => return Err(fault),
                    }
                }
                tx.delete(&STAGED, (room, *number));
            }
            Ok(pdus.len())
        });
        Ok(write.await?.value)
    }
}
