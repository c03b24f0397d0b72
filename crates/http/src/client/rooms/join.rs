//! `POST /rooms/{roomId}/join`, `POST /join/{roomIdOrAlias}`, `POST /knock/{roomIdOrAlias}`.
//!
//! An alias says nothing of the room's lane, so it is resolved first.

use base::Reply;
use flows::appservice::query;
use ruma::{
    OwnedRoomId, OwnedRoomOrAliasId, RoomAliasId, RoomOrAliasId,
    api::client::{
        knock::knock_room,
        membership::{join_room_by_id, join_room_by_id_or_alias},
    },
};
use store::Tx;

use crate::{
    handler::{Caller, Routes},
    outside::{Outside, lane},
};

fn join_by_id(
    tx: &mut Tx,
    caller: Caller,
    request: join_room_by_id::v3::Request,
) -> Reply<join_room_by_id::v3::Response> {
    let room = <&RoomOrAliasId>::from(&*request.room_id);
    rooms::join::join(tx, caller.user, caller.guest, room, request.reason.as_deref())
        .map(join_room_by_id::v3::Response::new)
}

async fn join(
    outside: Outside,
    caller: Caller,
    request: join_room_by_id_or_alias::v3::Request,
) -> Reply<join_room_by_id_or_alias::v3::Response> {
    let (room, id) = resolve(&outside, request.room_id_or_alias).await?;
    let reason = request.reason;
    let joined = outside.store.write(Some(lane(id.as_str())), move |tx| {
        rooms::join::join(tx, caller.user, caller.guest, &room, reason.as_deref())
    });
    Ok(join_room_by_id_or_alias::v3::Response::new(joined.await?.value))
}

async fn knock(
    outside: Outside,
    caller: Caller,
    request: knock_room::v3::Request,
) -> Reply<knock_room::v3::Response> {
    let (room, id) = resolve(&outside, request.room_id_or_alias).await?;
    let reason = request.reason;
    let knocked = outside.store.write(Some(lane(id.as_str())), move |tx| {
        rooms::knock::knock(tx, caller.user, &room, reason.as_deref())
    });
    Ok(knock_room::v3::Response::new(knocked.await?.value))
}

/// What was asked for, and the id of the room that it is now. The transaction resolves it again.
async fn resolve(
    outside: &Outside,
    asked: OwnedRoomOrAliasId,
) -> Reply<(OwnedRoomOrAliasId, OwnedRoomId)> {
    if let Ok(alias) = <&RoomAliasId>::try_from(&*asked) {
        query::look_for_alias(&outside.store, &outside.bridges, alias).await?;
    }
    let id = asked.clone();
    let found = outside.store.read(move |view| {
        let room = rooms::alias::resolve(view, &id)?;
        store::room::id(view, room)
    });
    Ok((asked, found.await?))
}

pub(super) fn routes() -> Routes {
    Routes::default().write(join_by_id).flow(join).flow(knock)
}
