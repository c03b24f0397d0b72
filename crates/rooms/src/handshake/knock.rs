//! Asking to be let in, through this server (`GET /make_knock`, `PUT /send_knock`).

use base::{Event, Reply, Room};
use protocol::Pdu;
use ruma::{RoomVersionId, ServerName, UserId};
use serde_json::json;
use store::{Tx, View, event};

use super::{Template, check_user, check_version, check_whole, stripped, take, template::template};

/// The template of a knock. `known`: the versions that the other server knows.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it; 400 `M_INCOMPATIBLE_ROOM_VERSION`.
pub fn propose(
    view: &View,
    room: Room,
    user: &UserId,
    origin: &ServerName,
    known: &[RoomVersionId],
) -> Reply<Template> {
    check_user(user, origin)?;
    check_version(&super::version(view, room)?, known)?;
    check_whole(view, room)?;
    let mut content = serde_json::Map::new();
    content.insert("membership".to_owned(), json!("knock"));
    template(view, room, user, &content)
}

/// Takes the knock, which [`super::Expected::check_own`] has let pass.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it; 400 `M_INVALID_PARAM` if it names unknown events.
pub fn accept(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Event> {
    check_whole(tx, room)?;
    take(tx, room, pdu)
}

/// What whoever knocks may know of the room: the JSON body, with whole events.
///
/// # Errors
/// Faults of the store.
pub fn answer(view: &View, room: Room, knock: Event) -> Reply<String> {
    let before = event::load(view, knock)?.row.before;
    let state = stripped::whole(view, room, before)?;
    Ok(format!(r#"{{"knock_room_state":[{state}]}}"#))
}
