//! One-time keys of users of other servers (spec: Server-Server API, "End-to-End Encryption"): each server is asked for its
//! own, all at once, and each time; only it knows what it has given out. Of devices, see [`crate::device_lists`].

use std::{collections::BTreeMap, time::Duration};

use devices::keys::claim::{Claims, Given};
use futures_util::{StreamExt as _, stream};
use ruma::{OwnedServerName, UserId, api::federation::keys::claim_keys};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::peers::{Patience, Peers, Unanswered};

/// How long a client waits for other servers if it does not say (the spec recommends it).
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long it waits at most.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Servers that are asked at once for one client.
const SERVERS_AT_ONCE: usize = 64;

/// Why servers gave no answer, by server, as clients are told.
pub type Failures = Map<String, Value>;

/// What each server is asked.
pub(crate) fn by_server<T: Clone>(
    all: &BTreeMap<String, T>,
) -> BTreeMap<OwnedServerName, BTreeMap<String, T>> {
    let mut servers: BTreeMap<OwnedServerName, BTreeMap<String, T>> = BTreeMap::new();
    for (id, asked) in all {
        let Ok(user) = <&UserId>::try_from(id.as_str()) else { continue };
        let server = servers.entry(user.server_name().to_owned()).or_default();
        server.insert(id.clone(), asked.clone());
    }
    servers
}

pub(crate) fn patience(timeout: Option<Duration>) -> Patience {
    Patience { timeout: timeout.unwrap_or(TIMEOUT_DEFAULT).min(TIMEOUT_MAX), ..Patience::default() }
}

/// From our words to ruma's, and back; what has another shape is nothing.
pub(crate) fn turn<T: Serialize, U: DeserializeOwned>(value: &T) -> Option<U> {
    serde_json::from_value(serde_json::to_value(value).ok()?).ok()
}

pub(crate) fn failure(why: Unanswered) -> Value {
    match why {
        Unanswered::Refused(said) => {
            json!({"status": said.status, "errcode": said.errcode, "error": said.message})
        }
        other => json!({"status": 503, "error": other.to_string()}),
    }
}

/// Counts devices of this server that had no one-time key left.
pub fn note_exhausted(given: &Given) {
    for (fallback, many) in [("given", given.by_fallback), ("none", given.nothing)] {
        if many > 0 {
            metrics::counter!("althing_one_time_keys_exhausted_total", "fallback" => fallback)
                .increment(many);
        }
    }
}

/// Claims one-time keys of users of other servers, by user, by device. Users of this server are passed over.
pub async fn claim(
    peers: &Peers,
    own: &str,
    claims: &Claims,
    timeout: Option<Duration>,
) -> (Map<String, Value>, Failures) {
    let asks = by_server(claims).into_iter().filter(|(server, _)| server != own);
    let asks = asks.map(|(server, claims)| async move {
        let answer = match turn(&claims) {
            Some(request) => {
                let request = claim_keys::v1::Request::new(request);
                peers.request(&server, request, patience(timeout)).await
            }
            None => Err(Unanswered::Silent("there are no such devices".to_owned())),
        };
        (server, claims, answer)
    });
    let mut answers = stream::iter(asks).buffer_unordered(SERVERS_AT_ONCE);
    let (mut found, mut failures) = (Map::new(), Failures::new());
    while let Some((server, claims, answer)) = answers.next().await {
        match answer {
            Err(why) => drop(failures.insert(server.to_string(), failure(why))),
            Ok(answer) => {
                let part: Map<String, Value> = turn(&answer.one_time_keys).unwrap_or_default();
                found.extend(part.into_iter().filter(|(user, _)| claims.contains_key(user)));
            }
        }
    }
    (found, failures)
}
