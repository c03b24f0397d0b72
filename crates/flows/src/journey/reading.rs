//! What is read of other servers for one user: aliases, directories, profiles (spec: Server-Server API, "Querying for
//! information", "Published Room Directory").

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base::{Error, Reply};
use ruma::{
    OwnedRoomId, OwnedServerName, RoomAliasId, ServerName, UserId,
    api::federation::{
        directory::{get_public_rooms, get_public_rooms_filtered},
        query::{get_profile_information, get_room_information},
    },
    directory::PublicRoomsChunk,
};
use serde_json::{Map, Value};

use super::{Journeys, question};
use crate::peers::Patience;

/// How long a profile is told again.
const FRESH: Duration = Duration::from_secs(300);
/// For a profile that is only an ornament of something else.
const ORNAMENT: Duration = Duration::from_secs(3);
/// The largest profile (spec: 64 KiB).
const PROFILE_BYTES_MAX: usize = 96 << 10;
/// Servers of an alias that are heeded.
const ALIAS_SERVERS_MAX: usize = 100;

/// A profile, and since when it is here.
#[derive(Clone)]
pub(super) struct Kept {
    at: Instant,
    profile: Arc<Map<String, Value>>,
}

/// A page of another server's directory.
#[derive(Debug)]
pub struct Listing {
    /// The rooms.
    pub rooms: Vec<PublicRoomsChunk>,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Where the page before begins.
    pub prev: Option<String>,
    /// How many there are, as that server says.
    pub total: Option<ruma::UInt>,
}

impl Journeys {
    /// The room of an alias of another server, and servers that are in it.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for an alias that is not there; 502 `M_UNKNOWN` if its server does not answer.
    pub async fn resolve(&self, alias: &RoomAliasId) -> Reply<(OwnedRoomId, Vec<OwnedServerName>)> {
        let ask = get_room_information::v1::Request::new(alias.to_owned());
        let server = alias.server_name();
        let answer = self.0.peers.request(server, ask, question()).await?;
        let mut servers = answer.servers;
        servers.truncate(ALIAS_SERVERS_MAX);
        if servers.is_empty() {
            servers.push(server.to_owned());
        }
        Ok((answer.room_id, servers))
    }

    /// A page of another server's directory.
    ///
    /// # Errors
    /// What it refuses; 502 `M_UNKNOWN` if it does not answer.
    pub async fn public_rooms(
        &self,
        server: &ServerName,
        ask: get_public_rooms::v1::Request,
    ) -> Reply<Listing> {
        let page = self.0.peers.request(server, ask, question()).await?;
        Ok(Listing {
            rooms: page.chunk,
            next: page.next_batch,
            prev: page.prev_batch,
            total: page.total_room_count_estimate,
        })
    }

    /// The same, as far as a filter goes.
    ///
    /// # Errors
    /// As [`Journeys::public_rooms`].
    pub async fn public_rooms_filtered(
        &self,
        server: &ServerName,
        ask: get_public_rooms_filtered::v1::Request,
    ) -> Reply<Listing> {
        let page = self.0.peers.request(server, ask, question()).await?;
        Ok(Listing {
            rooms: page.chunk,
            next: page.next_batch,
            prev: page.prev_batch,
            total: page.total_room_count_estimate,
        })
    }

    /// The profile of a user of another server, as it was there at most five minutes ago.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` if there is no such user; 502 `M_UNKNOWN` if their server does not answer.
    pub async fn profile(&self, id: &UserId) -> Reply<Arc<Map<String, Value>>> {
        self.profile_within(id, question().timeout).await
    }

    async fn profile_within(
        &self,
        id: &UserId,
        timeout: Duration,
    ) -> Reply<Arc<Map<String, Value>>> {
        let profiles = &self.0.profiles;
        if profiles.get(id).is_some_and(|kept| kept.at.elapsed() > FRESH) {
            profiles.remove(id);
        }
        let fetch = async {
            let ask = get_profile_information::v1::Request::new(id.to_owned());
            let patience = Patience { timeout, insist: false, body_max: PROFILE_BYTES_MAX };
            let answer = self.0.peers.request(id.server_name(), ask, patience).await?;
            let fields = answer.iter().map(|(key, value)| (key.to_owned(), value.clone()));
            let profile = Arc::new(fields.collect());
            Ok::<_, Error>(Kept { at: Instant::now(), profile })
        };
        Ok(profiles.get_or_insert_async(id, fetch).await?.profile)
    }

    /// Name and avatar of a user of another server, if it tells them soon.
    pub(super) async fn name_and_avatar(&self, id: &UserId) -> Map<String, Value> {
        let Ok(profile) = self.profile_within(id, ORNAMENT).await else { return Map::new() };
        ["displayname", "avatar_url"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), profile.get(key)?.clone())))
            .filter(|(_, value)| value.is_string())
            .collect()
    }
}
