//! A membership event that another server hands over, checked as far as that takes no transaction: form, signatures,
//! hashes (spec: Server-Server API, "Checks performed on receipt of a PDU", 1 to 3).

use base::{Error, Reply, Room};
use protocol::{Pdu, pdu::parse};
use rooms::handshake::{Expected, Template, join};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde_json::value::RawValue;
use store::schema::Standing;

use crate::{answer::Json, federation::admission, handler::Origin, outside::Outside};

/// What arrived under `/send_…/{roomId}/{eventId}`.
pub(super) struct Submission {
    pub(super) origin: Origin,
    pub(super) room_id: OwnedRoomId,
    pub(super) event_id: OwnedEventId,
    pub(super) pdu: Box<RawValue>,
    /// The membership that it has to have.
    pub(super) standing: Standing,
}

impl Submission {
    /// The room and the event, which is what the endpoint is for.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for a room in which this server is not, 403 `M_FORBIDDEN` by its ACL; 400 `M_INVALID_PARAM`.
    pub(super) async fn check(self, outside: &Outside) -> Reply<(Room, Pdu)> {
        let Submission { origin, room_id, event_id, pdu: raw, standing } = self;
        let (server, id) = (origin.server.clone(), room_id.clone());
        let read = outside.store.read(move |view| {
            let room = admission::enter(view, &id, &server)?;
            let version = rooms::handshake::version(view, room)?;
            let mut pdu = parse(&version, raw.get())?;
            let expected = Expected { room: &id, event: &event_id, origin: &server, standing };
            expected.check_own(&pdu)?;
            if join::is_ours_to_sign(&pdu, view.server_name()) {
                pdu.sign_also(&version, view.server_name(), view.signing_key())?;
            }
            Ok((room, version, pdu))
        });
        let (room, version, pdu) = read.await?;
        let pdu = genuine(outside, &version, pdu.to_federation(&version)).await?;
        Ok((room, pdu))
    }
}

/// The event, if those have signed it who have to.
///
/// # Errors
/// 400 `M_INVALID_PARAM`.
pub(super) async fn genuine(
    outside: &Outside,
    version: &RoomVersionId,
    text: String,
) -> Reply<Pdu> {
    let raw = RawValue::from_string(text).map_err(|e| Error::fault(format!("own JSON: {e}")))?;
    let mut checked = outside.peers.check(version, vec![raw]).await?;
    match checked.pop() {
        Some(Ok(pdu)) => Ok(pdu),
        Some(Err(no)) => Err(Error::invalid_param(no.message)),
        None => Err(Error::fault("one event was checked, and none came back")),
    }
}

/// A template as the answer to `/make_…`.
pub(super) fn proposal(template: &Template) -> Json {
    let version = protocol::json::quote(template.version.as_str());
    format!(r#"{{"event":{},"room_version":{version}}}"#, template.event).into()
}
