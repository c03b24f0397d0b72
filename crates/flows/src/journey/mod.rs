//! What users of this server do elsewhere: coming into rooms of other servers, knocking on them, leaving them, inviting
//! people there, and reading what is there (spec: Server-Server API, "Joining Rooms" to "Published Room Directory").
//!
//! A journey begins where the local answer was that this server is not in the room. It holds no snapshot and no lane while it waits;
//! what it brings back enters the store through `rooms::remote`. Once another server has taken what a user did, the
//! journey is finished even if the client has gone away.

pub(crate) mod arrival;
pub mod completion;
mod invite;
mod join;
mod knock;
mod leave;
mod media;
mod multipart;
pub mod past;
mod reading;
pub(crate) mod setback;
mod spaces;
mod template;
mod turns;

use std::{
    collections::BTreeSet,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use ::media::Library;
use base::{Error, Reply, User};
use egress::Egress;
use parking_lot::Mutex;
use protocol::Pdu;
use quick_cache::sync::Cache;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId, ServerName};
use serde_json::value::RawValue;
use store::{Store, schema::Standing};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::JoinSet,
};

use self::{
    setback::{Setback, Tried},
    template::{Template, Wanted},
    turns::Turns,
};
use crate::peers::{Patience, Peers};

pub use self::{invite::Guest, reading::Listing, spaces::Tour};

/// Servers asked for one thing, one after the other.
const SERVERS_MAX: usize = 10;
/// No further server is asked after this: clients and proxies do not wait longer.
const JOURNEY_TIME_MAX: Duration = Duration::from_secs(75);
/// For one short question.
const QUESTION: Duration = Duration::from_secs(20);
/// Profiles of other servers' users that are kept in memory.
const PROFILES_KEPT: usize = 2_000;
/// Files that are fetched at once.
const FETCHES_AT_ONCE: usize = 4;
/// Rooms that are remembered because nobody could tell more of them.
const ROOMS_KEPT: usize = 1_000;

/// What users of this server do elsewhere. Cheap to clone; all clones know of each other's journeys.
#[derive(Clone)]
pub struct Journeys(Arc<Inner>);

struct Inner {
    store: Store,
    peers: Peers,
    /// One journey at a time into, or out of, a room.
    rooms: Turns,
    /// Those on the way. They end with this, at the latest.
    under_way: Mutex<JoinSet<()>>,
    /// Moves when a room has become partial, or whole.
    partial: watch::Sender<u64>,
    profiles: Cache<OwnedUserId, reading::Kept>,
    /// What servers told of spaces, and of other rooms, lately.
    spaces: spaces::Answers,
    media: Library,
    egress: Egress,
    /// Places for files that are fetched: each is in memory.
    fetches: Semaphore,
    /// Rooms of whose past nobody could tell more, and when to ask again.
    dry: Cache<OwnedRoomId, Instant>,
}

/// Who goes.
#[derive(Clone, Debug)]
pub struct Traveller {
    /// Their number.
    pub user: User,
    /// Their id.
    pub id: OwnedUserId,
}

/// Where to.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The room.
    pub room: OwnedRoomId,
    /// The servers that may know it, as the client says, or who resolved an alias.
    pub via: Vec<OwnedServerName>,
    /// What the user says about it.
    pub reason: Option<String>,
}

impl Journeys {
    /// Goes nowhere yet.
    #[must_use]
    pub fn new(store: Store, peers: Peers, media: Library, egress: Egress) -> Journeys {
        let (partial, _) = watch::channel(0);
        let profiles = Cache::new(PROFILES_KEPT);
        let (rooms, under_way) = (Turns::default(), Mutex::default());
        let (fetches, dry) = (Semaphore::new(FETCHES_AT_ONCE), Cache::new(ROOMS_KEPT));
        Journeys(Arc::new(Inner {
            store,
            peers,
            rooms,
            under_way,
            partial,
            profiles,
            spaces: spaces::answers(),
            media,
            egress,
            fetches,
            dry,
        }))
    }

