//! Room aliases of this server (`/directory/room/{roomAlias}`, `/rooms/{roomId}/aliases`), and what an
//! `m.room.canonical_alias` event may name.

use base::{Error, Reply, Room, User};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, RoomOrAliasId};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::{
    Tx, View, room,
    schema::{ALIASES, ALIASES_OF, Alias},
    user,
};

use crate::{New, append, ground};

const CANONICAL: &str = "m.room.canonical_alias";
/// Aliases of one room that are listed: far more than anyone reads.
const ALIASES_MAX: usize = 10_000;
/// Servers named with an alias: more are not asked by anyone.
const SERVERS_MAX: usize = 20;
/// `M_UNKNOWN` is what the spec gives for an alias that is taken.
const TAKEN: (u16, &str) = (409, "M_UNKNOWN");

/// What an id or alias stands for.
///
/// # Errors
/// 404 `M_NOT_FOUND` for what this server does not know.
pub fn resolve(view: &View, id: &RoomOrAliasId) -> Reply<Room> {
    if let Ok(alias) = <&RoomAliasId>::try_from(id) {
        return Ok(known(view, alias)?.room);
    }
    match <&RoomId>::try_from(id) {
        Ok(id) => crate::known_room(view, id),
        Err(_) => Err(Error::invalid_param("neither a room id nor an alias")),
    }
}

/// The room of an alias (`GET /directory/room/{roomAlias}`).
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn lookup(view: &View, alias: &RoomAliasId) -> Reply<OwnedRoomId> {
    room::id(view, known(view, alias)?.room)
}

/// Through which servers the room of an alias may be joined: this one, and some of those that are in it.
///
/// # Errors
/// Faults.
pub fn servers(view: &View, room_id: &RoomId) -> Reply<Vec<OwnedServerName>> {
    let mut servers = vec![view.server_name().to_owned()];
    if let Some(room) = room::find(view, room_id)? {
        let all = room::servers(view, room)?;
        let named = all.iter().filter_map(|name| OwnedServerName::try_from(&**name).ok());
        servers.extend(named.filter(|name| name != view.server_name()).take(SERVERS_MAX));
    }
    Ok(servers)
}

fn known(view: &View, alias: &RoomAliasId) -> Reply<Alias> {
    let found = view.get(&ALIASES, (alias.as_str().to_owned(),))?;
    found.ok_or_else(|| Error::not_found(format!("there is no alias {alias} here")))
}

/// Gives a room an alias (`PUT /directory/room/{roomAlias}`).
///
/// # Errors
/// 400 `M_INVALID_PARAM` for an alias of another server, 409 `M_UNKNOWN` for one that is taken, 403 `M_FORBIDDEN` for who is
/// not in the room.
pub fn put(tx: &mut Tx, user: User, alias: &RoomAliasId, room_id: &RoomId) -> Reply<()> {
    check_ours(tx, alias)?;
    let room = crate::room_of(tx, room_id)?;
    if !room::is_joined(tx, room, user)? {
        return Err(crate::not_in_room());
    }
    claim(tx, user, alias, room, TAKEN)
}

/// Is the alias one that this server can give?
pub(crate) fn check_ours(view: &View, alias: &RoomAliasId) -> Reply<()> {
    if alias.server_name() != view.server_name() {
        return Err(Error::invalid_param("aliases of other servers are made there"));
    }
    if alias.as_str().len() > protocol::pdu::FIELD_BYTES_MAX {
        return Err(Error::invalid_param("the alias is too long"));
    }
    Ok(())
}

