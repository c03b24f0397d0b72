//! State events as clients see them: the stored text, with the room and what is not part of the event spliced in.

use base::Reply;
use protocol::{json::quote, pdu::for_clients};
use store::{View, event, event::Stored};

/// The event as a client sees it (spec: "ClientEvent"), as JSON text.
pub(crate) fn client_event(view: &View, event: &Stored, room_id: &str) -> Reply<String> {
    let text = for_clients(&event.row.kind, event.client())?;
    let open = text.strip_suffix('}').unwrap_or(&text);
    let mut unsigned = format!(r#"{{"age":{}"#, view.now().0.saturating_sub(event.row.sent_at.0));
    if let Some(before) = event.row.replaces {
        let before = event::load(view, before)?;
        let (content, id) = (before.content(), quote(before.id.as_str()));
        unsigned.push_str(&format!(r#","prev_content":{content},"replaces_state":{id}"#));
    }
    if let Some(by) = event.row.redacted_by {
        let by = client_event(view, &*event::load(view, by)?, room_id)?;
        unsigned.push_str(&format!(r#","redacted_because":{by}"#));
    }
    let room_id = quote(room_id);
    Ok(format!(r#"{open},"room_id":{room_id},"unsigned":{unsigned}}}}}"#))
}
