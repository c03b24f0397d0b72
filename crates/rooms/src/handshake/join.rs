//! Joining through this server (`GET /make_join`, `PUT /send_join`; MSC3706 for what is left out of the answer).

use std::collections::HashSet;

use base::{Event, Reply, Room};
use protocol::{Pdu, json::quote};
use ruma::{RoomVersionId, ServerName, UserId};
use serde::Deserialize;
use serde_json::{Map, json};
use store::{
    Tx, View,
    event::{self, Stored},
    outbox,
    pdu::Wire,
    room,
    state::{self, Part, Root},
    user,
};

use super::{
    Template, check_user, check_version, check_whole, restricted, take, template::template,
};
use crate::{AUTH_CHAIN_MAX, auth_chain};

/// Members that stand for a room without a name (spec: `m.heroes` of `GET /sync`).
const HEROES: usize = 5;

/// The template of a join. `known`: the versions that the other server knows.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it; 400 `M_INCOMPATIBLE_ROOM_VERSION`, `M_UNABLE_TO_AUTHORISE_JOIN`,
/// `M_UNABLE_TO_GRANT_JOIN`.
pub fn propose(
    view: &View,
    room: Room,
    user: &UserId,
    origin: &ServerName,
    known: &[RoomVersionId],
) -> Reply<Template> {
    check_user(user, origin)?;
    check_version(&super::version(view, room)?, known)?;
    check_whole(view, room)?;
    let mut content = Map::new();
    content.insert("membership".to_owned(), json!("join"));
    if let Some(inviter) = restricted::authoriser(view, room, user)? {
        content.insert("join_authorised_via_users_server".to_owned(), json!(inviter));
    }
    template(view, room, user, &content)
}

/// Does a user of this server let the joining one in? Then this server signs the join too.
#[must_use]
pub fn is_ours_to_sign(pdu: &Pdu, server: &ServerName) -> bool {
    #[derive(Deserialize)]
    struct Content {
        join_authorised_via_users_server: Option<ruma::OwnedUserId>,
    }
    let inviter = pdu.content_as::<Content>().and_then(|c| c.join_authorised_via_users_server);
    inviter.is_some_and(|inviter| inviter.server_name() == server)
}

/// A join that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The join.
    pub event: Event,
    /// The servers that were in the room before.
    pub servers: Vec<String>,
}

/// Takes the join, which [`super::Expected::check_own`] has let pass.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it; 400 `M_INVALID_PARAM` if it names unknown events; for restricted rooms as
/// [`propose`].
pub fn accept(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Accepted> {
    check_whole(tx, room)?;
    if is_ours_to_sign(pdu, tx.server_name()) {
        restricted::check_conditions(tx, room, &pdu.sender)?;
    }
    let servers: Vec<String> = room::servers(tx, room)?.iter().cloned().collect();
    let event = take(tx, room, pdu)?;
    let newcomer = pdu.sender.server_name().as_str();
    if !servers.iter().any(|server| server == newcomer) {
        let ends = room::head(tx, room)?.extremities;
        for end in ends.into_iter().filter(|end| *end != event) {
            outbox::tell_beside(tx, room, end, newcomer);
        }
    }
    Ok(Accepted { event, servers })
}

/// The room as the joining server is told it: the JSON body. With `omit_members`, only of those members that somebody needs
/// at once.
///
/// # Errors
/// 413 `M_TOO_LARGE`; faults of the store.
pub fn answer(view: &View, accepted: &Accepted, omit_members: bool) -> Reply<String> {
    let join = event::load(view, accepted.event)?;
    let room = join.row.room;
    let wire = Wire::of(view, room)?;
    let state = match omit_members {
        false => state::list(view, join.row.before, Part::All)?,
        true => state_without_members(view, &join)?,
    };
    let mut roots = state.clone();
    roots.push(join.event);
    let mut chain = auth_chain(view, &roots, AUTH_CHAIN_MAX)?;
    if omit_members {
        let there: HashSet<Event> = state.iter().copied().collect();
        chain.retain(|event| !there.contains(event));
    }
    let mut out = String::with_capacity((state.len() + chain.len()) * 1_024);
    out.push_str(r#"{"auth_chain":["#);
    wire.append(view, &chain, &mut out)?;
    out.push_str(r#"],"event":"#);
    out.push_str(&wire.one(view, join.event)?);
    out.push_str(&format!(
        r#","members_omitted":{omit_members},"origin":{}"#,
        quote(view.server_name().as_str())
    ));
    if omit_members {
        let servers: Vec<String> = accepted.servers.iter().map(|server| quote(server)).collect();
        out.push_str(&format!(r#","servers_in_room":[{}]"#, servers.join(",")));
    }
    out.push_str(r#","state":["#);
    wire.append(view, &state, &mut out)?;
    out.push_str("]}");
    Ok(out)
}

/// All state before the join but for members; of these, those who let the joining user in, and those who stand for a room
/// that has no name.
fn state_without_members(view: &View, join: &Stored) -> Reply<Vec<Event>> {
    let root = join.row.before;
    let mut found = state::list(view, root, Part::Except("m.room.member"))?;
    let mut members = authorities(view, join.event)?;
    if !has_name(view, root)? {
        members.extend(heroes(view, join, root)?);
    }
    for event in members {
        let stored = event::load(view, event)?;
        let key = stored.row.state_key.as_deref().unwrap_or_default();
        let is_current = stored.is_state("m.room.member")
            && state::get(view, root, "m.room.member", key)? == Some(event);
        if is_current && !found.contains(&event) {
            found.push(event);
        }
    }
    Ok(found)
}

/// The events that the join itself names as its authority.
fn authorities(view: &View, join: Event) -> Reply<Vec<Event>> {
    let named = store::pdu::named(&event::rest(view, join)?)?;
    let mut found = Vec::new();
    for id in named.auth {
        found.extend(event::find(view, &id)?);
    }
    Ok(found)
}

fn has_name(view: &View, root: Root) -> Reply<bool> {
    for (kind, key) in [("m.room.name", "name"), ("m.room.canonical_alias", "alias")] {
        let content: Option<Map<String, serde_json::Value>> =
            room::state(view, root, kind, "")?.and_then(|event| event.content_as());
        let value = content.as_ref().and_then(|content| content.get(key)?.as_str());
        if value.is_some_and(|value| !value.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn heroes(view: &View, join: &Stored, root: Root) -> Reply<Vec<Event>> {
    let room = join.row.room;
    let mut first = room::first_members(view, room, true, HEROES + 1)?;
    first.retain(|user| *user != join.row.sender);
    if first.is_empty() {
        first = room::first_members(view, room, false, HEROES)?;
    }
    let mut found = Vec::new();
    for hero in first.into_iter().take(HEROES) {
        let id = user::id(view, hero)?;
        found.extend(state::get(view, root, "m.room.member", id.as_str())?);
    }
    Ok(found)
}
