//! Making an event: canonical JSON, limits, hash, signature, id.

use std::collections::BTreeMap;

use base::{Error, Fault, Reply};
use ruma::room_version_rules::RoomVersionRules;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId,
    ServerName,
};
use serde_json::value::RawValue;

use super::{
    AUTH_EVENTS_MAX, PDU_BYTES_MAX, PREV_EVENTS_MAX, Pdu, STICKY, check_field, content_hash,
    event_id_of, is_unnamed_create, protected_text, put, raw, redact, room_of_create, rules_of,
};
use crate::json::{self, Fields, INTEGER_MAX};
use crate::key::SigningKey;

/// An event before it is hashed and signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The room; `None` for the create event of a version 12 room, whose id follows from the event.
    pub room_id: Option<OwnedRoomId>,
    /// Who sends it.
    pub sender: OwnedUserId,
    /// The event's `type`.
    pub kind: String,
    /// Set for state events.
    pub state_key: Option<String>,
    /// The content as the client gave it.
    pub content: Box<RawValue>,
    /// What a redaction redacts. [`sign`](Draft::sign) puts it where the room version wants it; if
    /// it is `None`, a `redacts` in the content counts (Client-Server API, redactions through
    /// `/send`).
    pub redacts: Option<OwnedEventId>,
    /// The newest events of the room, at most 20.
    pub prev_events: Vec<OwnedEventId>,
    /// The events that [`select_auth_events`](crate::select_auth_events) names, at most 10.
    pub auth_events: Vec<OwnedEventId>,
    /// One more than the largest depth of `prev_events`; capped at 2^53 - 1.
    pub depth: u64,
    /// Milliseconds since 1970.
    pub origin_server_ts: u64,
}

impl Draft {
    /// Hashes and signs the event as `server` and gives it its id.
    ///
    /// # Errors
    /// 400 `M_BAD_JSON` if the content is not an object of canonical JSON, 413 `M_TOO_LARGE` if the
    /// event or one of its ids is over the limits, 400 `M_UNSUPPORTED_ROOM_VERSION`; a fault if
    /// there are too many `prev_events` or `auth_events`, or a room id is missing.
    pub fn sign(
        self,
        version: &RoomVersionId,
        server: &ServerName,
        key: &SigningKey,
    ) -> Reply<Pdu> {
        self.sign_sticky(version, server, key, None)
    }

    /// [`sign`](Draft::sign) with a stickiness in milliseconds (MSC4354), which stands beside the content, so that it is
    /// hashed, and lost by a redaction.
    ///
    /// # Errors
    /// As [`sign`](Draft::sign).
    pub fn sign_sticky(
        self,
        version: &RoomVersionId,
        server: &ServerName,
        key: &SigningKey,
        sticky_ms: Option<u64>,
    ) -> Reply<Pdu> {
        let rules = rules_of(version)?;
        let mut content = json::canonical_object(self.content.get())?;
        let redacts = place_redacts(rules, &self.kind, self.redacts.as_ref(), &mut content);
        let unnamed = is_unnamed_create(version, &self.kind);
        self.check(unnamed)?;
        let content_text = json::canonical_text(&content);
        redact::redact_content(rules, &self.kind, &mut content);
        let mut pdu = self.unsigned(redacts, &content_text, rules)?;
        if let Some(ms) = sticky_ms {
            pdu.extra.insert(STICKY.to_owned(), format!(r#"{{"duration_ms":{ms}}}"#));
        }

        let mut fields = pdu.fields(version);
        fields.remove("hashes");
        fields.remove("signatures");
        let hashes = format!(r#"{{"sha256":"{}"}}"#, content_hash(&fields));
        put(&mut fields, "hashes", hashes.as_str());
        let protected = protected_text(rules, &fields, &json::canonical_text(&content));
        let event_id = event_id_of(rules, &protected)?;
        let (server, key_id) = (json::quote(server.as_str()), json::quote(key.key_id()));
        let signature = key.sign(protected.as_bytes());
        let signatures = format!(r#"{{{server}:{{{key_id}:"{signature}"}}}}"#);
        put(&mut fields, "signatures", signatures.as_str());
        check_size(&fields)?;

        if unnamed {
            pdu.room_id = room_of_create(&event_id)?;
        }
        (pdu.event_id, pdu.hashes, pdu.signatures) = (event_id, hashes, signatures);
        Ok(pdu)
    }

    fn check(&self, unnamed: bool) -> Reply<()> {
        check_field("type", &self.kind)?;
        check_field("state_key", self.state_key.as_deref().unwrap_or_default())?;
        check_field("sender", self.sender.as_str())?;
        if self.prev_events.len() > PREV_EVENTS_MAX || self.auth_events.len() > AUTH_EVENTS_MAX {
            return Err(Error::fault("too many prev_events or auth_events"));
        }
        if unnamed == self.room_id.is_some() {
            return Err(Error::fault("a draft has a room id, unless it names the room"));
        }
        if self.origin_server_ts > INTEGER_MAX {
            return Err(Error::bad_json("origin_server_ts is out of range"));
        }
        Ok(())
    }

    /// The event with placeholders for what the hash gives.
    fn unsigned(
        self,
        redacts: Option<OwnedEventId>,
        content: &str,
        rules: &RoomVersionRules,
    ) -> Reply<Pdu> {
        let mut extra = BTreeMap::new();
        if let Some(id) = redacts.as_ref().filter(|_| !rules.redaction.content_field_redacts) {
            extra.insert("redacts".to_owned(), json::quote(id.as_str()));
        }
        let no_event = OwnedEventId::try_from("$unsigned");
        let no_room = OwnedRoomId::try_from("!unsigned");
        let (Ok(event_id), Ok(no_room)) = (no_event, no_room) else {
            return Err(Fault("placeholder ids".to_owned()).into());
        };
        Ok(Pdu {
            event_id,
            room_id: self.room_id.unwrap_or(no_room),
            sender: self.sender,
            kind: self.kind,
            state_key: self.state_key,
            content: raw(content.to_owned())?,
            origin_server_ts: self.origin_server_ts,
            depth: self.depth.min(INTEGER_MAX),
            prev_events: self.prev_events,
            auth_events: self.auth_events,
            redacts,
            hashes: String::new(),
            signatures: String::new(),
            extra,
        })
    }
}

/// Puts `redacts` of a redaction where the version has it, and returns it.
///
/// Version 11 moved it into the content; before, it is beside the content and a copy in the content
/// that the client sent is dropped.
fn place_redacts(
    rules: &RoomVersionRules,
    kind: &str,
    given: Option<&OwnedEventId>,
    content: &mut CanonicalJsonObject,
) -> Option<OwnedEventId> {
    if kind != "m.room.redaction" {
        return None;
    }
    let in_content = content.get("redacts").and_then(CanonicalJsonValue::as_str);
    let in_content = in_content.and_then(|id| OwnedEventId::try_from(id).ok());
    let target = given.cloned().or(in_content);
    if !rules.redaction.content_field_redacts {
        content.remove("redacts");
    } else if let Some(id) = &target {
        content.insert("redacts".to_owned(), id.as_str().into());
    }
    target
}

pub(super) fn check_size(fields: &Fields<'_>) -> Reply<()> {
    if json::object_text(fields).len() > PDU_BYTES_MAX {
        return Err(Error::too_large(format!("the event is larger than {PDU_BYTES_MAX} bytes")));
    }
    Ok(())
}
