//! `POST /rooms/{roomId}/leave`, `…/forget`, `…/invite`, `…/kick`, `…/ban`, `…/unban`.

use base::{Error, Reply};
use flows::{
    appservice::query,
    journey::{Aim, Guest, Traveller},
};
use http::Method;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId,
    api::client::membership::{
        forget_room,
        invite_user::{self, v3::InvitationRecipient},
        leave_room, unban_user,
    },
};
use serde::Deserialize;
use store::Tx;

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::{Outside, lane},
};

/// A flow, because a room that this server is not in is left through another server.
async fn leave(
    outside: Outside,
    caller: Caller,
    request: leave_room::v3::Request,
) -> Reply<leave_room::v3::Response> {
    let leave_room::v3::Request { room_id: room, reason, .. } = request;
    let (at, id, why) = (caller.user, room.clone(), reason.clone());
    let left = outside.store.write(Some(lane(room.as_str())), move |tx| {
        let elsewhere = rooms::leave::elsewhere(tx, at, &id)?.is_some();
        if !elsewhere {
            rooms::leave::leave(tx, at, &id, why.as_deref())?;
        }
        Ok(!elsewhere)
    });
    if !left.await?.value {
        let who = Traveller { user: caller.user, id: caller.id };
        outside.journeys.leave(who, Aim { room, via: Vec::new(), reason }).await?;
    }
    Ok(leave_room::v3::Response::new())
}

fn forget(
    tx: &mut Tx,
    caller: Caller,
    request: forget_room::v3::Request,
) -> Reply<forget_room::v3::Response> {
    rooms::forget::forget(tx, caller.user, &request.room_id)?;
    Ok(forget_room::v3::Response::new())
}

/// A flow, because whom an application service answers for has to be asked for first, and other servers for their users.
async fn invite(
    outside: Outside,
    caller: Caller,
    request: invite_user::v3::Request,
) -> Reply<invite_user::v3::Response> {
    let InvitationRecipient::UserId(invite) = request.recipient else {
        let text = "invites by email or phone number need an identity server, which there is none";
        return Err(Error::refused(403, "M_THREEPID_DENIED", text));
    };
    if invite.user_id.server_name() != outside.settings.server_name {
        let (room, id, reason) = (request.room_id, invite.user_id, invite.reason);
        outside.journeys.invite(caller.user, Guest { room, id, reason, direct: false }).await?;
        return Ok(invite_user::v3::Response::new());
    }
    let invited = std::slice::from_ref(&invite.user_id);
    query::introduce(&outside.store, &outside.bridges, invited).await?;
    let (room, at) = (request.room_id, caller.user);
    let written = outside.store.write(Some(lane(room.as_str())), move |tx| {
        rooms::invite::invite(tx, at, &room, &invite.user_id, invite.reason.as_deref())
    });
    written.await?;
    Ok(invite_user::v3::Response::new())
}

/// Not ruma's types: they drop what clients of MSC4293 add.
#[derive(Deserialize)]
struct PutOut {
    user_id: OwnedUserId,
    reason: Option<String>,
    #[serde(default, rename = "org.matrix.msc4293.redact_events")]
    redact_events: bool,
}

fn kick(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let (caller, room_id, body) = put_out(caller, &asked)?;
    let (whom, reason, redact) = (&body.user_id, body.reason.as_deref(), body.redact_events);
    rooms::kick::kick(tx, caller.user, &room_id, whom, reason, redact)?;
    Ok("{}".to_owned().into())
}

fn ban(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let (caller, room_id, body) = put_out(caller, &asked)?;
    let (whom, reason, redact) = (&body.user_id, body.reason.as_deref(), body.redact_events);
    rooms::ban::ban(tx, caller.user, &room_id, whom, reason, redact)?;
    Ok("{}".to_owned().into())
}

fn put_out(caller: Option<Caller>, asked: &Asked) -> Reply<(Caller, OwnedRoomId, PutOut)> {
    let room_id = RoomId::parse(asked.arg(0))
        .map_err(|_| Error::invalid_param("the path needs a room id"))?;
    Ok((Caller::required(caller)?, room_id, asked.json()?))
}

fn unban(
    tx: &mut Tx,
    caller: Caller,
    request: unban_user::v3::Request,
) -> Reply<unban_user::v3::Response> {
    let reason = request.reason.as_deref();
    rooms::unban::unban(tx, caller.user, &request.room_id, &request.user_id, reason)?;
    Ok(unban_user::v3::Response::new())
}

pub(super) fn routes() -> Routes {
    const KICK: [&str; 2] =
        ["/_matrix/client/r0/rooms/{room_id}/kick", "/_matrix/client/v3/rooms/{room_id}/kick"];
    const BAN: [&str; 2] =
        ["/_matrix/client/r0/rooms/{room_id}/ban", "/_matrix/client/v3/rooms/{room_id}/ban"];
    Routes::default()
        .flow(leave)
        .write(forget)
        .flow(invite)
        .raw_write(Method::POST, &KICK, Auth::Required, kick)
        .raw_write(Method::POST, &BAN, Auth::Required, ban)
        .write(unban)
}
