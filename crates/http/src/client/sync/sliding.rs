//! Sliding sync (MSC4186), in both shapes: answers at once if there is something, and sleeps otherwise as `/sync` does.

use std::{sync::Arc, time::Duration};

use ::sync::sliding::{self, Answer, Ask, Turn, wire_unstable, wire_v4};
use base::{Error, Reply, Seq, limits::LONG_POLL_MS_MAX};
use http::Method;
use store::{PresenceState, Tx, View, inbox};
use tokio::time::Instant;

use super::sleep::woken;
use crate::{
    answer::Json,
    asked::Asked,
    client::query::number,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_flow(
            Method::POST,
            &["/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"],
            Auth::Required,
            unstable,
        )
        .raw_flow(Method::POST, &["/_matrix/client/v4/sync"], Auth::Required, v4)
}

/// What is not asked of rooms.
struct Poll {
    conn_id: String,
    pos: Option<String>,
    timeout_ms: u64,
    presence: PresenceState,
}

async fn unstable(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = proven(caller)?;
    let mut body: wire_unstable::Body = asked.json()?;
    let poll = Poll {
        conn_id: body.conn_id.take().unwrap_or_default(),
        pos: asked.query("pos").map(|pos| pos.into_owned()),
        timeout_ms: number(&asked, "timeout")?.unwrap_or(0),
        presence: sliding::presence(asked.query("set_presence").as_deref())?,
    };
    let ask = body.ask(caller.user, caller.id, caller.device)?;
    answer(outside, ask, poll).await
}

async fn v4(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = proven(caller)?;
    let mut body: wire_v4::Body = asked.json()?;
    let poll = Poll {
        conn_id: body.conn_id.take().unwrap_or_default(),
        pos: body.pos.take(),
        timeout_ms: body.timeout.unwrap_or(0),
        presence: sliding::presence(body.set_presence.as_deref())?,
    };
    let ask = body.ask(caller.user, caller.id, caller.device)?;
    answer(outside, ask, poll).await
}

fn proven(caller: Option<Caller>) -> Reply<Caller> {
    caller.ok_or_else(|| Error::fault("an authenticated endpoint has no caller"))
}

async fn answer(mut outside: Outside, ask: Ask, poll: Poll) -> Reply<Json> {
    let deadline = Instant::now() + Duration::from_millis(poll.timeout_ms.min(LONG_POLL_MS_MAX));
    let mut listener = outside.store.listen(ask.user);
    listener.mark_seen();
    let present = outside.settings.presence;
    let mut present = present.then(|| outside.store.present(ask.user, &ask.device, poll.presence));
    let ask = Arc::new(ask);
    let (connections, first) = (outside.sliding.clone(), ask.clone());
    let begin = move |view: &View| {
        let pos = poll.pos.as_deref().filter(|pos| !pos.is_empty());
        let turn = connections.turn(first.user, &first.device, &poll.conn_id, pos, view.now())?;
        let had = match first.extensions.to_device.as_ref().and_then(|asked| asked.since) {
            Some(token) => inbox::acknowledged(view, first.user, &first.device, token.seq)?,
            None => Vec::new(),
        };
        let answer = sliding::sync(view, &first, &turn)?;
        Ok((Arc::new(turn), answer, had))
    };
    let (turn, mut answer, had): (Arc<Turn>, Answer, Vec<Seq>) = outside.store.read(begin).await?;
    if let Some(present) = &mut present {
        present.tell(&answer.rooms);
    }
    if !had.is_empty() {
        let ask = ask.clone();
        let acknowledge = move |tx: &mut Tx| inbox::forget(tx, ask.user, &ask.device, &had);
        outside.store.write(None, acknowledge).await?;
    }
    while answer.empty && Instant::now() < deadline && !outside.stop.is_stopping() {
        if !listener.set_rooms(&answer.rooms)
            && !woken(listener.changed(), deadline, &mut outside.stop).await
        {
            break;
        }
        listener.mark_seen();
        let (ask, turn) = (ask.clone(), turn.clone());
        answer = outside.store.read(move |view| sliding::sync(view, &ask, &turn)).await?;
    }
    Ok(Json::from(answer.body))
}
