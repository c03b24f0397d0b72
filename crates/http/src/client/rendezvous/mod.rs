//! Where a new device and one that is signed in meet to sign the new one in by a QR code: MSC4108 as it is deployed
//! ([`by_etag`]), and its successor MSC4388 ([`by_token`]). Neither asks who calls: the new device is nobody yet.

mod by_etag;
mod by_token;

use base::{Error, Reply};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{answer::Response, asked::Asked, handler::Routes, outside::Outside};

pub(crate) fn routes() -> Routes {
    by_etag::routes().and(by_token::routes())
}

/// A name that nobody can guess.
fn name(outside: &Outside) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(outside.store.random::<16>())
}

/// Refuses to show a message as a page of this server: anybody may have put anything there.
fn refuse_navigation(asked: &Asked) -> Reply<()> {
    let says = |name: &'static str, what: &str| {
        asked.header(HeaderName::from_static(name)).is_some_and(|value| value == what)
    };
    if says("sec-fetch-mode", "navigate") || says("sec-fetch-dest", "document") {
        return Err(Error::forbidden("This is for apps."));
    }
    Ok(())
}

/// Keeps caches from holding a message back, and browsers from taking it for something else.
fn keep_plain(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ] {
        headers.insert(name, value);
    }
}

/// The same for an answer that is ready.
fn plain(mut response: Response) -> Response {
    keep_plain(response.headers_mut());
    response
}
