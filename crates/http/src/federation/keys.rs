//! Who this server is (spec: Server-Server API, "Server implementation", "Retrieving server keys", "Server discovery").
//! Nobody has to sign these requests.

use std::{collections::BTreeMap, time::Duration};

use base::{Error, Reply};
use futures_util::{StreamExt as _, stream};
use http::Method;
use ruma::{OwnedServerName, api::federation::discovery::get_server_version::v1 as version};
use serde::Deserialize;
use serde_json::json;
use store::View;
use tokio::time::timeout;

use crate::{
    Routes,
    answer::Json,
    asked::Asked,
    handler::{Anyone, Around, Auth, Caller},
    outside::Outside,
};

/// Servers whose keys one request may ask this notary for.
const SERVERS_MAX: usize = 100;
/// Of them, asked at once.
const AT_ONCE: usize = 16;
/// For all of them. Those that did not answer by then are left out.
const TIME_MAX: Duration = Duration::from_secs(25);

pub(super) fn routes() -> Routes {
    // The key ids at the ends are of older versions of the API: all keys are answered.
    const OWN: [&str; 2] = ["/_matrix/key/v2/server/{keyId}", "/_matrix/key/v2/server"];
    const OTHERS: [&str; 2] =
        ["/_matrix/key/v2/query/{serverName}/{keyId}", "/_matrix/key/v2/query/{serverName}"];
    const MANY: [&str; 1] = ["/_matrix/key/v2/query"];
    const WELL_KNOWN: [&str; 1] = ["/.well-known/matrix/server"];
    Routes::default()
        .read(server_version)
        .raw_flow(Method::GET, &OWN, Auth::None, own)
        .raw_flow(Method::GET, &OTHERS, Auth::None, of_one)
        .raw_flow(Method::POST, &MANY, Auth::None, of_many)
        .raw_read(Method::GET, &WELL_KNOWN, Auth::None, well_known)
}

fn server_version(_: &View, _: Anyone, _: version::Request) -> Reply<Json> {
    let server = json!({ "name": "Althing", "version": env!("CARGO_PKG_VERSION") });
    Ok(json!({ "server": server }).to_string().into())
}

async fn own(outside: Outside, _: Option<Caller>, _: Asked) -> Reply<Json> {
    takes_part(&outside)?;
    outside.peers.own_keys().map(Json::from)
}

async fn of_one(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    takes_part(&outside)?;
    let at = match asked.query("minimum_valid_until_ts") {
        Some(text) => text.parse().map_err(|_| {
            Error::invalid_param("`minimum_valid_until_ts` is no number of milliseconds")
        })?,
        None => outside.store.now().0,
    };
    let server = OwnedServerName::try_from(asked.arg(0));
    let server = server.map_err(|_| Error::invalid_param("not a server name"))?;
    notarized(&outside, BTreeMap::from([(server, at)])).await
}

async fn of_many(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    #[derive(Deserialize)]
    struct Query {
        server_keys: BTreeMap<OwnedServerName, BTreeMap<String, Criteria>>,
    }
    #[derive(Deserialize)]
    struct Criteria {
        minimum_valid_until_ts: Option<u64>,
    }
    takes_part(&outside)?;
    let query: Query = asked.json()?;
    if query.server_keys.len() > SERVERS_MAX {
        let text = format!("more than {SERVERS_MAX} servers at once");
        return Err(Error::too_large(text));
    }
    let now = outside.store.now().0;
    let until = |keys: &BTreeMap<String, Criteria>| {
        keys.values().map(|key| key.minimum_valid_until_ts.unwrap_or(now)).max().unwrap_or(now)
    };
    let wanted = query.server_keys.iter().map(|(server, keys)| (server.clone(), until(keys)));
    notarized(&outside, wanted.collect()).await
}

