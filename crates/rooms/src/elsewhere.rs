//! Rooms that this server is not in: what its users say there, whom to ask about them, and how they turn away from
//! them when nobody answers (spec: Server-Server API, "Joining Rooms", "Leaving Rooms (Rejecting Invites)").

use std::collections::BTreeSet;

use base::{Error, Reply, Room, User};
use protocol::{Draft, json::quote, version::event_ids_are_chosen};
use ruma::{OwnedServerName, OwnedUserId, RoomId};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use store::{
    Tx, View, event, room,
    schema::{PARTIAL, Standing},
    state::Root,
    user,
};

use crate::{append, chosen, ground, membership::Content, remote, suspended};

/// Servers that are named as those who may know a room.
const SERVERS_MAX: usize = 20;
/// Stripped state events that are read for whom they name.
const STRIPPED_MAX: usize = 200;

/// Does it take another server to come into a room, or to leave it? Not where this server is, nor where it was the last.
///
/// # Errors
/// Faults.
pub fn is_elsewhere(view: &View, room: Room) -> Reply<bool> {
    if room::is_resident(view, room)? {
        return Ok(false);
    }
    let only_heard_of = room::head(view, room)?.state == Root::default();
    Ok(only_heard_of || !room::servers(view, room)?.is_empty())
}

/// The same of an id; so is a room that is not known.
///
/// # Errors
/// Faults.
pub fn is_id_elsewhere(view: &View, id: &RoomId) -> Reply<bool> {
    room::find(view, id)?.map_or(Ok(true), |room| is_elsewhere(view, room))
}

/// Are members of a room missing here (spec: `omit_members` of `send_join`)?
///
/// # Errors
/// Faults.
pub fn is_partial(view: &View, id: &RoomId) -> Reply<bool> {
    room::find(view, id)?.map_or(Ok(false), |room| view.has(&PARTIAL, (room,)))
}

/// Can only another server say whether this user may join: because this server is not in the room, or because members are missing
/// here, and with them who is banned? Of who is joined already it need not be asked.
///
/// # Errors
/// Faults.
pub fn must_ask_to_join(view: &View, user: User, id: &RoomId) -> Reply<bool> {
    let Some(room) = room::find(view, id)? else { return Ok(true) };
    if is_elsewhere(view, room)? {
        return Ok(true);
    }
    let joined =
        room::membership(view, user, room)?.is_some_and(|mine| mine.standing == Standing::Join);
    Ok(!joined && view.has(&PARTIAL, (room,))?)
}

/// Is this server in a room in which it holds no one who could let this user in, while another might: a restricted room
/// (spec: Client-Server API, "Restricted rooms")?
///
/// # Errors
/// Faults.
pub fn needs_another_to_join(view: &View, user: User, id: &RoomId) -> Reply<bool> {
    #[derive(Deserialize)]
    struct Rules {
        join_rule: String,
    }
    let Some(room) = room::find(view, id)? else { return Ok(false) };
    if !room::is_resident(view, room)? || room::servers(view, room)?.len() < 2 {
        return Ok(false);
    }
    if room::is_joined(view, room, user)? {
        return Ok(false);
    }
    let root = room::head(view, room)?.state;
    let rules = room::state(view, root, "m.room.join_rules", "")?;
    let rules = rules.and_then(|event| event.content_as::<Rules>());
    Ok(rules.is_some_and(|r| matches!(r.join_rule.as_str(), "restricted" | "knock_restricted")))
}

/// What this server says of a user of its own in a membership event.
///
/// # Errors
/// 403 `M_USER_SUSPENDED` unless they leave.
pub fn content(
    view: &View,
    user: User,
    standing: Standing,
    reason: Option<&str>,
) -> Reply<Map<String, Value>> {
    if standing == Standing::Leave {
        return Ok(Content::new(standing, reason).into_map());
    }
    if user::restraint(view, user)?.suspended {
        return Err(suspended::refusal());
    }
    Ok(Content::new(standing, reason).with_profile(view, user)?.into_map())
}

