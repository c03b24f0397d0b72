//! Waiting for what the other side or the server does.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use matrix_sdk::Error;
use serde_json::Value;
use tokio::time::sleep;

pub const WAIT: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_millis(50);
const AWAY: Duration = Duration::from_millis(250);
const SERVER_TROUBLE: u16 = 500;

/// A string among the arguments.
pub fn word<'a>(args: &'a Value, name: &str) -> Result<&'a str> {
    args.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"))
}

/// Looks until there is something.
pub async fn until<T, Look, Seen>(what: &str, look: Look) -> Result<T>
where
    Look: Fn() -> Seen,
    Seen: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + WAIT;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited {WAIT:?} for {what}");
        }
        sleep(AGAIN).await;
    }
}

/// Does it again for as long as the server cannot be reached.
pub async fn insist<T, Work, Done>(work: Work) -> Result<T>
where
    Work: Fn() -> Done,
    Done: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + WAIT;
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error) if is_away(&error) && Instant::now() < end => sleep(AWAY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether nobody answered, or somebody who cannot at the moment.
pub fn is_away(error: &Error) -> bool {
    match error {
        Error::Http(http) => http
            .as_client_api_error()
            .is_none_or(|refusal| refusal.status_code.as_u16() >= SERVER_TROUBLE),
        _ => false,
    }
}
