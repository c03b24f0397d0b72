//! Leaving, declining an invite, taking back a knock (`GET /make_leave`, `PUT /send_leave`).

use base::{Error, Event, Reply, Room};
use protocol::Pdu;
use ruma::{ServerName, UserId};
use serde_json::json;
use store::{Tx, View, schema::Standing};

use super::{Template, check_user, take, template::template};
use crate::membership;

/// The template of a leave event.
///
/// # Errors
/// 403 `M_FORBIDDEN` for who is neither in the room nor invited nor knocking, and for users of other servers.
pub fn propose(view: &View, room: Room, user: &UserId, origin: &ServerName) -> Reply<Template> {
    check_user(user, origin)?;
    match membership::standing(view, room, user)? {
        Some(Standing::Join | Standing::Invite | Standing::Knock) => {}
        _ => return Err(Error::forbidden("You are not in this room.")),
    }
    let mut content = serde_json::Map::new();
    content.insert("membership".to_owned(), json!("leave"));
    template(view, room, user, &content)
}

/// Takes the leave event, which [`super::Expected::check_own`] has let pass.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it; 400 `M_INVALID_PARAM` if it names unknown events.
pub fn accept(tx: &mut Tx, room: Room, pdu: &Pdu) -> Reply<Event> {
    take(tx, room, pdu)
}
