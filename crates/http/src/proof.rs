//! Who calls: from the access token of a request to a proven caller.

use std::borrow::Cow;

use accounts::session;
use base::{Error, Reply};
use http::{HeaderMap, Uri, header};
use store::View;

use crate::{asked::query_value, handler::Caller};

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

/// The caller behind a token, and whether the first use of this token has to be written down.
///
/// # Errors
/// 401 `M_UNKNOWN_TOKEN`.
pub(crate) fn prove(view: &View, token: &str) -> Reply<(Caller, bool)> {
    let session::Session { user, id, device, guest, admin, token, confirm } =
        session::prove(view, token)?;
    Ok((Caller { user, id, device, guest, admin, token }, confirm))
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
}
