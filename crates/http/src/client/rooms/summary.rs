//! `GET /room_summary/{roomIdOrAlias}`, and the paths that it had before (MSC3266). Of rooms that this server is not in, who
//! is logged in is told what others say.

use base::{Error, Reply};
use http::Method;
use ruma::{OwnedRoomId, OwnedRoomOrAliasId, RoomAliasId, RoomId};
use serde_json::Value;

use crate::{
    answer::Json,
    asked::Asked,
    client::query::via,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

async fn get(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    summary(outside, caller, asked, false).await
}

async fn get_unstable(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    summary(outside, caller, asked, true).await
}

async fn summary(
    outside: Outside,
    caller: Option<Caller>,
    asked: Asked,
    unstable: bool,
) -> Reply<Json> {
    let id = OwnedRoomOrAliasId::try_from(asked.arg(0));
    let mut id = id.map_err(|_| Error::invalid_param("neither a room id nor an alias"))?;
    let user = caller.map(|caller| caller.user);
    if let Some(user) = user.filter(|_| outside.settings.federation_enabled) {
        let mut via = via(&asked);
        if let Ok(alias) = <&RoomAliasId>::try_from(&*id)
            && alias.server_name() != outside.settings.server_name
        {
            let (room, servers) = outside.journeys.resolve(alias).await?;
            via.extend(servers);
            id = room.into();
        }
        if let Ok(room) = OwnedRoomId::try_from(id.as_str())
            && is_elsewhere(&outside, &room).await?
        {
            let summary = outside.journeys.room_summary(user, room, via, unstable).await?;
            return Ok(Value::Object(summary).to_string().into());
        }
    }
    let summary = outside.store.read(move |v| rooms::summary::summary(v, user, &id, unstable));
    Ok(Value::Object(summary.await?).to_string().into())
}

async fn is_elsewhere(outside: &Outside, room: &RoomId) -> Reply<bool> {
    let room = room.to_owned();
    outside.store.read(move |view| rooms::elsewhere::is_id_elsewhere(view, &room)).await
}

pub(super) fn routes() -> Routes {
    let unstable = [
        "/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary",
        "/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}",
    ];
    let stable = ["/_matrix/client/v1/room_summary/{roomIdOrAlias}"];
    Routes::default().raw_flow(Method::GET, &stable, Auth::Optional, get).raw_flow(
        Method::GET,
        &unstable,
        Auth::Optional,
        get_unstable,
    )
}
