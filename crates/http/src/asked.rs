//! A request as it arrived: routed and read, not yet parsed.

use std::borrow::Cow;

use base::{Error, Reply, limits::JSON_DEPTH_MAX};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use ruma::api::{
    IncomingRequest,
    error::{DeserializationError, HeaderDeserializationError},
};
use serde::de::{DeserializeOwned, IgnoredAny};

/// A request: path arguments, query, headers and body.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Path and query, as sent.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// What stood in the places of the path's `{name}`s.
    pub args: Args,
    /// The body; empty for a stream.
    pub body: Bytes,
}

/// Path arguments, percent-decoded, in the order of the path.
#[derive(Clone, Debug, Default)]
pub struct Args {
    text: String,
    ends: [u32; ARGS_MAX],
    len: usize,
}

/// The Matrix APIs have four at most.
const ARGS_MAX: usize = 8;

impl Args {
    /// Adds one as it stands in the path. `None`: it is not UTF-8, or one too many.
    pub(crate) fn push(&mut self, encoded: &str) -> Option<()> {
        let decoded = percent_decode(encoded, false)?;
        self.text.push_str(&decoded);
        *self.ends.get_mut(self.len)? = u32::try_from(self.text.len()).ok()?;
        self.len += 1;
        Some(())
    }

    /// The argument at this place; empty if there is none.
    #[must_use]
    pub fn at(&self, place: usize) -> &str {
        if place >= self.len {
            return "";
        }
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |e| *e);
        let end = self.ends.get(place).map_or(0, |e| *e);
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl Asked {
    /// The path argument at this place; empty if there is none.
    #[must_use]
    pub fn arg(&self, place: usize) -> &str {
        self.args.at(place)
    }

    /// A query parameter, decoded; the first of that name.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query_value(self.uri.query()?, name)
    }

    /// All query parameters, decoded, in their order.
    #[must_use]
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        let pairs = self.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text| percent_decode(text, true).map(Cow::into_owned);
            Some((decode(key)?, decode(value)?))
        });
        decoded.collect()
    }

    /// A header, if it is text.
    #[must_use]
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a JSON object; an empty one counts as `{}`.
    ///
    /// # Errors
    /// 400 `M_NOT_JSON` or `M_BAD_JSON`.
    pub fn json<T: DeserializeOwned>(&self) -> Reply<T> {
        self.check_depth()?;
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        if !protocol::json::is_object(body) {
            return Err(not_an_object(body));
        }
        serde_json::from_slice(body).map_err(|error| bad_body(body, &error))
    }

    /// The same request for another run of a transaction: what ruma's parsers look at.
    pub(crate) fn again(&self) -> Asked {
        Asked {
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.parsed_headers(),
            args: self.args.clone(),
            body: self.body.clone(),
        }
    }

    /// The only headers that ruma's client requests have fields for, where they have.
    fn parsed_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let path = self.uri.path();
        if path.contains("/media/") || path.contains("/user_directory/") {
            for name in [header::CONTENT_TYPE, header::ACCEPT_LANGUAGE] {
                if let Some(value) = self.headers.get(&name) {
                    headers.insert(name, value.clone());
                }
            }
        }
        headers
    }

    /// The request in ruma's type. Takes the headers away.
    ///
    /// # Errors
    /// 400 with the code that says what is wrong: `M_NOT_JSON`, `M_BAD_JSON`, `M_INVALID_PARAM`, `M_MISSING_PARAM`.
    pub(crate) fn parse<R: IncomingRequest>(&mut self) -> Reply<R> {
        self.check_depth()?;
        let headers = std::mem::take(&mut self.headers);
        let request = self
            .parse_with::<R>(headers, &self.body)
            .map_err(|error| refuse(&self.body, &error))?;
        // serde reads an array into a struct as well, and `Raw` reads anything; the spec wants objects. Endpoints that
        // do not look at their body at all are told by what they make of rubbish.
        if !self.body.is_empty()
            && !protocol::json::is_object(&self.body)
            && !self.uri.path().starts_with("/_matrix/media/")
            && self.parse_with::<R>(HeaderMap::new(), b"!").is_err()
        {
            return Err(not_an_object(&self.body));
        }
        Ok(request)
    }

    fn parse_with<R: IncomingRequest>(
        &self,
        headers: HeaderMap,
        body: &[u8],
    ) -> Result<R, DeserializationError> {
        // Most of ruma's types take an empty body for `{}`; all are to.
        let body = if body.is_empty() && self.method != Method::GET { b"{}" } else { body };
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        let mut places = [""; ARGS_MAX];
        for (place, slot) in places.iter_mut().enumerate() {
            *slot = self.args.at(place);
        }
        R::try_from_http_request_inner(request, places.get(..self.args.len).unwrap_or_default())
    }

    /// Before anything recursive reads it.
    fn check_depth(&self) -> Reply<()> {
        if protocol::json::check_depth(&self.body, JSON_DEPTH_MAX) {
            return Ok(());
        }
        Err(Error::bad_json(format!("the body is nested deeper than {JSON_DEPTH_MAX} levels")))
    }
}

