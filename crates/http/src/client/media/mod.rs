//! Media: upload, download, thumbnails. One endpoint, or one tight family of them, per file.

mod config;
mod download;
mod frozen;
mod part;
mod preview;
mod serve;
mod thumbnail;
mod upload;

#[cfg(test)]
mod tests;

pub(crate) use self::thumbnail::wanted;

use std::time::Duration;

use base::{Error, Reply};
use tokio::time::timeout;

use crate::{
    asked::Asked,
    handler::{Caller, Routes},
    outside::{Outside, Stop},
};

/// The routes of this area.
pub(crate) fn routes() -> Routes {
    Routes::default()
        .and(upload::routes())
        .and(download::routes())
        .and(thumbnail::routes())
        .and(config::routes())
        .and(preview::routes())
        .and(frozen::routes())
}

/// Endpoints with [`crate::Auth::Required`] have one.
fn proven(caller: Option<Caller>) -> Reply<Caller> {
    caller.ok_or_else(|| Error::refused(401, "M_MISSING_TOKEN", "missing access token"))
}

/// Sees to it that media of another server is here: server and id are the first arguments of the path.
async fn fetch(outside: &Outside, asked: &Asked) -> Reply<()> {
    let (origin, media_id) = (asked.arg(0), asked.arg(1));
    let settings = &outside.settings;
    if origin == settings.server_name || !settings.federation_enabled {
        return Ok(());
    }
    if outside.media.holds(origin, media_id).await? {
        return Ok(());
    }
    outside.journeys.fetch_media(origin, media_id, settings.max_upload).await
}

/// How long a client waits for media that is not uploaded yet, if it does not say.
const TIMEOUT_MS: u64 = 20_000;
/// And whatever it says: the spec wants a maximum, proxies give up not much later.
const TIMEOUT_MS_MAX: u64 = 60_000;

/// The parameter `timeout_ms`.
pub(crate) fn patience(asked: &Asked) -> Reply<Duration> {
    let ms = match asked.query("timeout_ms") {
        None => TIMEOUT_MS,
        Some(text) => {
            text.parse().map_err(|_| Error::invalid_param("timeout_ms is not a number"))?
        }
    };
    Ok(Duration::from_millis(ms.min(TIMEOUT_MS_MAX)))
}

/// Is ready when it is time to answer that media is not there yet.
pub(crate) async fn give_up(mut stop: Stop, patience: Duration) {
    let _either_way = timeout(patience, stop.stopped()).await;
}
