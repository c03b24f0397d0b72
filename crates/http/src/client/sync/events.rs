//! `GET /sync`: answers at once if there is something, and sleeps otherwise until the log moves for the caller.
//! While it sleeps it holds no thread and no view.

use std::{sync::Arc, time::Duration};

use ::sync::{
    Token,
    v3::{self, Answer, Ask, Compiled, StateAfter},
};
use base::{Error, Reply, limits::LONG_POLL_MS_MAX};
use http::Method;
use store::{PresenceState, Tx, inbox};
use tokio::time::Instant;

use super::sleep::woken;
use crate::{
    answer::Json,
    asked::Asked,
    client::query::{flag, number},
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    Routes::default().raw_flow(
        Method::GET,
        &["/_matrix/client/v3/sync", "/_matrix/client/r0/sync"],
        Auth::Required,
        get,
    )
}

async fn get(mut outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = caller.ok_or_else(|| Error::fault("an authenticated endpoint has no caller"))?;
    let timeout =
        Duration::from_millis(number(&asked, "timeout")?.unwrap_or(0).min(LONG_POLL_MS_MAX));
    let deadline = Instant::now() + timeout;
    let since = match asked.query("since") {
        Some(text) if !text.is_empty() => Some(Token::parse(&text)?),
        _ => None,
    };
    let full_state = flag(&asked, "full_state")?;
    let (state_after, wanted) = (state_after(&asked)?, set_presence(&asked)?);
    let filter = asked.query("filter").map(|f| f.into_owned());
    drop(asked);

    let user = caller.user;
    let present = outside.settings.presence;
    let mut present = present.then(|| outside.store.present(user, &caller.device, wanted));
    let mut listener = outside.store.listen(user);
    listener.mark_seen();
    let (ask, mut answer, had) = outside
        .store
        .read(move |view| {
            let filter = ::sync::filter::of_sync(view, user, filter.as_deref())?;
            let filter = Arc::new(Compiled::new(&filter));
            let Caller { user, id, device, .. } = caller;
            let log_scan_max = v3::LOG_SCAN_MAX;
            let ask = Ask {
                user,
                user_id: id,
                device,
                since,
                full_state,
                state_after,
                filter,
                log_scan_max,
            };
            let had = match ask.since {
                Some(token) => inbox::acknowledged(view, user, &ask.device, token.inbox())?,
                None => Vec::new(),
            };
            let answer = v3::sync(view, &ask)?;
            Ok((Arc::new(ask), answer, had))
        })
        .await?;
    if let Some(present) = &mut present {
        present.tell(&answer.rooms);
    }
    if !had.is_empty() {
        let ask = ask.clone();
        let acknowledge = move |tx: &mut Tx| inbox::forget(tx, user, &ask.device, &had);
        outside.store.write(None, acknowledge).await?;
    }
    while answer.empty && !full_state && Instant::now() < deadline && !outside.stop.is_stopping() {
        if !listener.set_rooms(&answer.rooms)
            && !woken(listener.changed(), deadline, &mut outside.stop).await
        {
            break;
        }
        listener.mark_seen();
        let ask = ask.clone();
        answer = outside.store.read(move |view| v3::sync(view, &ask)).await?;
    }
    let Answer { body, .. } = answer;
    Ok(Json::from(body))
}

/// How the client wants a room's state.
fn state_after(asked: &Asked) -> Reply<StateAfter> {
    Ok(if flag(asked, "use_state_after")? {
        StateAfter::Stable
    } else if flag(asked, "org.matrix.msc4222.use_state_after")? {
        StateAfter::Unstable
    } else {
        StateAfter::No
    })
}

/// How present syncing makes the user.
fn set_presence(asked: &Asked) -> Reply<PresenceState> {
    let Some(word) = asked.query("set_presence") else { return Ok(PresenceState::Online) };
    let state = PresenceState::parse(&word);
    state.ok_or_else(|| Error::invalid_param("set_presence is no presence"))
}
