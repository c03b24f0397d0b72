//! What comes beside events in a transaction (spec: Server-Server API, "EDUs"): what passes, and what has no place in a room.
//!
//! Each EDU is read by itself, and leniently: what is malformed, not for us, or not the sender's to say is passed over. What
//! must not be lost (messages for devices, receipts, changed devices) is written in one commit before this returns, so
//! that the transaction is acknowledged afterwards. To take the same once more changes nothing.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use base::{Reply, Room, UnixMs, User};
use devices::{lists::Told, to_device::Incoming};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{PresenceShown, PresenceState, Store, Tx, View, room, user};

use crate::peers::Peers;

/// EDUs of one transaction (spec: "Transactions").
const EDUS_MAX: usize = 100;
/// Receipts of one EDU that are read.
const RECEIPTS_MAX: usize = 1_000;
/// Users of one EDU whose presence is read.
const PRESENT_MAX: usize = 1_000;
/// What a user says of themselves, bytes. More is no status.
const STATUS_BYTES_MAX: usize = 1_024;
/// Somebody types no longer than this without being told of again, milliseconds: servers repeat it after half of it.
const TYPING_MS: u64 = 60_000;

#[derive(Deserialize)]
struct Edu<'a> {
    #[serde(borrow)]
    edu_type: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Typing {
    room_id: OwnedRoomId,
    user_id: OwnedUserId,
    typing: bool,
}

#[derive(Deserialize)]
struct Presence {
    #[serde(default)]
    push: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Push {
    user_id: OwnedUserId,
    presence: String,
    status_msg: Option<String>,
    last_active_ago: Option<u64>,
}

/// By room, by kind, by user.
type Receipts = BTreeMap<String, BTreeMap<String, BTreeMap<String, serde_json::Value>>>;

#[derive(Deserialize)]
struct Receipt {
    event_ids: Vec<OwnedEventId>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    ts: u64,
    thread_id: Option<String>,
}

/// Whose devices or keys changed, where the rest cannot be read.
#[derive(Deserialize)]
struct Changed {
    user_id: OwnedUserId,
}

/// One receipt.
#[derive(Clone, Debug)]
struct Read {
    room: OwnedRoomId,
    user: OwnedUserId,
    event: OwnedEventId,
    thread: Option<String>,
    at: UnixMs,
}

/// Somebody's presence, with the rooms whose members are told.
struct Present {
    user: User,
    shown: PresenceShown,
    rooms: Arc<[Room]>,
}

/// What must not be lost.
#[derive(Clone, Default)]
struct Lasting {
    reads: Vec<Read>,
    messages: Vec<Incoming>,
    changed: Vec<Told>,
}

/// What lives in memory only.
#[derive(Default)]
struct Passing {
    typing: Vec<Typing>,
    present: Vec<Push>,
}

/// Takes the EDUs of a transaction, at most as many as the spec allows. Says whether a device list has to be asked for again.
///
/// # Errors
/// Faults only: then the transaction must not be acknowledged.
pub async fn take(
    store: &Store,
    peers: &Peers,
    origin: &ServerName,
    edus: Vec<Box<RawValue>>,
) -> Reply<bool> {
    if !peers.border().admits(origin) {
        return Ok(false);
    }
    let mut stale = false;
    let (lasting, passing) = sort(&edus);
    let server = origin.to_owned();
    if !lasting.reads.is_empty() || !lasting.messages.is_empty() || !lasting.changed.is_empty() {
        let server = server.clone();
        stale = store.write(None, move |tx| write(tx, &server, &lasting)).await?.value;
    }
    if !passing.typing.is_empty() || !passing.present.is_empty() {
        tell(store, server, passing).await?;
    }
    Ok(stale)
}

fn sort(edus: &[Box<RawValue>]) -> (Lasting, Passing) {
    let (mut lasting, mut passing) = (Lasting::default(), Passing::default());
    for edu in edus.iter().take(EDUS_MAX) {
        let Ok(Edu { edu_type, content }) = serde_json::from_str::<Edu<'_>>(edu.get()) else {
            continue;
        };
        let content = content.get();
        match &*edu_type {
            "m.typing" => passing.typing.extend(read::<Typing>(content)),
            "m.presence" => {
                let all = read::<Presence>(content).map(|all| all.push).unwrap_or_default();
                let push = |value| serde_json::from_value::<Push>(value).ok();
                passing.present.extend(all.into_iter().take(PRESENT_MAX).filter_map(push));
            }
            "m.receipt" => {
                lasting.reads.extend(read::<Receipts>(content).into_iter().flat_map(reads));
            }
            "m.direct_to_device" => lasting.messages.extend(read::<Incoming>(content)),
            "m.device_list_update" => {
                let told = read(content).map(Told::Device);
                lasting.changed.extend(told.or_else(|| something(content)));
            }
            "m.signing_key_update" => {
                let told = read(content).map(Told::Signing);
                lasting.changed.extend(told.or_else(|| something(content)));
            }
            _ => {}
        }
    }
    (lasting, passing)
}