fn refuse(body: &[u8], error: &DeserializationError) -> Error {
    match error {
        DeserializationError::Json(error) => bad_body(body, error),
        DeserializationError::Utf8(_) => not_json("the body is not UTF-8"),
        DeserializationError::Header(HeaderDeserializationError::MissingHeader(name)) => {
            Error::missing_param(format!("missing header {name}"))
        }
        error => {
            let text = error.to_string();
            if text.contains("missing field") {
                return Error::missing_param(text);
            }
            Error::invalid_param(text)
        }
    }
}

/// The parser stops at the first value of a wrong shape; whether the rest is JSON at all decides the code.
fn bad_body(body: &[u8], error: &serde_json::Error) -> Error {
    // What is ignored is not looked at: text that is no UTF-8 would pass.
    if std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Error::bad_json(error.to_string());
    }
    not_json(&error.to_string())
}

fn not_an_object(body: &[u8]) -> Error {
    match serde_json::from_slice::<IgnoredAny>(body) {
        Ok(_) => Error::bad_json("expected a JSON object"),
        Err(error) => not_json(&error.to_string()),
    }
}

fn not_json(why: &str) -> Error {
    Error::refused(400, "M_NOT_JSON", why)
}

/// The first value of that name in a query string.
pub(crate) fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let matches = key == name || percent_decode(key, true).is_some_and(|key| key == name);
        if matches { percent_decode(value, true) } else { None }
    })
}