    /// Lets a journey go on when who waits for it has gone.
    async fn go<T: Send + 'static>(
        &self,
        journey: impl Future<Output = Reply<T>> + Send + 'static,
    ) -> Reply<T> {
        let (tell, told) = oneshot::channel();
        {
            let mut under_way = self.0.under_way.lock();
            while under_way.try_join_next().is_some() {}
            under_way.spawn(async move { drop(tell.send(journey.await)) });
        }
        told.await.unwrap_or_else(|_| Err(Error::fault("a journey was broken off")))
    }

    /// The servers to ask about a room, in turn.
    async fn servers(&self, who: User, aim: &Aim) -> Reply<Vec<OwnedServerName>> {
        let room = aim.room.clone();
        let known = self.0.store.read(move |v| rooms::elsewhere::servers(v, who, &room)).await?;
        Ok(in_turn(self.0.store.server_name(), aim.via.iter().cloned().chain(known)))
    }

    /// Asks servers one after the other until one helps.
    async fn try_each<T, F>(
        &self,
        servers: Vec<OwnedServerName>,
        ask: impl Fn(OwnedServerName) -> F,
    ) -> Reply<T>
    where
        F: Future<Output = Result<T, Setback>>,
    {
        let begun = Instant::now();
        let mut tried = Tried::default();
        for server in servers {
            if begun.elapsed() > JOURNEY_TIME_MAX {
                break;
            }
            match ask(server.clone()).await {
                Ok(done) => return Ok(done),
                Err(Setback::End(error)) => return Err(error),
                Err(Setback::Server(why)) => {
                    tracing::info!(%server, %why, "a server did not help");
                    tried.note(why);
                }
            }
        }
        Err(tried.error(rooms::elsewhere::unknown()))
    }

    /// The event made of a template, signed.
    async fn sign(
        &self,
        version: &RoomVersionId,
        template: &RawValue,
        who: &Traveller,
        aim: &Aim,
        standing: Standing,
    ) -> Result<Pdu, Setback> {
        let wanted = Wanted { room: &aim.room, user: &who.id, standing };
        let template = Template::read(template, wanted).map_err(Setback::nonsense)?;
        let (version, user, reason) = (version.clone(), who.user, aim.reason.clone());
        let signed = self.0.store.read(move |view| {
            let content = rooms::elsewhere::content(view, user, standing, reason.as_deref())?;
            let by = (view.server_name(), view.signing_key());
            template.sign(&version, by, content, view.now(), &opaque())
        });
        Ok(signed.await?)
    }
}

/// Each of these servers once, without this one, and not too many.
fn in_turn(
    own: &ServerName,
    servers: impl IntoIterator<Item = OwnedServerName>,
) -> Vec<OwnedServerName> {
    let mut seen = BTreeSet::new();
    let other = |server: &OwnedServerName| server != own && seen.insert(server.clone());
    servers.into_iter().filter(other).take(SERVERS_MAX).collect()
}

/// What names an event of versions 1 and 2, like no other.
fn opaque() -> String {
    let letter = |byte: u8| {
        let n = byte % 52;
        char::from(if n < 26 { b'A' + n } else { b'a' + (n - 26) })
    };
    rand::random::<[u8; 18]>().into_iter().map(letter).collect()
}

/// Somebody waits for an answer that is not large.
fn question() -> Patience {
    Patience { timeout: QUESTION, insist: true, ..Patience::default() }
}

/// An event for the body of a request.
pub(crate) fn raw(pdu: &Pdu, version: &RoomVersionId) -> Reply<Box<RawValue>> {
    RawValue::from_string(pdu.to_federation(version))
        .map_err(|e| Error::fault(format!("own event: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_once_and_this_one_never() {
        let named = |name: &str| OwnedServerName::try_from(name).unwrap();
        let all = ["a", "here", "b", "a"].map(named);
        assert_eq!(in_turn(&named("here"), all), ["a", "b"].map(named));
        let many = (0..50).map(|n| named(&format!("s{n}")));
        assert_eq!(in_turn(&named("here"), many).len(), SERVERS_MAX);
    }
}
