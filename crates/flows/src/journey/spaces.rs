//! Spaces and other rooms that this server is not in, as those who are in them describe them (spec: Server-Server API,
//! `GET /hierarchy/{roomId}`; Client-Server API, "Spaces", `GET /room_summary`).
//!
//! What is told is kept for some minutes, by room and by who told it: it is one server's word. It is bounded how many rooms
//! are asked for to answer one client, how many at once, and for how long.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base::{Error, Reply, User};
use futures_util::{StreamExt as _, stream};
use quick_cache::{Weighter, sync::Cache};
use rooms::hierarchy::{
    self, Ask,
    elsewhere::{Answer, Told},
};
use ruma::{OwnedRoomId, OwnedServerName, RoomId};
use serde_json::{Map, Value};
use url::Url;

use super::{Journeys, in_turn};
use crate::peers::Patience;

/// How long an answer is told again (spec: "Responses to this endpoint should be cached for a period of time").
const FRESH: Duration = Duration::from_secs(300);
/// How long a server that had none is not asked for it again.
const FRESH_NO: Duration = Duration::from_secs(60);
/// For all answers that are kept, bytes.
const KEPT_BYTES: u64 = 32 << 20;
/// Answers that are kept, roughly.
const KEPT: usize = 2_000;
/// What an answer costs beside its text.
const OVERHEAD: u64 = 256;
/// The largest answer.
const BODY_MAX: usize = 2 << 20;
/// For one server.
const ANSWER: Duration = Duration::from_secs(8);
/// Servers asked about one room.
const SERVERS: usize = 3;
/// Rooms asked about for one page.
const ROOMS_MAX: usize = 100;
/// Of those, so many at once.
const AT_ONCE: usize = 8;
/// Rounds for one page: each goes a level down, at least.
const ROUNDS_MAX: usize = 20;
/// For all of them: somebody waits.
const WAIT: Duration = Duration::from_secs(20);

/// What a server answered about a room, and when.
#[derive(Clone)]
pub(super) struct Kept {
    at: Instant,
    answer: Option<Arc<Answer>>,
    bytes: usize,
}

type Key = (OwnedServerName, OwnedRoomId);
/// Answers that are kept.
pub(super) type Answers = Cache<Key, Kept, Bytewise>;

/// An answer weighs what its body did.
#[derive(Clone)]
pub(super) struct Bytewise;

impl Weighter<Key, Kept> for Bytewise {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        OVERHEAD.saturating_add(kept.bytes as u64)
    }
}

/// None yet.
pub(super) fn answers() -> Answers {
    Cache::with_weighter(KEPT, KEPT_BYTES, Bytewise)
}

/// A page of a hierarchy that somebody asks for.
#[derive(Clone, Debug)]
pub struct Tour {
    /// Who.
    pub user: User,
    /// The space.
    pub space: OwnedRoomId,
    /// Servers that may know it, as the client says.
    pub via: Vec<OwnedServerName>,
    /// Which page.
    pub ask: Ask<'static>,
}

impl Journeys {
    /// A page of the hierarchy of a space; what this server does not know of it, others are asked for. The JSON body.
    ///
    /// # Errors
    /// As [`rooms::hierarchy::page`].
    pub async fn hierarchy(&self, tour: Tour) -> Reply<String> {
        let end = tokio::time::Instant::now() + WAIT;
        let mut told = Arc::new(Told::default());
        let mut asked = 0;
        for _ in 0..ROUNDS_MAX {
            let walked = self.walk(&tour, &told).await?;
            let left = ROOMS_MAX.saturating_sub(asked);
            if walked.unknown.is_empty() || left == 0 || tokio::time::Instant::now() >= end {
                return walked.body.ok_or_else(closed);
            }
            let ask = walked.unknown.into_iter().take(left).map(|(room, via)| async {
                let answer = tokio::time::timeout_at(end, self.told_of(&tour, &room, via)).await;
                Ok::<_, Error>((room, answer.unwrap_or(Ok(None))?))
            });
            let answers: Vec<_> = stream::iter(ask).buffered(AT_ONCE).collect().await;
            asked += answers.len();
            let mut more = Arc::into_inner(told).unwrap_or_default();
            for answer in answers {
                let (room, answer) = answer?;
                more.add(room, answer);
            }
            told = Arc::new(more);
        }
        self.walk(&tour, &told).await?.body.ok_or_else(closed)
    }

