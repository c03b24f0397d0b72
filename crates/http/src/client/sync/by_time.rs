//! `GET /rooms/{roomId}/timestamp_to_event`, and the path that it had before (MSC3030).

use ::sync::by_time::{self, Found};
use base::{Error, Reply, UnixMs};
use flows::journey::past;
use http::Method;
use ruma::{OwnedEventId, OwnedRoomId};
use store::{Direction, View};

use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{direction, known, room_id},
        reader,
    },
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

/// What is asked.
#[derive(Clone)]
struct Question {
    caller: Caller,
    room: OwnedRoomId,
    at: UnixMs,
    way: Direction,
}

/// A flow, because where this server does not have all of the room's history, others are asked (spec).
async fn get(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let at = asked.query("ts").ok_or_else(|| Error::missing_param("ts is missing"))?;
    let at: i64 = at.parse().map_err(|_| Error::invalid_param("ts is no number"))?;
    // Before the epoch there was nothing.
    let at = UnixMs(u64::try_from(at).unwrap_or(0));
    let (room, way) = (room_id(&asked)?, direction(&asked, None)?);
    let question = Question { caller, room, at, way };
    let (found, gaps) = question.look(&outside).await?;
    if gaps.is_empty() {
        return question.answer(found);
    }
    let theirs = outside.journeys.event_by_time(&question.room, at, way).await?;
    let Some(theirs) = theirs.filter(|(_, sent_at)| question.is_nearer(*sent_at, &found)) else {
        return question.answer(found);
    };
    // It may lie in what is fetched next anyway. Then it is known, too, whether it may be shown.
    if !outside.journeys.look_back(&question.room, gaps).await? {
        return question.answer(Some(told(theirs)));
    }
    let id = theirs.0.clone();
    let here = outside.store.read(move |view| past::is_known(view, &id)).await?;
    let (found, _) = question.look(&outside).await?;
    match here {
        true => question.answer(found),
        false => question.answer(Some(told(theirs))),
    }
}

fn told((id, sent_at): (OwnedEventId, UnixMs)) -> (String, UnixMs) {
    (id.to_string(), sent_at)
}

/// What is nearest here, and the gaps of the room in which there may be something nearer.
type Looked = (Option<(String, UnixMs)>, Vec<OwnedEventId>);

impl Question {
    async fn look(&self, outside: &Outside) -> Reply<Looked> {
        let (question, far) = (self.clone(), outside.settings.federation_enabled);
        outside.store.read(move |view| question.look_here(view, far)).await
    }

    fn look_here(&self, view: &View, far: bool) -> Reply<Looked> {
        let reader = reader(&self.caller);
        let Found { room, nearest } = by_time::find(view, &reader, &self.room, self.at, self.way)?;
        if !far {
            return Ok((nearest, Vec::new()));
        }
        // What is missing was sent before what follows it.
        let later_than = match (self.way, &nearest) {
            (Direction::Forward, _) => self.at,
            (Direction::Backward, Some((_, sent_at))) => *sent_at,
            (Direction::Backward, None) => UnixMs(0),
        };
        Ok((nearest, past::gaps_later_than(view, room, later_than)?))
    }

    fn is_nearer(&self, sent_at: UnixMs, than: &Option<(String, UnixMs)>) -> bool {
        than.as_ref().is_none_or(|(_, than)| match self.way {
            Direction::Forward => sent_at < *than,
            Direction::Backward => sent_at > *than,
        })
    }

    fn answer(&self, found: Option<(String, UnixMs)>) -> Reply<Json> {
        by_time::answer(found, self.at, self.way).map(Json::from)
    }
}

pub(super) fn routes() -> Routes {
    let paths = [
        "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event",
        "/_matrix/client/unstable/org.matrix.msc3030/rooms/{roomId}/timestamp_to_event",
    ];
    Routes::default().raw_flow(Method::GET, &paths, Auth::Required, get)
}
