//! `GET /joined_rooms`, `GET /rooms/{roomId}/members`, `GET /rooms/{roomId}/joined_members`.
//!
//! Of a room that was joined without its members, those who ask for members wait until they are here, but not for long:
//! then they are told of those who are.

use std::time::Duration;

use base::{Error, Reply};
use ruma::{
    RoomId,
    api::client::membership::{get_member_events, joined_members, joined_rooms},
    events::room::member::MembershipState,
};
use store::{View, schema::Standing};
use sync::{Token, state::Wanted};

use crate::{
    answer::Json,
    client::reader,
    handler::{Caller, Routes},
    outside::Outside,
};

/// How long who asks for all members waits for them: clients give up after half a minute.
const PATIENCE: Duration = Duration::from_secs(20);

fn all_joined(
    view: &View,
    caller: Caller,
    _: joined_rooms::v3::Request,
) -> Reply<joined_rooms::v3::Response> {
    rooms::members::joined_rooms(view, caller.user).map(joined_rooms::v3::Response::new)
}

async fn members(
    outside: Outside,
    caller: Caller,
    request: get_member_events::v3::Request,
) -> Reply<Json> {
    let at = request.at.as_deref().map(Token::parse).transpose()?.map(|token| token.seq);
    let wanted = Wanted {
        membership: standing(request.membership)?,
        not_membership: standing(request.not_membership)?,
    };
    let (id, room) = (request.room_id.clone(), request.room_id);
    let read = move |view: &View| {
        ::sync::state::members(view, &reader(&caller), &id, at, wanted).map(Json::from)
    };
    settled(&outside, &room, read).await
}

fn standing(membership: Option<MembershipState>) -> Reply<Option<Standing>> {
    let Some(membership) = membership else { return Ok(None) };
    let known = Standing::parse(membership.as_str());
    known.map(Some).ok_or_else(|| Error::invalid_param("there is no such membership"))
}

async fn joined(
    outside: Outside,
    caller: Caller,
    request: joined_members::v3::Request,
) -> Reply<Json> {
    let (id, room) = (request.room_id.clone(), request.room_id);
    let read = move |view: &View| ::sync::state::joined(view, caller.user, &id).map(Json::from);
    settled(&outside, &room, read).await
}

/// Reads when all members of the room are known, or it is time to answer.
async fn settled(
    outside: &Outside,
    room: &RoomId,
    read: impl Fn(&View) -> Reply<Json> + Clone + Send + 'static,
) -> Reply<Json> {
    let (id, first) = (room.to_owned(), read.clone());
    let (partial, answer) = outside
        .store
        .read(move |view| {
            let answer = first(view)?;
            Ok((rooms::elsewhere::is_partial(view, &id)?, answer))
        })
        .await?;
    if !partial {
        return Ok(answer);
    }
    outside.journeys.settled(room, PATIENCE).await?;
    outside.store.read(read).await
}

pub(super) fn routes() -> Routes {
    Routes::default().read(all_joined).flow(members).flow(joined)
}
