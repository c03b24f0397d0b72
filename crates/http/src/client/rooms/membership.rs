//! `POST /rooms/{roomId}/leave`, `…/forget`, `…/invite`, `…/kick`, `…/ban`, `…/unban`.

use base::{Error, Reply};
use flows::appservice::query;
use ruma::api::client::membership::{
    ban_user, forget_room,
    invite_user::{self, v3::InvitationRecipient},
    kick_user, leave_room, unban_user,
};
use store::Tx;

use crate::{
    handler::{Caller, Routes},
    outside::{Outside, lane},
};

fn leave(
    tx: &mut Tx,
    caller: Caller,
    request: leave_room::v3::Request,
) -> Reply<leave_room::v3::Response> {
    rooms::leave::leave(tx, caller.user, &request.room_id, request.reason.as_deref())?;
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

/// A flow, because whom an application service answers for has to be asked for first.
async fn invite(
    outside: Outside,
    caller: Caller,
    request: invite_user::v3::Request,
) -> Reply<invite_user::v3::Response> {
    let InvitationRecipient::UserId(invite) = request.recipient else {
        let text = "invites by email or phone number need an identity server, which there is none";
        return Err(Error::refused(403, "M_THREEPID_DENIED", text));
    };
    let invited = std::slice::from_ref(&invite.user_id);
    query::introduce(&outside.store, &outside.bridges, invited).await?;
    let (room, at) = (request.room_id, caller.user);
    let written = outside.store.write(Some(lane(room.as_str())), move |tx| {
        rooms::invite::invite(tx, at, &room, &invite.user_id, invite.reason.as_deref())
    });
    written.await?;
    Ok(invite_user::v3::Response::new())
}

fn kick(
    tx: &mut Tx,
    caller: Caller,
    request: kick_user::v3::Request,
) -> Reply<kick_user::v3::Response> {
    let reason = request.reason.as_deref();
    rooms::kick::kick(tx, caller.user, &request.room_id, &request.user_id, reason)?;
    Ok(kick_user::v3::Response::new())
}

fn ban(
    tx: &mut Tx,
    caller: Caller,
    request: ban_user::v3::Request,
) -> Reply<ban_user::v3::Response> {
    let reason = request.reason.as_deref();
    rooms::ban::ban(tx, caller.user, &request.room_id, &request.user_id, reason)?;
    Ok(ban_user::v3::Response::new())
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
    Routes::default().write(leave).write(forget).flow(invite).write(kick).write(ban).write(unban)
}
