//! One transaction (spec: Server-Server API, "PUT /send/{txnId}").

use std::{collections::BTreeMap, sync::Arc};

use base::{Error, Refusal, Reply, Room};
use protocol::Pdu;
use rooms::remote::{self, Outcome};
use ruma::{OwnedEventId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    Lane, Tx, View, room,
    schema::{RECEIVED, STAGED, Staged, Standing, Transaction},
    user,
};

use super::Inbound;

/// Events in a transaction (spec).
const PDUS_MAX: usize = 50;
/// Ephemeral events in a transaction (spec).
const EDUS_MAX: usize = 100;
/// Transactions of each server that are remembered: it sends one at a time.
const REMEMBERED: usize = 20;
/// Events of one server that wait in one room. What is beyond is refused, and fetched when something refers to it.
const STAGED_MAX: usize = 5_000;

/// A transaction as it came.
pub struct Sent {
    /// The server that signed the request.
    pub origin: OwnedServerName,
    /// As that server names it.
    pub id: String,
    /// Its events, in federation format.
    pub pdus: Vec<Box<RawValue>>,
    /// Its ephemeral events.
    pub edus: Vec<Box<RawValue>>,
}

/// Where events of a transaction belong.
struct Place {
    room: Room,
    version: RoomVersionId,
    /// Its events are taken in. Otherwise only what ends an invite counts.
    resident: bool,
}

impl Inbound {
    /// Takes a transaction. When this returns, nothing of it can be lost; the ids of events that were taken come with
    /// `None`, of others with the reason.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for one that is too large; faults.
    pub async fn take(&self, sent: Sent) -> Reply<BTreeMap<OwnedEventId, Option<String>>> {
        if sent.pdus.len() > PDUS_MAX || sent.edus.len() > EDUS_MAX {
            let text = format!("a transaction has at most {PDUS_MAX} PDUs and {EDUS_MAX} EDUs");
            return Err(Error::invalid_param(text));
        }
        let turn = self.0.origins.lock().entry(sent.origin.clone()).or_default().clone();
        let _turn = turn.lock().await;
        if let Some(known) = self.known(&sent).await? {
            return Ok(known.events.into_iter().filter_map(named).collect());
        }
        let mut outcome = BTreeMap::new();
        for (room, pdus) in by_room(sent.pdus) {
            self.take_room(&sent.origin, &room, pdus, &mut outcome).await?;
        }
        if !sent.edus.is_empty() {
            let (store, peers) = (&self.0.store, &self.0.peers);
            if super::edu::take(store, peers, &sent.origin, sent.edus).await? {
                self.0.lists.wake();
            }
        }
        self.remember(&sent.origin, sent.id, &outcome).await?;
        Ok(outcome)
    }

    async fn known(&self, sent: &Sent) -> Reply<Option<Transaction>> {
        let (origin, id) = (sent.origin.as_str().to_owned(), sent.id.clone());
        let read = self.0.store.read(move |view| {
            let received = view.get(&RECEIVED, (origin,))?.unwrap_or_default();
            Ok(received.transactions.into_iter().find(|known| known.id == id))
        });
        read.await
    }

    async fn remember(
        &self,
        origin: &ServerName,
        id: String,
        outcome: &BTreeMap<OwnedEventId, Option<String>>,
    ) -> Reply<()> {
        let events =
            outcome.iter().map(|(id, why)| (id.as_str().to_owned(), why.clone())).collect();
        let (origin, known) = (origin.as_str().to_owned(), Transaction { id, events });
        let write = self.0.store.write(None, move |tx| {
            let mut received = tx.get(&RECEIVED, (origin.clone(),))?.unwrap_or_default();
            received.transactions.push(known.clone());
            let old = received.transactions.len().saturating_sub(REMEMBERED);
            received.transactions.drain(..old);
            tx.put(&RECEIVED, (origin.clone(),), &received);
            Ok(())
        });
        write.await.map(drop)
    }

    async fn place(&self, id: &RoomId, origin: &OwnedServerName) -> Reply<Result<Place, String>> {
        let (id, origin) = (id.to_owned(), origin.clone());
        self.0.store.read(move |view| place(view, &id, &origin)).await
    }

