//! `POST /rooms/{roomId}/report`, `POST /rooms/{roomId}/report/{eventId}`, `POST /users/{userId}/report`.

use base::Reply;
use policy::report;
use ruma::api::client::{
    reporting::report_user,
    room::{report_content, report_room},
};
use store::Tx;

use crate::handler::{Caller, Routes};

fn room(
    tx: &mut Tx,
    caller: Caller,
    request: report_room::v3::Request,
) -> Reply<report_room::v3::Response> {
    report::room(tx, caller.user, &request.room_id, &request.reason)?;
    Ok(report_room::v3::Response::new())
}

fn event(
    tx: &mut Tx,
    caller: Caller,
    request: report_content::v3::Request,
) -> Reply<report_content::v3::Response> {
    let reason = request.reason.unwrap_or_default();
    report::event(tx, caller.user, &request.room_id, &request.event_id, &reason)?;
    Ok(report_content::v3::Response::new())
}

fn user(
    tx: &mut Tx,
    caller: Caller,
    request: report_user::v3::Request,
) -> Reply<report_user::v3::Response> {
    report::user(tx, caller.user, &request.user_id, &request.reason)?;
    Ok(report_user::v3::Response::new())
}

pub(super) fn routes() -> Routes {
    Routes::default().write(room).write(event).write(user)
}
