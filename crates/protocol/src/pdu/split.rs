//! The two halves an event is stored as: what clients see, and what only servers need.

use base::Reply;
use ruma::{RoomId, RoomVersionId};

use super::redact::{as_fields, parts, text_of};
use super::{Pdu, STICKY, is_unnamed_create, put};
use crate::json::{self, Fields};
use crate::version::event_ids_are_chosen;

/// An event in two JSON objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `content`, `event_id`, `origin_server_ts`, `sender`, `type`, and `state_key`, `redacts`
    /// and `msc4354_sticky` if the event has them. No `room_id` and no `unsigned`: a reader drops the last `}` and
    /// appends `,"unsigned":{…}}` or `,"room_id":"…"}`.
    pub client: String,
    /// Everything else but `room_id`.
    pub rest: String,
}

/// Splits an event for storage. [`join`] puts it together again, byte for byte.
#[must_use]
pub fn split(pdu: &Pdu) -> Stored {
    let mut client = Fields::new();
    put(&mut client, "content", pdu.content.get());
    put(&mut client, "event_id", json::quote(pdu.event_id.as_str()));
    put(&mut client, "origin_server_ts", pdu.origin_server_ts.to_string());
    put(&mut client, "sender", json::quote(pdu.sender.as_str()));
    put(&mut client, "type", json::quote(&pdu.kind));
    if let Some(state_key) = &pdu.state_key {
        put(&mut client, "state_key", json::quote(state_key));
    }
    let mut rest = Fields::new();
    for (key, value) in &pdu.extra {
        if key == "redacts" || key == STICKY {
            client.insert(key.as_str().into(), value.as_str().into());
        } else {
            rest.insert(key.as_str().into(), value.as_str().into());
        }
    }
    pdu.put_references(&mut rest);
    put(&mut rest, "depth", pdu.depth.to_string());
    put(&mut rest, "hashes", pdu.hashes.as_str());
    put(&mut rest, "signatures", pdu.signatures.as_str());
    Stored { client: json::object_text(&client), rest: json::object_text(&rest) }
}

/// The event in federation format, as canonical JSON text, from its two halves.
///
/// # Errors
/// A fault if the halves are not what [`split`] makes.
pub fn join(version: &RoomVersionId, room_id: &RoomId, client: &str, rest: &str) -> Reply<String> {
    let (client, rest) = (parts(client)?, parts(rest)?);
    let mut fields = as_fields(&client);
    if !event_ids_are_chosen(version) {
        fields.remove("event_id");
    }
    fields.append(&mut as_fields(&rest));
    if !is_unnamed_create(version, &text_of(&client, "type")?) {
        put(&mut fields, "room_id", json::quote(room_id.as_str()));
    }
    Ok(json::object_text(&fields))
}
