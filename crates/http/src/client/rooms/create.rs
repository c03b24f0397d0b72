//! `POST /createRoom`.

use base::Reply;
use flows::{appservice::query, journey::Guest};
use futures_util::{StreamExt as _, stream};
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::client::room::create_room::v3::{Request, Response},
};

use super::alias::check_free;
use crate::{
    handler::{Caller, Routes},
    outside::Outside,
};

/// Servers that are shown invites at once.
const AT_ONCE: usize = 4;

async fn create(outside: Outside, caller: Caller, request: Request) -> Reply<Response> {
    let settings = &outside.settings;
    if let Some(name) = &request.room_alias_name {
        let alias = format!("#{name}:{}", settings.server_name);
        check_free(&settings.appservices, &caller, &alias)?;
    }
    query::introduce(&outside.store, &outside.bridges, &request.invite).await?;
    let version = settings.default_room_version.clone();
    let other = |id: &&OwnedUserId| id.server_name() != settings.server_name;
    let guests: Vec<OwnedUserId> = request.invite.iter().filter(other).cloned().collect();
    let direct = request.is_direct;
    let made = outside
        .store
        .write(None, move |tx| rooms::create::create(tx, caller.user, &version, &request));
    let room = made.await?.value;
    invite_all(&outside, &caller, &room, guests, direct).await;
    Ok(Response::new(room))
}

/// Users of other servers are invited when there is something to be invited to. The room is there then, whatever becomes
/// of it.
async fn invite_all(
    outside: &Outside,
    caller: &Caller,
    room: &OwnedRoomId,
    guests: Vec<OwnedUserId>,
    direct: bool,
) {
    let invites = stream::iter(guests).map(|id| async move {
        let guest = Guest { room: room.clone(), id: id.clone(), reason: None, direct };
        if let Err(no) = outside.journeys.invite(caller.user, guest).await {
            tracing::info!(%id, %no, "not invited into a new room");
        }
    });
    invites.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

pub(super) fn routes() -> Routes {
    Routes::default().flow(create)
}
