//! One request to a gateway.

use std::time::Duration;

use egress::{Egress, Request, Trust};
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use notify::gateway::rejected;

/// For a gateway to answer.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Its answer is a list of a few keys.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It knows.
    Told,
    /// It wants to hear nothing more for this key.
    Rejected,
    /// It could not be told.
    Failed(String),
}

/// Tells a gateway.
pub(super) async fn post(egress: &Egress, url: &str, body: String, pushkey: &str) -> Outcome {
    let url = match url.parse() {
        Ok(url) => url,
        Err(e) => return Outcome::Failed(format!("no usable URL: {e}")),
    };
    let mut request = Request::new(Method::POST, url, Trust::Public);
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.body = body.into();
    request.timeout = TIME_MAX;
    request.body_max = ANSWER_BYTES_MAX;
    match egress.send(request).await {
        Ok(answer) if answer.status.is_success() => {
            match rejected(&answer.body).iter().any(|key| key == pushkey) {
                true => Outcome::Rejected,
                false => Outcome::Told,
            }
        }
        Ok(answer) => Outcome::Failed(format!("status {}", answer.status.as_u16())),
        Err(failure) => Outcome::Failed(failure.to_string()),
    }
}
