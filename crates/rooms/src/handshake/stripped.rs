//! What somebody outside is shown of a room (spec: Client-Server API, "Stripped state"): given as whole events, since
//! version 1.16, and shown to clients without what only servers need.

use base::{Error, Event, Reply, Room};
use protocol::{Pdu, json::quote, room::STRIPPED_STATE};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    View,
    pdu::Wire,
    state::{self, Root},
};

/// Events that another server may show of a room, and their bytes together.
pub const STATE_EVENTS_MAX: usize = 64;
const STATE_BYTES_MAX: usize = 256 << 10;

/// The events that describe a room in a version of its state, as whole events with commas between them.
pub(super) fn whole(view: &View, room: Room, root: Root) -> Reply<String> {
    let mut events: Vec<Event> = Vec::with_capacity(STRIPPED_STATE.len());
    for kind in STRIPPED_STATE {
        events.extend(state::get(view, root, kind, "")?);
    }
    let mut out = String::new();
    Wire::of(view, room)?.append(view, &events, &mut out)?;
    Ok(out)
}

/// What another server shows of a room with an invite or a knock, as clients see it: a JSON array, with the membership
/// event `last`. What is no state event is left out.
///
/// # Errors
/// 400 `M_INVALID_PARAM` if it is too much.
pub fn stripped<'a>(
    shown: impl IntoIterator<Item = &'a RawValue>,
    last: Option<&Pdu>,
) -> Reply<String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: String,
        state_key: String,
        sender: String,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let mut parts = Vec::new();
    for event in shown.into_iter().take(STATE_EVENTS_MAX) {
        let Ok(event) = serde_json::from_str::<Event<'_>>(event.get()) else { continue };
        if !protocol::json::is_object(event.content.get().as_bytes()) {
            continue;
        }
        let (kind, key) = (&event.kind, &event.state_key);
        let own = |pdu: &Pdu| pdu.kind == *kind && pdu.state_key.as_ref() == Some(key);
        if !last.is_some_and(own) {
            parts.push(text(kind, key, &event.sender, event.content.get()));
        }
    }
    if let Some(pdu) = last {
        let key = pdu.state_key.as_deref().unwrap_or_default();
        parts.push(text(&pdu.kind, key, pdu.sender.as_str(), pdu.content.get()));
    }
    let all = format!("[{}]", parts.join(","));
    if all.len() > STATE_BYTES_MAX {
        return Err(Error::invalid_param("too much state is shown of the room"));
    }
    Ok(all)
}

fn text(kind: &str, state_key: &str, sender: &str, content: &str) -> String {
    let (kind, state_key, sender) = (quote(kind), quote(state_key), quote(sender));
    format!(r#"{{"content":{content},"sender":{sender},"state_key":{state_key},"type":{kind}}}"#)
}
