//! A file as a response (spec: "Content repository": how content is served, "Serving inline content").

use base::{Error, Reply};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use media::{File, Library};

use super::part::{Part, wanted};
use crate::{
    answer::{Raw, Response},
    asked::Asked,
    body::Body,
};

/// Nothing in a file may run, and nobody may be talked into taking it for something else. The policy is the one that
/// the spec recommends. What is under an id never changes, but whoever loses access shall not find it in a shared cache.
static SAFE: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; \
             style-src 'unsafe-inline'; object-src 'self';",
        ),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
    (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
];

/// The file, or the part that was asked for, or that the client has it already.
pub(super) async fn serve(library: &Library, file: &File, asked: &Asked) -> Reply<Raw> {
    let etag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(file.hash));
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.extend(SAFE.iter().cloned());
    headers.insert(header::ETAG, value(&etag)?);
    if knows(asked, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(Raw(response));
    }
    headers.insert(header::CONTENT_TYPE, value(&file.content_type)?);
    headers.insert(header::CONTENT_DISPOSITION, value(&file.disposition())?);
    let same = asked.header(header::IF_RANGE).is_none_or(|known| known == etag);
    let range = asked.header(header::RANGE).filter(|_| same);
    let range = match wanted(range, file.size) {
        Part::Whole => 0..file.size,
        Part::Some(range) => {
            let last = range.end.saturating_sub(1);
            say_range(headers, &format!("bytes {}-{last}/{}", range.start, file.size))?;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            range
        }
        Part::Unsatisfiable => {
            say_range(headers, &format!("bytes */{}", file.size))?;
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(Raw(response));
        }
    };
    let length = range.end.saturating_sub(range.start);
    *response.body_mut() = Body::stream(library.read(file, range).await?, Some(length));
    Ok(Raw(response))
}

fn say_range(headers: &mut HeaderMap, text: &str) -> Reply<()> {
    headers.insert(header::CONTENT_RANGE, value(text)?);
    Ok(())
}

fn knows(asked: &Asked, etag: &str) -> bool {
    let Some(known) = asked.header(header::IF_NONE_MATCH) else { return false };
    let bare = |tag: &str| tag.trim().trim_start_matches("W/") == etag;
    known.trim() == "*" || known.split(',').any(bare)
}

fn value(text: &str) -> Reply<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|e| Error::fault(format!("a header cannot say {text:?}: {e}")))
}
