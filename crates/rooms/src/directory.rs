//! The published rooms of this server (`/publicRooms`, `/directory/list/room/{roomId}`), and the rooms that application
//! services list under networks of their own (`/directory/list/appservice/{networkId}/{roomId}`).

mod listing;
mod summary;

use std::sync::Arc;

use base::{Error, Reply, Room, User};
use protocol::power::PowerLevels;
use ruma::{
    RoomId, ServerName,
    api::client::room::Visibility,
    directory::{Filter, PublicRoomsChunk, RoomNetwork, RoomTypeFilter},
    room::RoomType,
};
use store::{
    Tx, View,
    log::Entry,
    room,
    schema::{NETWORK_ROOMS, PUBLISHED},
    user,
};

pub use self::summary::summary;
use crate::ground;

/// Rooms of a page if the client names no number.
const PAGE: usize = 100;
/// Rooms of a page at most.
const PAGE_MAX: usize = 500;
/// Bytes of a network's name.
const NETWORK_BYTES_MAX: usize = 255;

/// Is the room in the directory?
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn visibility(view: &View, room_id: &RoomId) -> Reply<Visibility> {
    let room = crate::known_room(view, room_id)?;
    let published = view.has(&PUBLISHED, (room,))?;
    Ok(if published { Visibility::Public } else { Visibility::Private })
}

/// Puts the room into the directory, or takes it out.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 403 `M_FORBIDDEN` for who may not set the room's canonical alias and is no administrator.
pub fn set_visibility(
    tx: &mut Tx,
    user: User,
    admin: bool,
    room_id: &RoomId,
    visibility: &Visibility,
) -> Reply<()> {
    let room = crate::known_room(tx, room_id)?;
    let head = room::head(tx, room)?;
    let power: Arc<PowerLevels> = ground::power(tx, &*room::info(tx, room)?, head.state)?;
    let moderates = room::is_joined(tx, room, user)?
        && power.may_send(&user::id(tx, user)?, "m.room.canonical_alias", true);
    if !moderates && !admin {
        return Err(Error::forbidden("only the room's moderators publish it"));
    }
    publish(tx, room, *visibility == Visibility::Public);
    Ok(())
}

/// Puts a room into the directory, or takes it out.
pub(crate) fn publish(tx: &mut Tx, room: Room, published: bool) {
    if published {
        tx.put(&PUBLISHED, (room,), &());
    } else {
        tx.delete(&PUBLISHED, (room,));
    }
    tx.announce(Entry::Directory { room });
}

/// Puts the room under a network of an application service, or takes it out. That the service has the network is for the
/// caller to know.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 400 `M_INVALID_PARAM` for an impossible network.
pub fn set_network_visibility(
    tx: &mut Tx,
    network: &str,
    room_id: &RoomId,
    visibility: &Visibility,
) -> Reply<()> {
    if network.is_empty() || network.len() > NETWORK_BYTES_MAX {
        return Err(Error::invalid_param("there is no such network"));
    }
    let room = crate::known_room(tx, room_id)?;
    match visibility {
        Visibility::Public => tx.put(&NETWORK_ROOMS, (network.to_owned(), room), &()),
        _ => tx.delete(&NETWORK_ROOMS, (network.to_owned(), room)),
    }
    Ok(())
}

/// A page of the directory.
#[derive(Debug, Default)]
pub struct Page {
    /// The rooms, those with most members first.
    pub rooms: Vec<PublicRoomsChunk>,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Where the page before this one begins.
    pub prev: Option<String>,
    /// How many rooms there are, as far as the filter goes.
    pub total: usize,
}

/// What is asked of the directory.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    /// Whose directory; `None`: this server's.
    pub server: Option<&'a ServerName>,
    /// Rooms that are listed by the server itself, or by application services.
    pub network: RoomNetwork,
    /// Which of them.
    pub filter: Filter,
    /// Where the page begins: a token of another page.
    pub since: Option<&'a str>,
    /// How many rooms.
    pub limit: Option<u64>,
}

/// Lists the directory.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a token that is not one of ours, and for the directory of another server, which has to be asked.
pub fn page(view: &View, query: &Query<'_>) -> Reply<Page> {
    if query.server.is_some_and(|server| server != view.server_name()) {
        return Err(Error::invalid_param("the directory of another server is there"));
    }
    let from = query.since.map(|token| token.strip_prefix('p').and_then(|n| n.parse().ok()));
    let from: usize = match from {
        Some(None) => return Err(Error::invalid_param("not a token of this directory")),
        other => other.flatten().unwrap_or(0),
    };
    let limit = query.limit.map_or(PAGE, |n| usize::try_from(n).unwrap_or(PAGE_MAX)).min(PAGE_MAX);
    let rooms = match &query.network {
        RoomNetwork::Matrix => listing::published(view)?,
        RoomNetwork::All => listing::of_all_networks(view)?,
        RoomNetwork::ThirdParty(network) => listing::of_network(view, network)?,
        _ => return Err(Error::invalid_param("there is no such network")),
    };
    let term = query.filter.generic_search_term.as_deref().unwrap_or_default().to_lowercase();
    let matching = rooms.iter().filter(|room| {
        has_type(&room.chunk, &query.filter.room_types) && (term.is_empty() || room.contains(&term))
    });
    let (mut total, mut shown) = (0, Vec::new());
    for room in matching {
        if total >= from && shown.len() < limit {
            shown.push((*room.chunk).clone());
        }
        total += 1;
    }
    let end = from.saturating_add(limit).min(total);
    let token = |at: usize| format!("p{at}");
    Ok(Page {
        next: (end < total && limit > 0).then(|| token(end)),
        prev: (from > 0 && total > 0).then(|| token(from.saturating_sub(limit))),
        total,
        rooms: shown,
    })
}

fn has_type(chunk: &PublicRoomsChunk, wanted: &[RoomTypeFilter]) -> bool {
    let own = chunk.room_type.as_ref().map(RoomType::as_str);
    wanted.is_empty() || wanted.iter().any(|wanted| wanted.as_str() == own)
}

#[cfg(test)]
mod tests;
