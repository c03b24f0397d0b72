//! Taking in the state of a room as another server tells it: checked, and learned in an order in which what authorises
//! comes before what it authorises, a bounded number of events at a time.

use std::sync::Arc;

use base::{Error, Event, Reply, Room};
use protocol::Pdu;
use rooms::remote::{self, Outcome};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    Lane, Store,
    schema::{AUTHORITIES, EVENT_IDS},
};

use crate::peers::{Peers, is_passing};

/// Events checked, and learned in one transaction.
const CHUNK: usize = 1_000;
/// Rounds in which events whose auth events came later than they are tried again.
const ROUNDS_MAX: usize = 10;

/// An event of an answer.
pub(crate) struct Told {
    /// In federation format.
    pub(crate) raw: Box<RawValue>,
    /// It belongs to the state that was asked for, and not only to what authorises it.
    pub(crate) in_state: bool,
}

/// What came of events that were told.
pub(crate) struct Learned {
    /// Those of the state that are here now.
    pub(crate) state: Vec<Event>,
    /// How many could not be checked just now, but may be later: the keys of their servers could not be had.
    pub(crate) awaited: usize,
}

/// Where events are taken in.
#[derive(Clone)]
pub(crate) struct Into {
    pub(crate) store: Store,
    pub(crate) peers: Peers,
    pub(crate) room: Room,
    pub(crate) id: OwnedRoomId,
    pub(crate) version: RoomVersionId,
}

/// State and auth chain of an answer, as one list: what authorises others comes before them, unless somebody lied
/// about depths.
pub(crate) fn in_order(state: Vec<Box<RawValue>>, auth: Vec<Box<RawValue>>) -> Vec<Told> {
    #[derive(Deserialize)]
    struct Depth {
        depth: u64,
    }
    let told = |in_state| {
        move |raw: Box<RawValue>| {
            let depth = serde_json::from_str::<Depth>(raw.get()).map_or(u64::MAX, |d| d.depth);
            (depth, Told { raw, in_state })
        }
    };
    let state = state.into_iter().map(told(true));
    let mut all: Vec<(u64, Told)> = state.chain(auth.into_iter().map(told(false))).collect();
    all.sort_by_key(|(depth, _)| *depth);
    all.into_iter().map(|(_, told)| told).collect()
}

impl Into {
    /// Learns events. Events that no server has signed, of other rooms, or without their auth
    /// events are left out: servers that were in old rooms are often gone, and their keys with them.
    ///
    /// # Errors
    /// Faults.
    pub(crate) async fn learn(&self, events: Vec<Told>) -> Reply<Learned> {
        let (mut state, mut awaited) = (Vec::new(), 0);
        let mut early = Vec::new();
        let mut rest = events.into_iter();
        loop {
            let chunk: Vec<Told> = rest.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            let (in_state, raw): (Vec<bool>, Vec<_>) =
                chunk.into_iter().map(|told| (told.in_state, told.raw)).unzip();
            let checked = self.peers.check(&self.version, raw).await?;
            let mut pdus = Vec::with_capacity(checked.len());
            for (pdu, in_state) in checked.into_iter().zip(in_state) {
                match pdu {
                    Ok(pdu) if pdu.room_id == self.id => pdus.push((pdu, in_state)),
                    Ok(pdu) => tracing::info!(event = %pdu.event_id, "an event of another room"),
                    Err(no) => {
                        awaited += usize::from(is_passing(&no));
                        tracing::info!(room = %self.id, no = %no.message, "left out");
                    }
                }
            }
            early.extend(self.take(pdus, &mut state).await?);
        }
        self.try_again(early, &mut state).await?;
        state.sort_unstable();
        state.dedup();
        Ok(Learned { state, awaited })
    }

    async fn try_again(&self, mut early: Vec<(Pdu, bool)>, state: &mut Vec<Event>) -> Reply<()> {
        for _ in 0..ROUNDS_MAX {
            let before = early.len();
            let mut still = Vec::new();
            let mut rest = early.into_iter();
            loop {
                let chunk: Vec<_> = rest.by_ref().take(CHUNK).collect();
                if chunk.is_empty() {
                    break;
                }
                still.extend(self.take(chunk, state).await?);
            }
            if still.is_empty() || still.len() == before {
                for (pdu, _) in &still {
                    tracing::info!(event = %pdu.event_id, "left out: it misses auth events");
                }
                break;
            }
            early = still;
        }
        Ok(())
    }

    /// Learns checked events; gives back those whose auth events are not here.
    async fn take(
        &self,
        pdus: Vec<(Pdu, bool)>,
        state: &mut Vec<Event>,
    ) -> Reply<Vec<(Pdu, bool)>> {
        let (pdus, in_state): (Vec<Pdu>, Vec<bool>) = pdus.into_iter().unzip();
        let pdus = Arc::new(pdus);
        let (room, lane, all) = (self.room, Lane::of_room(self.id.as_str()), pdus.clone());
        let learned = self.store.write(Some(lane), move |tx| remote::learn(tx, room, &all));
        let outcomes = learned.await?.value;
        let pdus = Arc::try_unwrap(pdus).unwrap_or_else(|shared| (*shared).clone());
        let mut early = Vec::new();
        for ((pdu, in_state), outcome) in pdus.into_iter().zip(in_state).zip(outcomes) {
            match outcome {
                Outcome::Known(event) | Outcome::Accepted(event) if in_state => state.push(event),
                Outcome::Missing(_) => early.push((pdu, in_state)),
                Outcome::Rejected(_, why) => {
                    tracing::info!(event = %pdu.event_id, why, "an event of the state is rejected");
                }
                _ => {}
            }
        }
        Ok(early)
    }
}

