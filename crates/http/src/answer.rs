//! From what an endpoint returns to an HTTP response.

use base::{Error, Refusal, Reply};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};
use ruma::api::{IncomingRequest, OutgoingResponse, OutgoingResponseExt as _};

use crate::{asked::Asked, body::Body};

/// A finished response.
pub type Response = http::Response<Body>;

/// JSON text that is ready: nothing parses it again.
#[derive(Clone, Debug)]
pub struct Json(pub Bytes);

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json(text.into())
    }
}

/// A response made by hand, for what is not JSON or has a status of its own.
#[derive(Debug)]
pub struct Raw(pub Response);

/// What an endpoint for the request type `R` may return: ruma's response to it, [`Json`] or [`Raw`].
pub trait Answer<R> {
    /// The response.
    ///
    /// # Errors
    /// A fault if it cannot be written as HTTP.
    fn render(self) -> Reply<Response>;
}

impl<R, T> Answer<R> for T
where
    R: IncomingRequest<OutgoingResponse = T>,
    T: OutgoingResponse,
{
    fn render(self) -> Reply<Response> {
        let response = self
            .try_into_http_response::<BytesMut>()
            .map_err(|error| Error::fault(format!("cannot render a response: {error}")))?;
        Ok(response.map(|body| Body::from(body.freeze())))
    }
}

macro_rules! handmade {
    ($($request:ty $(, $param:ident: $bound:ident)?;)*) => { $(
        impl$(<$param: $bound>)? Answer<$request> for Json {
            fn render(self) -> Reply<Response> {
                Ok(json(StatusCode::OK, self.0))
            }
        }
        impl$(<$param: $bound>)? Answer<$request> for Raw {
            fn render(self) -> Reply<Response> {
                Ok(self.0)
            }
        }
    )* }
}
handmade! {
    R, R: IncomingRequest;
    Asked;
}

/// A response of JSON text.
pub(crate) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The response that says no (spec: "Standard error response"). An empty errcode is left out, with the message:
/// user-interactive authentication answers with its own fields only.
pub(crate) fn refusal(refusal: Refusal) -> Response {
    let Refusal { status, errcode, message, mut extra, retry_after_ms } = refusal;
    if !errcode.is_empty() {
        extra.insert("errcode".to_owned(), errcode.into());
        extra.insert("error".to_owned(), message.into());
    }
    if let Some(ms) = retry_after_ms {
        extra.insert("retry_after_ms".to_owned(), ms.into());
    }
    let text = serde_json::Value::Object(extra).to_string();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, text);
    if let Some(ms) = retry_after_ms {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    response
}

/// Adds the headers that let web pages of any origin call us (spec: "Web Browser Clients"; MSC4108 for tags).
pub(crate) fn allow_origins(response: &mut Response) {
    let headers = response.headers_mut();
    headers.reserve(CORS.len());
    for (name, value) in &CORS {
        headers.insert(name, value.clone());
    }
}

static CORS: [(HeaderName, HeaderValue); 4] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "X-Requested-With, Content-Type, Authorization, If-Match, If-None-Match",
        ),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Retry-After, Content-Disposition, ETag"),
    ),
];

/// 500, for a fault that was logged under this id.
pub(crate) fn fault(incident: &str) -> Response {
    refusal(Error::refusal(500, "M_UNKNOWN", format!("internal error, incident {incident}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response) -> String {
        String::from_utf8(response.into_body().into_bytes().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_refusal_has_code_text_and_its_own_fields() {
        let mut no = Error::refusal(401, "M_UNKNOWN_TOKEN", "gone").with("soft_logout", true);
        no.retry_after_ms = Some(1_001);
        let response = refusal(no);
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let value: serde_json::Value = serde_json::from_str(&text(response)).unwrap();
        let expected = serde_json::json!({
            "errcode": "M_UNKNOWN_TOKEN", "error": "gone", "soft_logout": true, "retry_after_ms": 1001
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn an_interactive_refusal_has_no_code() {
        let no = Error::refusal(401, "", "").with("session", "abc");
        assert_eq!(text(refusal(no)), r#"{"session":"abc"}"#);
    }
}