    /// Takes the events of one room.
    async fn take_room(
        &self,
        origin: &OwnedServerName,
        id: &RoomId,
        pdus: Vec<Box<RawValue>>,
        outcome: &mut BTreeMap<OwnedEventId, Option<String>>,
    ) -> Reply<()> {
        let mut place = self.place(id, origin).await?;
        let is_elsewhere = place.as_ref().map_or(true, |place| !place.resident);
        if is_elsewhere && self.0.journeys.arrived(id).await {
            place = self.place(id, origin).await?;
        }
        let place = match place {
            Ok(place) => place,
            Err(why) => {
                outcome.extend(
                    pdus.iter().filter_map(|raw| Some((claimed_id(raw)?, Some(why.clone())))),
                );
                return Ok(());
            }
        };
        let claimed: Vec<_> = pdus.iter().map(|raw| claimed_id(raw)).collect();
        let checked = self.0.peers.check(&place.version, pdus).await?;
        let mut good = Vec::with_capacity(checked.len());
        for (checked, claimed) in checked.into_iter().zip(claimed) {
            match (checked, claimed) {
                (Ok(pdu), _) if pdu.room_id == id => good.push(pdu),
                (Ok(pdu), _) => {
                    drop(outcome.insert(pdu.event_id, Some("of another room".to_owned())))
                }
                (Err(Refusal { message, .. }), Some(id)) => drop(outcome.insert(id, Some(message))),
                (Err(refusal), None) => {
                    tracing::debug!(%origin, room = %id, why = refusal.message, "an event is refused");
                }
            }
        }
        if good.is_empty() {
            return Ok(());
        }
        let (room, resident) = (place.room, place.resident);
        let (from, lane) = (origin.clone(), Lane::of_room(id.as_str()));
        let (good, version) = (Arc::new(good), place.version);
        let (events, store) = (good.clone(), self.0.store.clone());
        let write = store.write(Some(lane), move |tx| {
            if !resident {
                return events.iter().map(|pdu| end_invite(tx, room, &from, pdu)).collect();
            }
            receive_or_stage(tx, room, &from, &version, &events)
        });
        let results: Vec<Taken> = write.await?.value;
        let staged = results.iter().any(|taken| matches!(taken, Taken::Staged));
        for (pdu, taken) in good.iter().zip(results) {
            let why = match taken {
                Taken::In | Taken::Staged => None,
                Taken::Refused(why) => Some(why),
            };
            outcome.insert(pdu.event_id.clone(), why);
        }
        if staged {
            self.work_on(room, origin.clone());
        }
        Ok(())
    }
}

/// What became of an event of a transaction.
#[derive(Clone, Debug)]
enum Taken {
    In,
    Staged,
    Refused(String),
}

/// Takes in what can be taken in, and stages what misses something, or the word of the room's policy server. What follows a
/// staged event misses that one.
fn receive_or_stage(
    tx: &mut Tx,
    room: Room,
    origin: &ServerName,
    version: &RoomVersionId,
    pdus: &[Pdu],
) -> Reply<Vec<Taken>> {
    let mut all = Vec::with_capacity(pdus.len());
    for pdu in pdus {
        all.push(match received(remote::receive_signed(tx, room, pdu))? {
            Some(taken) => taken,
            None => stage(tx, room, origin, version, pdu)?,
        });
    }
    Ok(all)
}

/// `None`: it cannot be judged yet.
fn received(outcome: Reply<Outcome>) -> Reply<Option<Taken>> {
    Ok(Some(match outcome {
        Ok(Outcome::Missing(_) | Outcome::Unsigned) => return Ok(None),
        Ok(Outcome::Known(_) | Outcome::Accepted(_) | Outcome::SoftFailed(..)) => Taken::In,
        Ok(Outcome::Rejected(_, why)) => Taken::Refused(why),
        Err(Error::Refused(refusal)) => Taken::Refused(refusal.message),
        Err(fault) => return Err(fault),
    }))
}

