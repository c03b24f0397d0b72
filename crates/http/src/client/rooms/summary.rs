//! `GET /room_summary/{roomIdOrAlias}`, and the paths that it had before (MSC3266).

use base::{Error, Reply};
use http::Method;
use ruma::OwnedRoomOrAliasId;
use serde_json::Value;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    summary(view, caller, &asked, false)
}

fn get_unstable(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    summary(view, caller, &asked, true)
}

fn summary(view: &View, caller: Option<Caller>, asked: &Asked, unstable: bool) -> Reply<Json> {
    let id = OwnedRoomOrAliasId::try_from(asked.arg(0));
    let id = id.map_err(|_| Error::invalid_param("neither a room id nor an alias"))?;
    let summary = rooms::summary::summary(view, caller.map(|c| c.user), &id, unstable)?;
    Ok(Value::Object(summary).to_string().into())
}

pub(super) fn routes() -> Routes {
    let unstable = [
        "/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary",
        "/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}",
    ];
    let stable = ["/_matrix/client/v1/room_summary/{roomIdOrAlias}"];
    Routes::default().raw_read(Method::GET, &stable, Auth::Optional, get).raw_read(
        Method::GET,
        &unstable,
        Auth::Optional,
        get_unstable,
    )
}