    async fn walk(&self, tour: &Tour, told: &Arc<Told>) -> Reply<hierarchy::Walked> {
        let (tour, told) = (tour.clone(), told.clone());
        let read = self.0.store.read(move |view| {
            let walked = hierarchy::walk(view, tour.user, &tour.space, &tour.ask, &told);
            // Before the answer: who waits for it goes on alone with it.
            drop(told);
            walked
        });
        read.await
    }

    async fn told_of(
        &self,
        tour: &Tour,
        room: &RoomId,
        mut via: Vec<OwnedServerName>,
    ) -> Reply<Option<Arc<Answer>>> {
        if room == tour.space {
            via.clone_from(&tour.via);
        }
        self.describe(tour.user, room, via).await
    }

    /// The summary of a room that this server is not in, as one that is tells it; with what it is to the user. `nheko`: as
    /// [`rooms::summary::summary`].
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` if nobody tells it, or it is not open to the user.
    pub async fn room_summary(
        &self,
        user: User,
        room: OwnedRoomId,
        via: Vec<OwnedServerName>,
        nheko: bool,
    ) -> Reply<Map<String, Value>> {
        let answer = self.describe(user, &room, via).await?;
        let answer = answer.ok_or_else(|| Error::not_found("Room not found."))?;
        let read = self
            .0
            .store
            .read(move |view| rooms::summary::told(view, user, &room, answer.summary(), nheko));
        read.await
    }

    /// What the first server that knows the room says of it.
    async fn describe(
        &self,
        user: User,
        room: &RoomId,
        via: Vec<OwnedServerName>,
    ) -> Reply<Option<Arc<Answer>>> {
        let id = room.to_owned();
        let known = self.0.store.read(move |v| rooms::elsewhere::servers(v, user, &id)).await?;
        let servers = in_turn(self.0.store.server_name(), via.into_iter().chain(known));
        for server in servers.into_iter().take(SERVERS) {
            if let Some(answer) = self.describe_by(server, room).await {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    async fn describe_by(&self, server: OwnedServerName, room: &RoomId) -> Option<Arc<Answer>> {
        let key = (server, room.to_owned());
        let spaces = &self.0.spaces;
        let fresh = |kept: &Kept| if kept.answer.is_some() { FRESH } else { FRESH_NO };
        if spaces.get(&key).is_some_and(|kept| kept.at.elapsed() > fresh(&kept)) {
            spaces.remove(&key);
        }
        let fetch = async {
            let patience = Patience { timeout: ANSWER, insist: false, body_max: BODY_MAX };
            let (answer, bytes) = match self.0.peers.fetch(&key.0, &path(room), patience).await {
                Ok((_, body)) => (Answer::read(room, &body).map(Arc::new), body.len()),
                Err(why) => {
                    tracing::info!(server = %key.0, %room, %why, "a room is not described");
                    (None, 0)
                }
            };
            Ok::<_, std::convert::Infallible>(Kept { at: Instant::now(), answer, bytes })
        };
        match spaces.get_or_insert_async(&key, fetch).await {
            Ok(kept) => kept.answer,
            Err(never) => match never {},
        }
    }
}

/// The endpoint for a room. Suggested or not is sifted here, so that one answer serves both questions.
fn path(room: &RoomId) -> String {
    const PREFIX: &str = "/_matrix/federation/v1/hierarchy";
    let Ok(mut url) = Url::parse(&format!("https://server{PREFIX}")) else {
        return PREFIX.to_owned();
    };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.push(room.as_str());
    }
    format!("{}?suggested_only=false", url.path())
}

/// What a user hears about a space that is not there for them.
fn closed() -> Error {
    Error::forbidden("You are not allowed to view this room.")
}

#[cfg(test)]
mod tests {
    use ruma::room_id;

    use super::*;

    #[test]
    fn a_room_is_one_segment_of_the_path() {
        let odd = path(room_id!("!a/b?c#d%e:x"));
        assert_eq!(
            odd,
            "/_matrix/federation/v1/hierarchy/!a%2Fb%3Fc%23d%25e:x?suggested_only=false"
        );
    }
}