fn stage(
    tx: &mut Tx,
    room: Room,
    origin: &ServerName,
    version: &RoomVersionId,
    pdu: &Pdu,
) -> Reply<Taken> {
    let (number, origin) = (tx.fresh()?, origin.as_str().to_owned());
    let old: Vec<((Room, String, u64), Staged)> =
        tx.under(&STAGED, (room, origin.clone()), STAGED_MAX)?;
    if old.len() >= STAGED_MAX {
        return Ok(Taken::Refused("too many events of this room wait already".to_owned()));
    }
    let staged = Staged { at: tx.now(), pdu: pdu.to_federation(version) };
    tx.put(&STAGED, (room, origin, number), &staged);
    Ok(Taken::Staged)
}

/// What is to be done with events of a room that come from a server; or why nothing is.
fn place(view: &View, id: &RoomId, origin: &ServerName) -> Reply<Result<Place, String>> {
    let unknown = || Ok(Err("this server is not in the room".to_owned()));
    let Some(room) = room::find(view, id)? else { return unknown() };
    let version = RoomVersionId::try_from(room::info(view, room)?.version.as_str())
        .map_err(|e| Error::fault(format!("room {room}: {e}")))?;
    let resident = room::is_resident(view, room)?;
    if resident && !rooms::acl::admits(view, room, origin)? {
        return Ok(Err("the room does not admit this server".to_owned()));
    }
    Ok(Ok(Place { room, version, resident }))
}

/// Outside of its rooms, this server listens to one thing: that the invite of one of its users is taken back, or a knock
/// is turned down, by the server that it came from or whoever acts there.
fn end_invite(tx: &mut Tx, room: Room, origin: &ServerName, pdu: &Pdu) -> Reply<Taken> {
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }
    let no = || Ok(Taken::Refused("this server is not in the room".to_owned()));
    let target = pdu.state_key.as_deref().filter(|_| pdu.kind == "m.room.member");
    let Some(target) = target.and_then(|key| <&UserId>::try_from(key).ok()) else { return no() };
    let Some(target) = user::find(tx, target)?.filter(|_| user::is_local(tx, target)) else {
        return no();
    };
    let Some(mine) = room::membership(tx, target, room)? else { return no() };
    let ends = pdu.content_as::<Content>().map(|content| content.membership);
    let ends = ends.is_some_and(|m| matches!(m.as_str(), "leave" | "ban"));
    let waits = matches!(mine.standing, Standing::Invite | Standing::Knock);
    let inviter = user::id(tx, mine.sender)?;
    let may = mine.standing == Standing::Knock || inviter.server_name() == pdu.sender.server_name();
    if !ends || !waits || !may || pdu.sender.server_name() != origin {
        return no();
    }
    remote::told(tx, room, pdu, None)?;
    Ok(Taken::In)
}

fn by_room(pdus: Vec<Box<RawValue>>) -> Vec<(ruma::OwnedRoomId, Vec<Box<RawValue>>)> {
    #[derive(Deserialize)]
    struct Of {
        room_id: ruma::OwnedRoomId,
    }
    let mut rooms: Vec<(ruma::OwnedRoomId, Vec<Box<RawValue>>)> = Vec::new();
    for pdu in pdus {
        // A create event of version 12 names no room: it comes with a join, never alone.
        let Ok(of) = serde_json::from_str::<Of>(pdu.get()) else { continue };
        match rooms.iter_mut().find(|(id, _)| *id == of.room_id) {
            Some((_, events)) => events.push(pdu),
            None => rooms.push((of.room_id, vec![pdu])),
        }
    }
    rooms
}

/// The id that an event of versions 1 and 2 has in it.
fn claimed_id(raw: &RawValue) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Claim {
        event_id: OwnedEventId,
    }
    serde_json::from_str::<Claim>(raw.get()).ok().map(|claim| claim.event_id)
}

fn named((id, why): (String, Option<String>)) -> Option<(OwnedEventId, Option<String>)> {
    OwnedEventId::try_from(id).ok().map(|id| (id, why))
}