/// The servers that may know a room, best first: that of who invited the user, those of whom the invite speaks, those that
/// were in it when this server was, and the one that the room's id names.
///
/// # Errors
/// Faults.
pub fn servers(view: &View, user: User, id: &RoomId) -> Reply<Vec<OwnedServerName>> {
    let mut servers = Vec::new();
    if let Some(room) = room::find(view, id)? {
        if let Some(mine) = room::membership(view, user, room)? {
            let sender = user::id(view, mine.sender)?;
            servers.push(sender.server_name().to_owned());
            servers.extend(senders(mine.stripped.as_deref().unwrap_or("[]")));
        }
        let known = room::servers(view, room)?;
        servers.extend(known.iter().filter_map(|name| OwnedServerName::try_from(&**name).ok()));
    }
    servers.extend(id.server_name().map(ToOwned::to_owned));
    let mut seen = BTreeSet::new();
    servers.retain(|server| server != view.server_name() && seen.insert(server.clone()));
    servers.truncate(SERVERS_MAX);
    Ok(servers)
}

/// The servers of those who sent what an invite shows.
fn senders(stripped: &str) -> Vec<OwnedServerName> {
    #[derive(Deserialize)]
    struct Sent {
        sender: OwnedUserId,
    }
    let events: Vec<Sent> = serde_json::from_str(stripped).unwrap_or_default();
    let server = |sent: &Sent| sent.sender.server_name().to_owned();
    events.iter().take(STRIPPED_MAX).map(server).collect()
}

/// A user leaves a room that this server is not in, and nobody there is told: rejects an invite, takes back a knock.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who is neither invited nor knocking.
pub fn renounce(tx: &mut Tx, user: User, room: Room, reason: Option<&str>) -> Reply<()> {
    let mine = room::membership(tx, user, room)?;
    let open = |s: Standing| matches!(s, Standing::Invite | Standing::Knock | Standing::Join);
    let mine = mine.filter(|m| open(m.standing)).ok_or_else(crate::not_in_room)?;
    let last = event::load(tx, mine.event)?;
    let version = ground::version(&*room::info(tx, room)?)?;
    let (id, sender) = (room::id(tx, room)?, user::id(tx, user)?);
    let named = match event_ids_are_chosen(&version) {
        true => Some(chosen::name(tx, &version, &id, &[&last.id])?),
        false => None,
    };
    let draft = Draft {
        room_id: Some(id),
        state_key: Some(sender.to_string()),
        sender,
        kind: "m.room.member".to_owned(),
        content: append::raw(&Content::new(Standing::Leave, reason).into_map())?,
        redacts: None,
        prev_events: vec![last.id.clone()],
        auth_events: vec![last.id.clone()],
        depth: last.row.depth.saturating_add(1),
        origin_server_ts: tx.now().0,
    };
    let leave = draft.sign_sticky(&version, tx.server_name(), tx.signing_key(), named, None)?;
    remote::told(tx, room, &leave, None).map(drop)
}

/// What another server shows of a room, as clients are shown it: a JSON array. `own` is the user's own membership event,
/// which comes last. What is no state event is left out.
#[must_use]
pub fn stripped(shown: &[Box<RawValue>], own: &protocol::Pdu) -> String {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: String,
        state_key: String,
        sender: OwnedUserId,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let strip = |kind: &str, state_key: &str, sender: &str, content: &str| {
        let (kind, state_key, sender) = (quote(kind), quote(state_key), quote(sender));
        format!(
            r#"{{"content":{content},"sender":{sender},"state_key":{state_key},"type":{kind}}}"#
        )
    };
    let own_key = own.state_key.as_deref().unwrap_or_default();
    let mut parts = Vec::new();
    for raw in shown.iter().take(STRIPPED_MAX) {
        let Ok(event) = serde_json::from_str::<Event<'_>>(raw.get()) else { continue };
        let is_own = event.kind == "m.room.member" && event.state_key == own_key;
        if !is_own && protocol::json::is_object(event.content.get().as_bytes()) {
            let sender = event.sender.as_str();
            parts.push(strip(&event.kind, &event.state_key, sender, event.content.get()));
        }
    }
    parts.push(strip(&own.kind, own_key, own.sender.as_str(), own.content.get()));
    format!("[{}]", parts.join(","))
}

/// What is told to who asks for a room that nobody can be asked about.
#[must_use]
pub fn unknown() -> Error {
    Error::not_found("there is no such room here, and no server that could be asked is known")
}
