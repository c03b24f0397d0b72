//! `PUT /rooms/{roomId}/redact/{eventId}/{txnId}`.

use base::{Error, Reply};
use http::Method;
use rooms::{Txn, redact::Wanted};
use ruma::{EventId, RoomId};
use serde::Deserialize;
use serde_json::json;
use store::Tx;

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

/// Not ruma's type: it does not know of relations.
#[derive(Deserialize)]
struct Body {
    reason: Option<String>,
    /// MSC3912.
    #[serde(default, rename = "org.matrix.msc3912.with_relations")]
    with_relations: Vec<String>,
    /// The same by the name that it is to have.
    #[serde(default)]
    with_rel_types: Vec<String>,
}

fn redact(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = Caller::required(caller)?;
    let bad = |_| Error::invalid_param("the path needs a room id and an event id");
    let room_id = RoomId::parse(asked.arg(0)).map_err(bad)?;
    let target = EventId::parse(asked.arg(1)).map_err(bad)?;
    let body: Body = asked.json()?;
    let related = [body.with_relations, body.with_rel_types].concat();
    let wanted = Wanted { target: &target, reason: body.reason.as_deref(), related: &related };
    let path = format!("redact/{room_id}/{target}");
    let txn = Txn { device: &caller.device, path: &path, id: asked.arg(2) };
    let sent = rooms::redact::redact(tx, caller.user, &room_id, &wanted, caller.admin, txn)?;
    Ok(json!({ "event_id": sent }).to_string().into())
}

pub(super) fn routes() -> Routes {
    const PATHS: [&str; 2] = [
        "/_matrix/client/r0/rooms/{room_id}/redact/{event_id}/{txn_id}",
        "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}",
    ];
    Routes::default().raw_write(Method::PUT, &PATHS, Auth::Required, redact)
}