/// The create event among these, unchecked.
pub(crate) fn create_of(events: &[Told]) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        state_key: Option<std::borrow::Cow<'a, str>>,
    }
    let is_create = |raw: &RawValue| {
        let kind = serde_json::from_str::<Kind<'_>>(raw.get());
        kind.is_ok_and(|k| k.kind == "m.room.create" && k.state_key.as_deref() == Some(""))
    };
    events.iter().map(|told| &*told.raw).find(|raw| is_create(raw))
}

/// Is this the create event of a room of this version?
pub(crate) fn makes(create: &Pdu, room: &OwnedRoomId, version: &RoomVersionId) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default = "first")]
        room_version: String,
    }
    fn first() -> String {
        "1".to_owned()
    }
    create.kind == "m.room.create"
        && create.room_id == *room
        && create.content_as::<Content>().is_some_and(|c| c.room_version == version.as_str())
}

/// Which of these state events are not here, or only as they were told (an invite, and what ended it): nobody has looked
/// at what authorises those, and they stand in no state.
pub(crate) async fn missing(store: &Store, ids: Vec<OwnedEventId>) -> Reply<Vec<OwnedEventId>> {
    let read = store.read(move |view| {
        let keys: Vec<_> = ids.iter().map(|id| (id.as_str().to_owned(),)).collect();
        let here: Vec<Option<Event>> = view.get_many(&EVENT_IDS, keys)?;
        let known = view.get_many(&AUTHORITIES, here.iter().flatten().map(|event| (*event,)))?;
        let mut known = known.into_iter();
        let mut missing = Vec::new();
        for (id, here) in ids.into_iter().zip(here) {
            let is_known = here.is_some() && known.next().flatten().is_some();
            if !is_known {
                missing.push(id);
            }
        }
        Ok(missing)
    });
    read.await
}

/// Those of these events that are here.
pub(crate) async fn here(store: &Store, ids: Vec<OwnedEventId>) -> Reply<Vec<Event>> {
    let read = store.read(move |view| {
        let keys = ids.iter().map(|id| (id.as_str().to_owned(),));
        Ok(view.get_many(&EVENT_IDS, keys)?.into_iter().flatten().collect())
    });
    read.await
}

/// One event, checked.
pub(crate) async fn checked(
    peers: &Peers,
    version: &RoomVersionId,
    raw: Box<RawValue>,
) -> Result<Pdu, Error> {
    let mut checked = peers.check(version, vec![raw]).await?;
    let pdu = checked.pop().ok_or_else(|| Error::fault("a check without outcome"))?;
    pdu.map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use protocol::{Draft, SigningKey};
    use ruma::{owned_room_id, owned_user_id, server_name};
    use serde_json::{json, value::to_raw_value};
    use store::Options;

    use super::*;

    #[tokio::test]
    async fn an_invite_that_was_only_told_is_still_missing_from_a_state() {
        let (far, key) = (server_name!("far.org"), SigningKey::generate([1; 32], "1").unwrap());
        let own = Arc::new(SigningKey::generate([2; 32], "1").unwrap());
        let options = Options::new(server_name!("x.org").to_owned(), own);
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        let draft = Draft {
            room_id: Some(owned_room_id!("!r:far.org")),
            sender: owned_user_id!("@a:far.org"),
            kind: "m.room.member".to_owned(),
            state_key: Some("@b:x.org".to_owned()),
            content: to_raw_value(&json!({ "membership": "invite" })).unwrap(),
            redacts: None,
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            depth: 9,
            origin_server_ts: 1,
        };
        let invite = draft.sign(&RoomVersionId::V11, far, &key).unwrap();
        let id = invite.event_id.clone();
        let told = store.write(None, move |tx| {
            let room = remote::know(tx, &invite.room_id, &RoomVersionId::V11, None)?;
            remote::told(tx, room, &invite, None)
        });
        told.await.unwrap();
        assert_eq!(here(&store, vec![id.clone()]).await.unwrap().len(), 1);
        assert_eq!(missing(&store, vec![id.clone()]).await.unwrap(), [id]);
    }

    #[test]
    fn what_authorises_comes_first_and_the_create_event_is_found() {
        let event = |kind: &str, depth: u64| {
            to_raw_value(&json!({"type": kind, "state_key": "", "depth": depth})).unwrap()
        };
        let state = vec![event("m.room.name", 9), event("m.room.create", 1)];
        let auth = vec![event("m.room.member", 2), to_raw_value(&json!({})).unwrap()];
        let told = in_order(state, auth);
        let states: Vec<bool> = told.iter().map(|t| t.in_state).collect();
        assert_eq!(states, [true, false, true, false]);
        assert!(create_of(&told).unwrap().get().contains("m.room.create"));
        assert!(create_of(told.get(1..).unwrap()).is_none());
    }
}
