//! Proposing a membership event to the server that is to make it.

use base::{Error, Reply, Room, limits::PREV_EVENTS_MAX};
use protocol::{Draft, Verdict, authorize, select_auth_events, version::event_ids_are_chosen};
use ruma::{OwnedEventId, RoomVersionId, UserId};
use serde_json::{Map, Value};
use store::{View, room};

use crate::{
    append::raw,
    chosen,
    ground::{self, Ground},
};

/// An event that another server is to complete, hash, name and sign.
#[derive(Clone, Debug)]
pub struct Template {
    /// The version of the room.
    pub version: RoomVersionId,
    /// The event, as JSON text.
    pub event: String,
}

/// A membership event of a user about themselves, as this server would make it now if the user were its own.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it.
pub(super) fn template(
    view: &View,
    room: Room,
    user: &UserId,
    content: &Map<String, Value>,
) -> Reply<Template> {
    const KIND: &str = "m.room.member";
    let version = ground::version(&*room::info(view, room)?)?;
    let head = room::head(view, room)?;
    let id = room::id(view, room)?;
    let state = Ground::new(view, head.state);
    let content = raw(content)?;
    let mut auth_events = Vec::with_capacity(5);
    for (kind, key) in select_auth_events(&version, KIND, user, Some(user.as_str()), &content) {
        if let Some(event) = state.find(kind, &key)? {
            auth_events.push(event.event_id.clone());
        }
    }
    let newest = head.extremities.iter().rev().take(PREV_EVENTS_MAX);
    let prev_events = newest.map(|event| ground::event_id(view, *event)).collect::<Reply<_>>()?;
    let draft = Draft {
        room_id: Some(id.clone()),
        sender: user.to_owned(),
        kind: KIND.to_owned(),
        state_key: Some(user.to_string()),
        content,
        redacts: None,
        prev_events,
        auth_events,
        depth: head.depth + 1,
        origin_server_ts: view.now().0,
    };
    let named = match event_ids_are_chosen(&version) {
        false => None,
        true => {
            let own = OwnedEventId::try_from(format!("$template:{}", view.server_name()))
                .map_err(|e| Error::fault(format!("own event id: {e}")))?;
            let named: Vec<_> = draft.prev_events.iter().chain(&draft.auth_events).collect();
            Some(chosen::named_as(view, own, &version, &id, &named)?)
        }
    };
    // Signed, because the rules ask whether the server signed that lets a user into a restricted room.
    let pdu = draft.sign_sticky(&version, view.server_name(), view.signing_key(), named, None)?;
    let verdict = authorize(ground::rules(&version)?, &state, &pdu);
    state.settle()?;
    match verdict {
        Verdict::Accept => Ok(Template { event: pdu.to_template(&version), version }),
        Verdict::Reject(rule) => Err(Error::forbidden(rule.to_string())),
        Verdict::Missing(ids) => Err(Error::fault(format!("our own state misses {ids:?}"))),
    }
}
