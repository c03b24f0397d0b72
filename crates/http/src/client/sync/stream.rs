//! `GET /events`: the old stream of all rooms, and with `room_id` of one that anyone may look into. Answers at once if there
//! is something, and sleeps otherwise; while it sleeps it holds no thread and no view.

use std::time::Duration;

use ::sync::{
    events::{self, Answer},
    messages::Reader,
};
use base::{Error, Reply, Seq, limits::LONG_POLL_MS_MAX};
use http::Method;
use ruma::OwnedRoomId;
use store::{Listener, RoomListener, View};
use tokio::time::Instant;

use super::sleep::woken;
use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{known, number, token},
        reader,
    },
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

/// How long to wait when the client does not say (the spec leaves it to us).
const TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// What wakes the sleeper.
enum Wakes {
    Own(Listener),
    Room(RoomListener),
}

impl Wakes {
    fn mark_seen(&mut self) {
        match self {
            Wakes::Own(own) => own.mark_seen(),
            Wakes::Room(room) => room.mark_seen(),
        }
    }

    /// Says whether to look again at once: who is in other rooms than before may have missed something there.
    fn listen_to(&self, answer: &Answer) -> bool {
        match self {
            Wakes::Own(own) => own.set_rooms(&answer.rooms),
            Wakes::Room(_) => false,
        }
    }

    async fn changed(&mut self) {
        match self {
            Wakes::Own(own) => own.changed().await,
            Wakes::Room(room) => room.changed().await,
        }
    }
}

fn read(
    view: &View,
    reader: &Reader<'_>,
    room: Option<&OwnedRoomId>,
    from: Option<Seq>,
) -> Reply<(Seq, Answer)> {
    // Without a token, what comes from now on.
    let from = from.unwrap_or(view.head());
    let answer = match room {
        Some(room) => events::of_room(view, reader, room, from)?,
        None => events::of_all(view, reader, from)?,
    };
    Ok((from, answer))
}

async fn get(mut outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let timeout = number(&asked, "timeout")?.unwrap_or(TIMEOUT_MS_DEFAULT).min(LONG_POLL_MS_MAX);
    let deadline = Instant::now() + Duration::from_millis(timeout);
    let from = token(&asked, "from")?.map(|token| token.seq);
    let room = asked.query("room_id").map(|id| OwnedRoomId::try_from(&*id)).transpose();
    let room = room.map_err(|_| Error::invalid_param("not a room id"))?;
    drop(asked);
    let mut wakes = match &room {
        None => Wakes::Own(outside.store.listen(caller.user)),
        Some(id) => {
            let (caller, id) = (caller.clone(), id.clone());
            let peeked = outside.store.read(move |v| events::peekable(v, &reader(&caller), &id));
            Wakes::Room(outside.store.listen_room(peeked.await?))
        }
    };
    wakes.mark_seen();
    let first = (caller.clone(), room.clone());
    let (from, mut answer) = outside
        .store
        .read(move |view| read(view, &reader(&first.0), first.1.as_ref(), from))
        .await?;
    while answer.empty && Instant::now() < deadline && !outside.stop.is_stopping() {
        if !wakes.listen_to(&answer) && !woken(wakes.changed(), deadline, &mut outside.stop).await {
            break;
        }
        wakes.mark_seen();
        let again = (caller.clone(), room.clone());
        (_, answer) = outside
            .store
            .read(move |view| read(view, &reader(&again.0), again.1.as_ref(), Some(from)))
            .await?;
    }
    Ok(Json::from(answer.body))
}

pub(super) fn routes() -> Routes {
    Routes::default().raw_flow(Method::GET, &["/_matrix/client/v3/events"], Auth::Required, get)
}
