//! Can an application service be reached (spec: Application Service API, "Pinging")?

use std::time::{Duration, Instant};

use base::{Error, Reply};
use bytes::Bytes;
use egress::Failure;
use http::Method;
use protocol::appservice::Registration;
use serde_json::json;

use super::{Ask, Bridges};

/// Someone waits for it in front of a terminal.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Characters that are passed on of what an application service answered.
const BODY_CHARS_MAX: usize = 4_096;

/// How long a ping takes.
///
/// # Errors
/// 400 `M_URL_NOT_SET`; 502 `M_CONNECTION_FAILED`; 502 `M_BAD_STATUS` with `status` and `body`; 504
/// `M_CONNECTION_TIMEOUT`.
pub async fn ping(
    bridges: &Bridges,
    service: &Registration,
    transaction: Option<&str>,
) -> Reply<Duration> {
    if service.url.is_none() {
        let text = "The application service has no URL.";
        return Err(Error::refused(400, "M_URL_NOT_SET", text));
    }
    let body = match transaction {
        Some(id) => json!({ "transaction_id": id }),
        None => json!({}),
    };
    let ask = Ask {
        method: Method::POST,
        path: &["ping"],
        legacy: &[],
        query: &[],
        body: Bytes::from(body.to_string()),
        timeout: TIMEOUT,
    };
    let began = Instant::now();
    match bridges.ask(service, &ask).await {
        Ok(answer) if answer.status.is_success() => {
            bridges.is_awake(service);
            // In whole milliseconds, and some take 0 for no answer.
            Ok(began.elapsed().max(Duration::from_millis(1)))
        }
        Ok(answer) => {
            let status = answer.status.as_u16();
            let text = String::from_utf8_lossy(&answer.body);
            let text: String = text.chars().take(BODY_CHARS_MAX).collect();
            let no = Error::refusal(502, "M_BAD_STATUS", format!("Ping returned status {status}"));
            Err(no.with("status", status).with("body", text).into())
        }
        Err(Failure::Timeout) => {
            let text = "The application service did not answer in time.";
            Err(Error::refused(504, "M_CONNECTION_TIMEOUT", text))
        }
        Err(failure) => Err(Error::refused(502, "M_CONNECTION_FAILED", failure.to_string())),
    }
}
