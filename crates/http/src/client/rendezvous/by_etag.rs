//! `/rendezvous` of MSC4108 as of 2024, which is what is deployed: `POST`, and `GET`, `PUT`, `DELETE` of the address that
//! it answers with. Messages are plain text, named by their `ETag`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{Error, Reply, UnixMs};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{keep_plain, name, plain, refuse_navigation};
use crate::{
    answer::{Raw, Response, json as json_answer, refusal},
    asked::Asked,
    body::Body,
    handler::{Auth, Caller, Routes},
    outside::Outside,
    rendezvous::{Form, Place, Put},
};

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous";

pub(super) fn routes() -> Routes {
    const ONE: [&str; 1] = ["/_matrix/client/unstable/org.matrix.msc4108/rendezvous/{rendezvous}"];
    Routes::default()
        .raw_flow(Method::POST, &[PATH], Auth::None, create)
        .raw_flow(Method::GET, &ONE, Auth::None, get)
        .raw_flow(Method::PUT, &ONE, Auth::None, put)
        .raw_flow(Method::DELETE, &ONE, Auth::None, delete)
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain");

/// # Errors
/// 400 `M_MISSING_PARAM` or `M_INVALID_PARAM` for what is not said to be plain text.
fn check_type(asked: &Asked) -> Reply<()> {
    let missing = || Error::missing_param("missing header content-type");
    let kind = asked.header(header::CONTENT_TYPE).ok_or_else(missing)?;
    let essence = kind.split(';').next().unwrap_or_default().trim();
    match essence.eq_ignore_ascii_case("text/plain") {
        true => Ok(()),
        false => Err(Error::invalid_param("the content is text/plain")),
    }
}

/// What every answer about a session says.
fn describe(headers: &mut HeaderMap, place: &Place) -> Reply<()> {
    let value = |text: String| {
        HeaderValue::from_str(&text)
            .map_err(|e| Error::fault(format!("a header cannot say {text:?}: {e}")))
    };
    headers.insert(header::ETAG, value(format!("\"{}\"", place.revision))?);
    headers.insert(header::EXPIRES, value(date(place.expires))?);
    headers.insert(header::LAST_MODIFIED, value(date(place.modified))?);
    keep_plain(headers);
    Ok(())
}

fn date(at: UnixMs) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at.0));
    httpdate::fmt_http_date(at.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// The base of the address of a session: as configured, or as the caller addressed this server.
fn base(outside: &Outside, asked: &Asked) -> String {
    if let Some(base) = &outside.settings.base_url {
        return base.clone();
    }
    let host = asked.header(header::HOST).or_else(|| asked.uri.authority().map(|a| a.as_str()));
    format!("http://{}", host.unwrap_or(outside.settings.server_name.as_str()))
}

async fn create(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    check_type(&asked)?;
    let id = name(&outside);
    let message = (asked.body.clone(), name(&outside));
    let place = (Form::ETag, id.clone());
    let now = outside.store.now();
    let place = outside.rendezvous.make(place, outside.client.ip, message, now)?;
    let url = format!("{}{PATH}/{id}", base(&outside, &asked));
    let mut response = json_answer(StatusCode::CREATED, json!({ "url": url }).to_string());
    describe(response.headers_mut(), &place)?;
    Ok(Raw(response))
}

async fn get(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    refuse_navigation(&asked)?;
    let place = outside.rendezvous.look(Form::ETag, asked.arg(0), outside.store.now())?;
    let known = asked.header(header::IF_NONE_MATCH).and_then(strong);
    let mut response = Response::new(Body::empty());
    if known == Some(place.revision.as_str()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(place.data.clone());
        response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    }
    describe(response.headers_mut(), &place)?;
    Ok(Raw(response))
}

/// What a strong tag names: one, in quotation marks.
fn strong(tag: &str) -> Option<&str> {
    let name = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
    (!name.contains('"')).then_some(name)
}

async fn put(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    check_type(&asked)?;
    let missing = || Error::missing_param("missing header if-match");
    let known = asked.header(header::IF_MATCH).ok_or_else(missing)?;
    let malformed = || Error::invalid_param("if-match is one strong tag");
    let known = strong(known).ok_or_else(malformed)?;
    let message = (asked.body.clone(), name(&outside));
    let now = outside.store.now();
    let (mut response, place) =
        match outside.rendezvous.put((Form::ETag, asked.arg(0)), known, message, now)? {
            Put::Done(place) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::ACCEPTED;
                // Some proxies drop the tag of an answer that has no type.
                response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
                (response, place)
            }
            Put::Conflict(place) => {
                let no = Error::refusal(412, "M_UNKNOWN", "Another message is there by now.");
                (refusal(no.with("org.matrix.msc4108.errcode", "M_CONCURRENT_WRITE")), place)
            }
        };
    describe(response.headers_mut(), &place)?;
    Ok(Raw(response))
}

async fn delete(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    outside.rendezvous.end(Form::ETag, asked.arg(0), outside.store.now())?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(Raw(plain(response)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_strong_and_alone() {
        assert_eq!(strong(r#" "ab" "#), Some("ab"));
        for bad in [r#"W/"ab""#, "ab", "*", r#""a", "b""#, "\""] {
            assert_eq!(strong(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(date(UnixMs(784_111_777_000)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