/// `%41` → `A`; in a query, `+` → space. `None`: the result is not UTF-8. A `%` without two hex digits stands for
/// itself, as browsers have it.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let special = |byte: &u8| *byte == b'%' || (plus_is_space && *byte == b'+');
    if !text.as_bytes().iter().any(special) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (b'+', _) if plus_is_space => out.push(b' '),
            _ => out.push(*first),
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use ruma::api::client::{
        account::whoami, filter::create_filter, membership::join_room_by_id,
        message::get_message_events, room::create_room, session::logout, state::send_state_event,
    };

    use super::*;

    fn asked(method: Method, uri: &'static str, args: &[&str], body: &'static str) -> Asked {
        let mut asked = Asked {
            method,
            uri: Uri::from_static(uri),
            body: Bytes::from_static(body.as_bytes()),
            ..Asked::default()
        };
        for arg in args {
            asked.args.push(arg).unwrap();
        }
        asked
    }

    fn code<T>(reply: Reply<T>) -> &'static str {
        match reply {
            Ok(_) => "",
            Err(Error::Refused(refusal)) => refusal.errcode,
            Err(Error::Fault(fault)) => panic!("{fault}"),
        }
    }

    fn create(body: &'static str) -> &'static str {
        code(asked(Method::POST, "/createRoom", &[], body).parse::<create_room::v3::Request>())
    }

    #[test]
    fn what_is_not_json_and_what_is_json_of_the_wrong_shape_differ() {
        assert_eq!(create(r#"{"name":"x"}"#), "");
        assert_eq!(create(""), "");
        assert_eq!(create("{"), "M_NOT_JSON");
        assert_eq!(create("hello"), "M_NOT_JSON");
        assert_eq!(create(r#"{"name":1}"#), "M_BAD_JSON");
        assert_eq!(create(r#"{"name":1,"#), "M_NOT_JSON");
        assert_eq!(create("[]"), "M_BAD_JSON");
        assert_eq!(create(r#""text""#), "M_BAD_JSON");
    }

    #[test]
    fn event_content_has_to_be_an_object() {
        let put = |body| {
            let args = ["!r:x", "m.room.name", ""];
            code(asked(Method::PUT, "/x", &args, body).parse::<send_state_event::v3::Request>())
        };
        assert_eq!(put(r#"{"name":"x"}"#), "");
        assert_eq!(put("[]"), "M_BAD_JSON");
        assert_eq!(put("3"), "M_BAD_JSON");
        assert_eq!(put("nope"), "M_NOT_JSON");
    }

    #[test]
    fn an_endpoint_without_a_body_takes_any() {
        let logout =
            |body| code(asked(Method::POST, "/x", &[], body).parse::<logout::v3::Request>());
        assert_eq!(logout("null"), "");
        assert_eq!(logout("[1]"), "");
        assert_eq!(code(asked(Method::GET, "/x", &[], "").parse::<whoami::v3::Request>()), "");
    }

    #[test]
    fn bad_parameters_are_named_as_such() {
        let messages = |uri| {
            code(asked(Method::GET, uri, &["!r:x"], "").parse::<get_message_events::v3::Request>())
        };
        assert_eq!(messages("/x?dir=b&limit=3"), "");
        assert_eq!(messages("/x?dir=b&limit=three"), "M_INVALID_PARAM");
        assert_eq!(messages("/x?limit=3"), "M_MISSING_PARAM");
        let join = |room| {
            code(asked(Method::POST, "/x", &[room], "{}").parse::<join_room_by_id::v3::Request>())
        };
        assert_eq!(join("!r:x"), "");
        assert_eq!(join("nonsense"), "M_INVALID_PARAM");
        let filter = |user| {
            code(asked(Method::POST, "/x", &[user], "{}").parse::<create_filter::v3::Request>())
        };
        assert_eq!(filter("@a:x"), "");
        assert_eq!(filter("a"), "M_INVALID_PARAM");
    }

    #[test]
    fn a_deep_body_is_refused_before_it_is_parsed() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "1");
        let mut asked = asked(Method::POST, "/x", &[], "");
        asked.body = deep.into();
        assert_eq!(code(asked.parse::<create_room::v3::Request>()), "M_BAD_JSON");
        assert_eq!(code(asked.json::<IgnoredAny>()), "M_BAD_JSON");
    }

    #[test]
    fn arguments_are_decoded_once() {
        let mut args = Args::default();
        for arg in ["%21a%3Ab", "x%2Fy", "", "%2541", "100%"] {
            args.push(arg).unwrap();
        }
        let all: Vec<_> = (0..6).map(|n| args.at(n)).collect();
        assert_eq!(all, ["!a:b", "x/y", "", "%41", "100%", ""]);
        assert_eq!(args.push("%ff"), None);
    }

    #[test]
    fn every_parameter_of_a_query_is_there() {
        let asked = asked(Method::GET, "/x?a=1&a=%41+b&&c", &[], "");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(asked.query_pairs(), [pair("a", "1"), pair("a", "A b"), pair("c", "")]);
    }

    #[test]
    fn a_query_is_decoded_as_a_form() {
        let query = "a=1&access%5Ftoken=x%2By+z&b";
        assert_eq!(query_value(query, "access_token").unwrap(), "x+y z");
        assert_eq!(query_value(query, "b").unwrap(), "");
        assert_eq!(query_value(query, "c"), None);
    }
}
