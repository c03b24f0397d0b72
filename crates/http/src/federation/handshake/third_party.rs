//! `PUT /exchange_third_party_invite/{roomId}` and `PUT /3pid/onbind`.

use std::time::Duration;

use base::{Error, Reply};
use flows::peers::Patience;
use http::Method;
use protocol::pdu::parse;
use rooms::{
    handshake::third_party::{self, Exchange},
    remote::{self, Outcome},
};
use ruma::{
    OwnedUserId,
    api::federation::{membership::create_invite::v2 as create_invite, thirdparty::bind_callback},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    client::query::room_id,
    federation::admission,
    handler::{Anyone, Origin, Routes},
    outside::{Outside, lane},
};

/// How long the server of the invited user may take to sign.
const SIGNING_TIME_MAX: Duration = Duration::from_secs(20);

pub(super) fn routes() -> Routes {
    let path = ["/_matrix/federation/v1/exchange_third_party_invite/{roomId}"];
    Routes::default().raw_server_flow(Method::PUT, &path, exchange).read(on_bind)
}

/// The server of a user who was invited by mail address asks for an invite of the user. It is made here, signed by that
/// server, and put into the room.
async fn exchange(outside: Outside, origin: Origin, asked: Asked) -> Reply<Json> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "type")]
        kind: String,
        room_id: Option<String>,
        sender: OwnedUserId,
        state_key: OwnedUserId,
        content: Box<RawValue>,
    }
    let body: Body = asked.json()?;
    let id = room_id(&asked)?;
    let same_room = body.room_id.as_deref().is_none_or(|room| room == id.as_str());
    if body.kind != "m.room.member" || !same_room {
        return Err(Error::invalid_param("not a membership event of this room"));
    }
    let exchange = Exchange { sender: body.sender, invitee: body.state_key, content: body.content };
    third_party::check(&exchange, &outside.settings.server_name, &origin.server)?;
    let queue = lane(id.as_str());
    let server = origin.server.clone();
    let prepared = outside.store.write(Some(queue), move |tx| {
        let room = admission::enter(tx, &id, &server)?;
        let pdu = third_party::issue(tx, room, &exchange)?;
        let version = rooms::handshake::version(tx, room)?;
        let shown = rooms::handshake::shown(tx, room)?;
        Ok((room, version, pdu, shown))
    });
    let (room, version, pdu, shown) = prepared.await?.value;
    let raw = |text: String| {
        RawValue::from_string(text).map_err(|e| Error::fault(format!("own JSON: {e}")))
    };
    let shown = serde_json::from_str(&shown)
        .map_err(|e| Error::fault(format!("own state of a room: {e}")))?;
    let request = create_invite::Request::new(
        pdu.room_id.clone(),
        pdu.event_id.clone(),
        version.clone(),
        raw(pdu.to_federation(&version))?,
        shown,
    );
    let patience = Patience { timeout: SIGNING_TIME_MAX, insist: true, ..Patience::default() };
    let answer = outside.peers.request(&origin.server, request, patience).await?;
    let copy = parse(&version, answer.event.get()).ok();
    let mut signed = pdu;
    if !copy.is_some_and(|copy| signed.take_signatures(&copy, &origin.server)) {
        return Err(Error::refused(502, "M_UNKNOWN", "the other server did not sign the invite"));
    }
    let write = outside.store.write(Some(queue), move |tx| remote::receive(tx, room, &signed));
    match write.await?.value {
        Outcome::Accepted(_) | Outcome::Known(_) => Ok("{}".to_owned().into()),
        Outcome::SoftFailed(_, rule) | Outcome::Rejected(_, rule) => Err(Error::forbidden(rule)),
        Outcome::Missing(_) | Outcome::Unsigned => {
            Err(Error::fault("an event of ours names what is not here"))
        }
    }
}

/// Identity servers tell here that an address was bound. This server asks none to, and believes none.
fn on_bind(
    _: &View,
    _: Anyone,
    _: bind_callback::v1::Request,
) -> Reply<bind_callback::v1::Response> {
    Err(Error::forbidden("This server works with no identity server."))
}