/// Writes an alias, unless it is taken.
pub(crate) fn claim(
    tx: &mut Tx,
    user: User,
    alias: &RoomAliasId,
    room: Room,
    (status, errcode): (u16, &'static str),
) -> Reply<()> {
    let key = alias.as_str().to_owned();
    if tx.has(&ALIASES, (key.clone(),))? {
        return Err(Error::refused(status, errcode, format!("{alias} is taken")));
    }
    tx.put(&ALIASES, (key.clone(),), &Alias { room, creator: user });
    tx.put(&ALIASES_OF, (room, key), &());
    Ok(())
}

/// Takes an alias away (`DELETE /directory/room/{roomAlias}`), and out of the room's canonical aliases if the
/// user may change those.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 403 `M_FORBIDDEN` for who neither made the alias, nor may set the canonical alias, nor is an
/// administrator.
pub fn delete(tx: &mut Tx, user: User, admin: bool, alias: &RoomAliasId) -> Reply<()> {
    let found = known(tx, alias)?;
    let room = found.room;
    let moderates = may_set_canonical(tx, user, room)?;
    if !(found.creator == user || moderates || admin) {
        return Err(Error::forbidden("only its creator or the room's moderators delete an alias"));
    }
    let key = alias.as_str().to_owned();
    tx.delete(&ALIASES, (key.clone(),));
    tx.delete(&ALIASES_OF, (room, key));
    if moderates { uncanonicalise(tx, user, room, alias) } else { Ok(()) }
}

fn may_set_canonical(view: &View, user: User, room: Room) -> Reply<bool> {
    let head = room::head(view, room)?;
    let power = ground::power(view, &*room::info(view, room)?, head.state)?;
    let joined = room::is_joined(view, room, user)?;
    Ok(joined && power.may_send(&user::id(view, user)?, CANONICAL, true))
}

fn uncanonicalise(tx: &mut Tx, user: User, room: Room, alias: &RoomAliasId) -> Reply<()> {
    let head = room::head(tx, room)?;
    let Some(event) = room::state(tx, head.state, CANONICAL, "")? else { return Ok(()) };
    let mut content: Map<String, Value> = event.content_as().unwrap_or_default();
    let before = content.clone();
    content.retain(|key, value| key != "alias" || value.as_str() != Some(alias.as_str()));
    if let Some(Value::Array(others)) = content.get_mut("alt_aliases") {
        others.retain(|other| other.as_str() != Some(alias.as_str()));
    }
    if content == before {
        return Ok(());
    }
    let new = New {
        sender: user,
        kind: CANONICAL.to_owned(),
        state_key: Some(String::new()),
        content: append::raw(&content)?,
        redacts: None,
    };
    append::append(tx, room, new).map(drop)
}

/// The local aliases of a room (`GET /rooms/{roomId}/aliases`).
///
/// # Errors
/// 403 `M_FORBIDDEN` for who is not in the room, unless it is world-readable.
pub fn list(view: &View, user: User, room_id: &RoomId) -> Reply<Vec<OwnedRoomAliasId>> {
    let room = crate::room_of(view, room_id)?;
    if !room::is_joined(view, room, user)? && !room::world_readable(view, room)? {
        return Err(crate::not_in_room());
    }
    let rows: Vec<((Room, String), ())> = view.under(&ALIASES_OF, (room,), ALIASES_MAX)?;
    let aliases = rows.into_iter().map(|((_, alias), ())| OwnedRoomAliasId::try_from(alias));
    aliases.map(|alias| alias.map_err(|e| Error::fault(format!("stored alias: {e}")))).collect()
}

/// May an `m.room.canonical_alias` event with this content be sent? Aliases that the current one has are not asked
/// about (spec: `PUT /rooms/{roomId}/state/…`).
///
/// # Errors
/// 400 `M_INVALID_PARAM` for what is no alias, 400 `M_BAD_ALIAS` for one that does not point to this room.
pub(crate) fn check_canonical(view: &View, room: Room, content: &str) -> Reply<()> {
    #[derive(Default, Deserialize)]
    struct Canonical {
        alias: Option<String>,
        #[serde(default)]
        alt_aliases: Vec<String>,
    }
    let malformed =
        |_| Error::invalid_param("`alias` is a string, `alt_aliases` a list of strings");
    let new: Canonical = serde_json::from_str(content).map_err(malformed)?;
    let head = room::head(view, room)?;
    let old = room::state(view, head.state, CANONICAL, "")?;
    let old: Canonical = old.and_then(|event| event.content_as()).unwrap_or_default();
    let named =
        |of: Canonical| of.alias.into_iter().chain(of.alt_aliases).filter(|a| !a.is_empty());
    let old: Vec<String> = named(old).collect();
    for alias in named(new).filter(|alias| !old.contains(alias)) {
        let id = OwnedRoomAliasId::try_from(alias.as_str())
            .map_err(|_| Error::invalid_param(format!("{alias} is not a room alias")))?;
        let found = view.get(&ALIASES, (id.as_str().to_owned(),))?;
        if found.is_none_or(|found| found.room != room) {
            let text = format!("the alias {alias} does not point to this room");
            return Err(Error::refused(400, "M_BAD_ALIAS", text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
