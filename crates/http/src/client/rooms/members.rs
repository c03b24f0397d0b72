//! `GET /joined_rooms`, `GET /rooms/{roomId}/members`, `GET /rooms/{roomId}/joined_members`.

use base::{Error, Reply};
use ruma::{
    api::client::membership::{get_member_events, joined_members, joined_rooms},
    events::room::member::MembershipState,
};
use store::{View, schema::Standing};
use sync::{Token, state::Wanted};

use crate::{
    answer::Json,
    client::reader,
    handler::{Caller, Routes},
};

fn all_joined(
    view: &View,
    caller: Caller,
    _: joined_rooms::v3::Request,
) -> Reply<joined_rooms::v3::Response> {
    rooms::members::joined_rooms(view, caller.user).map(joined_rooms::v3::Response::new)
}

fn members(view: &View, caller: Caller, request: get_member_events::v3::Request) -> Reply<Json> {
    let at = request.at.as_deref().map(Token::parse).transpose()?.map(|token| token.seq);
    let wanted = Wanted {
        membership: standing(request.membership)?,
        not_membership: standing(request.not_membership)?,
    };
    ::sync::state::members(view, &reader(&caller), &request.room_id, at, wanted).map(Json::from)
}

fn standing(membership: Option<MembershipState>) -> Reply<Option<Standing>> {
    let Some(membership) = membership else { return Ok(None) };
    let known = Standing::parse(membership.as_str());
    known.map(Some).ok_or_else(|| Error::invalid_param("there is no such membership"))
}

fn joined(view: &View, caller: Caller, request: joined_members::v3::Request) -> Reply<Json> {
    ::sync::state::joined(view, caller.user, &request.room_id).map(Json::from)
}

pub(super) fn routes() -> Routes {
    Routes::default().read(all_joined).read(members).read(joined)
}
