//! Who calls: from the access token of a request to a proven caller.

use std::{borrow::Cow, sync::Arc};

use accounts::session;
use base::{Error, Reply};
use http::{HeaderMap, Uri, header};
use protocol::appservice::{Appservices, Registration};
use store::View;

use crate::{
    asked::{Asked, query_value},
    handler::{Caller, Origin},
    masquerade,
    outside::{Outside, Settings},
    restraint::Openness,
};

/// The access token of a request (spec: "Using access tokens"): from the header, or from the query if that is allowed.
pub(crate) fn token(headers: &HeaderMap, uri: &Uri, in_query: bool) -> Option<String> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = header.and_then(bearer) {
        return Some(token.to_owned());
    }
    let token = if in_query { query_value(uri.query()?, "access_token") } else { None };
    token.filter(|token| !token.is_empty()).map(Cow::into_owned)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The caller behind a token, and whether the first use of this token has to be written down. An application service
/// says in the query whom it acts as.
///
/// # Errors
/// 401 `M_UNKNOWN_TOKEN`; as [`masquerade::caller`]; for restrained accounts what [`Openness::admit`] refuses.
pub(crate) fn prove(
    view: &View,
    services: &Appservices,
    token: &str,
    uri: &Uri,
    openness: Openness,
) -> Reply<(Caller, bool)> {
    let hash = session::hash(token);
    if let Some(service) = services.by_token(&hash) {
        let caller = masquerade::caller(view, service, uri)?;
        openness.admit(store::user::restraint(view, caller.user)?)?;
        return Ok((caller, false));
    }
    let session::Session { user, id, device, guest, admin, restraint, token, confirm } =
        session::prove_hash(view, hash)?;
    openness.admit(restraint)?;
    Ok((Caller { user, id, device, guest, admin, token, service: None }, confirm))
}

/// The application service behind the token of a request that needs none, but for what only application services may.
pub(crate) fn service(
    settings: &Settings,
    headers: &HeaderMap,
    uri: &Uri,
) -> Option<Arc<Registration>> {
    if settings.appservices.is_empty() {
        return None;
    }
    let token = token(headers, uri, settings.token_in_query)?;
    settings.appservices.by_token(&session::hash(&token)).cloned()
}

/// The server that signed a request.
///
/// # Errors
/// 401 `M_UNAUTHORIZED` if no signature proves one; 403 `M_FORBIDDEN` if this server does not talk to it.
pub(crate) async fn server(outside: &Outside, asked: &Asked) -> Reply<Origin> {
    let target = asked.uri.path_and_query().map_or("/", |target| target.as_str());
    let (headers, body) = (&asked.headers, asked.body.clone());
    let server = outside.peers.prove(&asked.method, target, headers, body).await?;
    Ok(Origin { server })
}

pub(crate) fn missing() -> Error {
    Error::refused(401, "M_MISSING_TOKEN", "missing access token")
}

pub(crate) fn no_guests() -> Error {
    Error::refused(403, "M_GUEST_ACCESS_FORBIDDEN", "guests may not do this")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        authorization: Option<&'static str>,
        uri: &'static str,
        in_query: bool,
    ) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, http::HeaderValue::from_static(value));
        }
        token(&headers, &Uri::from_static(uri), in_query)
    }

    #[test]
    fn the_header_comes_before_the_query() {
        assert_eq!(of(Some("Bearer a"), "/?access_token=b", true).unwrap(), "a");
        assert_eq!(of(Some("bearer  a"), "/", true).unwrap(), "a");
        assert_eq!(of(None, "/?access_token=b%2B", true).unwrap(), "b+");
    }

    #[test]
    fn the_query_counts_only_where_it_is_allowed() {
        assert_eq!(of(None, "/?access_token=b", false), None);
    }

    #[test]
    fn what_is_no_bearer_token_is_none() {
        for value in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(of(Some(value), "/", true), None, "{value}");
        }
        assert_eq!(of(None, "/?access_token=", true), None);
    }

    mod servers {
        use base::UnixMs;
        use protocol::{SigningKey, request::authorization, signed::decode_key};
        use ruma::{
            ServerName, api::federation::query::get_custom_information::v1 as question, server_name,
        };
        use store::schema::{SERVER_KEYS, ServerKey};

        use super::super::*;
        use crate::{
            Routes,
            answer::Json,
            testing::{Answered, Server, start},
        };

        fn who(_: &View, origin: Origin, _: question::Request) -> Reply<Json> {
            Ok(format!("{{\"you\":\"{}\"}}", origin.server).into())
        }

        const ASKED: &str = "/_matrix/federation/v1/query/who%20?a=b%2Fc&d";

        fn key() -> SigningKey {
            SigningKey::generate([9; 32], "k").unwrap()
        }

        /// A server that knows the key of `b.example`, for so long.
        async fn knowing(valid_ms: i64) -> Server {
            let server = start(Routes::default().read(who), |_| {}).await;
            let until = server.store.now().0.checked_add_signed(valid_ms).unwrap();
            let public = decode_key(&key().public_key()).unwrap();
            let row = ServerKey { public, valid_until: UnixMs(until), expired: None };
            let put = server.store.write(None, move |tx| {
                tx.put(&SERVER_KEYS, ("b.example".to_owned(), "ed25519:k".to_owned()), &row);
                Ok(())
            });
            put.await.unwrap();
            server
        }

        fn signed(to: &ServerName, target: &str) -> String {
            let from = server_name!("b.example");
            authorization(&key(), "GET", target, from, to, b"").unwrap()
        }

        async fn ask(server: &Server, authorization: &str) -> Answered {
            let header = format!("authorization: {authorization}");
            server.ask("GET", ASKED, &[&header], "").await
        }

        #[tokio::test]
        async fn a_server_is_who_signed_the_request_as_it_was_sent() {
            let server = knowing(60_000).await;
            let good = signed(server_name!("x"), ASKED);
            assert_eq!(ask(&server, &good).await.body, r#"{"you":"b.example"}"#);
            let old = good.replace(",destination=\"x\"", "");
            assert_eq!(ask(&server, &old).await.body, r#"{"you":"b.example"}"#);
            let two = format!("X-Matrix origin=c\r\nauthorization: {good}");
            assert_eq!(ask(&server, &two).await.body, r#"{"you":"b.example"}"#);
            for wrong in [
                "Bearer abc".to_owned(),
                signed(server_name!("y"), ASKED),
                signed(server_name!("x"), "/_matrix/federation/v1/query/who?a=b%2Fc&d"),
                good.replace("b.example", "x"),
                good.replace("sig=\"", "sig=\"AAAA"),
            ] {
                let no = ask(&server, &wrong).await.errcode();
                assert_eq!(no, (401, "M_UNAUTHORIZED".to_owned()), "{wrong}");
            }
            let none = server.ask("GET", ASKED, &[], "").await.errcode();
            assert_eq!(none, (401, "M_UNAUTHORIZED".to_owned()));
        }

        #[tokio::test]
        async fn a_key_that_no_longer_counts_proves_nothing() {
            let server = knowing(-1_000).await;
            let no = ask(&server, &signed(server_name!("x"), ASKED)).await.errcode();
            assert_eq!(no, (401, "M_UNAUTHORIZED".to_owned()));
        }

        #[tokio::test]
        async fn without_federation_no_server_is_let_in() {
            let server = start(Routes::default().read(who), |s| s.federation_enabled = false).await;
            let no = ask(&server, &signed(server_name!("x"), ASKED)).await.errcode();
            assert_eq!(no, (403, "M_FORBIDDEN".to_owned()));
        }
    }
}