/// What servers published, with this one's signature. Those that cannot be had are left out.
async fn notarized(outside: &Outside, wanted: BTreeMap<OwnedServerName, u64>) -> Reply<Json> {
    let each = wanted.into_iter().map(|(server, at)| {
        let peers = outside.peers.clone();
        async move { peers.notarized_keys(&server, at).await }
    });
    let mut each = stream::iter(each).buffer_unordered(AT_ONCE);
    let mut found: Vec<String> = Vec::new();
    let all = async {
        while let Some(object) = each.next().await {
            found.extend(object?);
        }
        Ok::<(), base::Error>(())
    };
    timeout(TIME_MAX, all).await.unwrap_or(Ok(()))?;
    Ok(format!("{{\"server_keys\":[{}]}}", found.join(",")).into())
}

/// A server that takes no part in federation has none of this.
fn takes_part(outside: &Outside) -> Reply<()> {
    match outside.settings.federation_enabled {
        true => Ok(()),
        false => {
            Err(Error::refused(404, "M_UNRECOGNIZED", "this server takes no part in federation"))
        }
    }
}

fn well_known(_: &View, around: Around<'_>, _: Option<Caller>, _: Asked) -> Reply<Json> {
    let settings = around.settings;
    match settings.delegate.as_ref().filter(|_| settings.federation_enabled) {
        Some(delegate) => Ok(json!({ "m.server": delegate }).to_string().into()),
        None => Err(Error::not_found("this server delegates to no other name")),
    }
}

#[cfg(test)]
mod tests {
    use protocol::server_keys::Published;

    use crate::testing::start;

    #[tokio::test]
    async fn this_server_shows_its_keys_and_signs_them_again_as_a_notary() {
        let server = start(super::super::routes(), |_| {}).await;
        let now = server.store.now().0;
        for path in ["/_matrix/key/v2/server", "/_matrix/key/v2/server/ed25519:1"] {
            let answer = server.ask("GET", path, &[], "").await;
            let keys = Published::read(&answer.body, now).unwrap();
            assert_eq!(keys.server.as_str(), "x");
            assert!(keys.keys.contains_key("ed25519:1"));
            assert!(keys.valid_until > now + 3_600_000);
        }
        let query = r#"{"server_keys":{"x":{"ed25519:1":{"minimum_valid_until_ts":1}}}}"#;
        for answer in [
            server.ask("GET", "/_matrix/key/v2/query/x", &[], "").await,
            server.ask("POST", "/_matrix/key/v2/query", &[], query).await,
        ] {
            let keys = answer.json()["server_keys"][0].to_string();
            assert_eq!(Published::read(&keys, now).unwrap().server.as_str(), "x");
        }
        let nobody =
            server.ask("POST", "/_matrix/key/v2/query", &[], r#"{"server_keys":{}}"#).await;
        assert_eq!(nobody.body, r#"{"server_keys":[]}"#);
        let bad =
            server.ask("GET", "/_matrix/key/v2/query/x?minimum_valid_until_ts=a", &[], "").await;
        assert_eq!(bad.errcode(), (400, "M_INVALID_PARAM".to_owned()));
    }

    #[tokio::test]
    async fn without_federation_there_are_no_keys_and_no_delegation() {
        let server = start(super::super::routes(), |settings| {
            settings.federation_enabled = false;
            settings.delegate = Some("y:443".to_owned());
        })
        .await;
        let keys = server.ask("GET", "/_matrix/key/v2/server", &[], "").await;
        assert_eq!(keys.errcode(), (404, "M_UNRECOGNIZED".to_owned()));
        let well_known = server.ask("GET", "/.well-known/matrix/server", &[], "").await;
        assert_eq!(well_known.errcode(), (404, "M_NOT_FOUND".to_owned()));
    }

    #[tokio::test]
    async fn the_delegation_is_what_the_operator_wrote() {
        let server =
            start(super::super::routes(), |settings| settings.delegate = Some("y:443".to_owned()))
                .await;
        let well_known = server.ask("GET", "/.well-known/matrix/server", &[], "").await;
        assert_eq!(well_known.body, r#"{"m.server":"y:443"}"#);
    }
}