fn read<'a, T: Deserialize<'a>>(content: &'a str) -> Option<T> {
    serde_json::from_str(content).ok()
}

fn something(content: &str) -> Option<Told> {
    read::<Changed>(content).map(|changed| Told::Something(changed.user_id))
}

fn reads(receipts: Receipts) -> Vec<Read> {
    let mut out = Vec::new();
    for (room, mut kinds) in receipts {
        let (Ok(room), Some(users)) = (OwnedRoomId::try_from(room), kinds.remove("m.read")) else {
            continue;
        };
        for (user, receipt) in users {
            let receipt = serde_json::from_value::<Receipt>(receipt);
            let (Ok(user), Ok(receipt)) = (OwnedUserId::try_from(user), receipt) else { continue };
            let Some(event) = receipt.event_ids.into_iter().next() else { continue };
            let Data { ts, thread_id: thread } = receipt.data;
            out.push(Read { room: room.clone(), user, event, thread, at: UnixMs(ts) });
            if out.len() >= RECEIPTS_MAX {
                return out;
            }
        }
    }
    out
}

fn write(tx: &mut Tx, origin: &ServerName, lasting: &Lasting) -> Reply<bool> {
    for Read { room, user, event, thread, at } in &lasting.reads {
        if let Some((room, user)) = member(tx, origin, room, user)? {
            rooms::receipt::told(tx, user, room, event, thread.as_deref(), *at)?;
        }
    }
    for message in &lasting.messages {
        devices::to_device::receive(tx, origin.as_str(), message)?;
    }
    let mut stale = false;
    for told in &lasting.changed {
        stale |= devices::lists::heard(tx, origin.as_str(), told)?;
    }
    Ok(stale)
}

/// A user of a server who is in a room in which that server may take part.
fn member(
    view: &View,
    origin: &ServerName,
    room_id: &OwnedRoomId,
    user_id: &OwnedUserId,
) -> Reply<Option<(Room, User)>> {
    if user_id.server_name() != origin {
        return Ok(None);
    }
    let (Some(room), Some(user)) = (room::find(view, room_id)?, user::find(view, user_id)?) else {
        return Ok(None);
    };
    let there = room::is_resident(view, room)?
        && room::is_joined(view, room, user)?
        && rooms::acl::admits(view, room, origin)?;
    Ok(there.then_some((room, user)))
}

async fn tell(store: &Store, origin: OwnedServerName, passing: Passing) -> Reply<()> {
    let now = store.now();
    let read = store.read(move |view| {
        let mut typing = Vec::new();
        for Typing { room_id, user_id, typing: types } in passing.typing {
            if let Some((room, user)) = member(view, &origin, &room_id, &user_id)? {
                let until = UnixMs(now.0.saturating_add(TYPING_MS));
                typing.push((room, user, types.then_some(until)));
            }
        }
        let mut present = Vec::new();
        for push in passing.present {
            present.extend(shown(view, &origin, push)?);
        }
        Ok((typing, present))
    });
    let (typing, present) = read.await?;
    for (room, user, until) in typing {
        store.set_typing(room, user, until);
    }
    for Present { user, shown, rooms } in present {
        store.set_presence_elsewhere(user, shown, &rooms);
    }
    Ok(())
}

/// How somebody is present, if that is their server's to say, and concerns anyone here.
fn shown(view: &View, origin: &ServerName, push: Push) -> Reply<Option<Present>> {
    let Push { user_id, presence, status_msg, last_active_ago } = push;
    let Some(state) = PresenceState::parse(&presence) else { return Ok(None) };
    if user_id.server_name() != origin {
        return Ok(None);
    }
    let Some(user) = user::find(view, &user_id)? else { return Ok(None) };
    let rooms = room::joined_rooms(view, user)?;
    let active = last_active_ago.map(|ago| UnixMs(view.now().0.saturating_sub(ago)));
    let status = status_msg.filter(|text| text.len() <= STATUS_BYTES_MAX);
    let shown = PresenceShown { state, active, status };
    Ok((!rooms.is_empty()).then_some(Present { user, shown, rooms }))
}

#[cfg(test)]
mod tests;
