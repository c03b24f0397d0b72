//! Making an event: canonical JSON, limits, hash, signature, id.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base::{Error, Fault, Reply};
use ruma::room_version_rules::RoomVersionRules;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, ServerName};
use serde_json::value::RawValue;

use super::redact::{as_fields, parts, redact_content};
use super::{
    AUTH_EVENTS_MAX, PDU_BYTES_MAX, PREV_EVENTS_MAX, Pdu, STICKY, check_field, content_hash,
    depth_max, event_id_of, is_unnamed_create, protected_text, put, raw, room_of_create, rules_of,
};
use crate::json::{self, Fields, INTEGER_MAX};
use crate::key::SigningKey;
use crate::version::event_ids_are_chosen;

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
    /// One more than the largest depth of `prev_events`; capped at 2^53 - 1, or 2^63 - 1 before
    /// version 6.
    pub depth: u64,
    /// Milliseconds since 1970.
    pub origin_server_ts: u64,
}

/// What an event of versions 1 and 2 has that does not follow from the event itself.
#[derive(Clone, Debug)]
pub struct Named {
    /// The id its server chose, `$opaque:domain`, where the domain is that server's.
    pub event_id: OwnedEventId,
    /// The reference hashes (see [`reference_hash`](super::reference_hash)) of all events that the
    /// draft names in `prev_events` and `auth_events`.
    pub hashes: BTreeMap<OwnedEventId, String>,
}

impl Draft {
    /// Hashes and signs the event as `server` and gives it its id.
    ///
    /// # Errors
    /// 400 `M_BAD_JSON` if the content is not an object, or since version 6 not of canonical JSON;
    /// 413 `M_TOO_LARGE` if the event or one of its ids is over the limits, 400
    /// `M_UNSUPPORTED_ROOM_VERSION`; a fault if there are too many `prev_events` or `auth_events`, a
    /// room id is missing, or the version wants [`sign_named`](Draft::sign_named).
    pub fn sign(
        self,
        version: &RoomVersionId,
        server: &ServerName,
        key: &SigningKey,
    ) -> Reply<Pdu> {
        self.sign_as(version, server, key, None, None)
    }

    /// [`sign`](Draft::sign), or with a name [`sign_named`](Draft::sign_named), with a stickiness in milliseconds
    /// (MSC4354), which stands beside the content, so that it is hashed, and lost by a redaction.
    ///
    /// # Errors
    /// As those.
    pub fn sign_sticky(
        self,
        version: &RoomVersionId,
        server: &ServerName,
        key: &SigningKey,
        named: Option<Named>,
        sticky_ms: Option<u64>,
    ) -> Reply<Pdu> {
        self.sign_as(version, server, key, named, sticky_ms)
    }

    /// The same for an event of versions 1 and 2, whose id is chosen.
    ///
    /// # Errors
    /// As [`sign`](Draft::sign); a fault if the version has no chosen ids, the id is not of this
    /// server, or a hash is missing.
    pub fn sign_named(
        self,
        version: &RoomVersionId,
        server: &ServerName,
        key: &SigningKey,
        named: Named,
    ) -> Reply<Pdu> {
        self.sign_as(version, server, key, Some(named), None)
    }

    fn sign_as(
        self,
        version: &RoomVersionId,
        server: &ServerName,
        key: &SigningKey,
        named: Option<Named>,
        sticky_ms: Option<u64>,
    ) -> Reply<Pdu> {
        let rules = rules_of(version)?;
        if named.is_some() != event_ids_are_chosen(version) {
            return Err(Error::fault("an event has a chosen id if its version wants one"));
        }
        let content =
            json::canonical(self.content.get(), rules.authorization.strict_canonical_json)?;
        let (content, redacts) = place_redacts(rules, &self.kind, self.redacts.as_ref(), &content)?;
        let unnamed = is_unnamed_create(version, &self.kind);
        self.check(unnamed)?;
        let redacted = redact_content(&rules.redaction, &self.kind, &content)?;
        let mut pdu = self.unsigned(redacts, &content, rules)?;
        if let Some(ms) = sticky_ms {
            pdu.extra.insert(STICKY.to_owned(), format!(r#"{{"duration_ms":{ms}}}"#));
        }
        if let Some(named) = &named {
            take_name(&mut pdu, named, server)?;
        }

        let mut fields = pdu.fields(version);
        fields.remove("hashes");
        fields.remove("signatures");
        let hashes = format!(r#"{{"sha256":"{}"}}"#, content_hash(&fields));
        put(&mut fields, "hashes", hashes.as_str());
        let protected = protected_text(rules, &fields, &redacted);
        let event_id = match named {
            Some(named) => named.event_id,
            None => event_id_of(rules, &protected)?,
        };
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
            depth: self.depth.min(depth_max(rules)),
            prev_events: self.prev_events,
            auth_events: self.auth_events,
            redacts,
            hashes: String::new(),
            signatures: String::new(),
            extra,
        })
    }
}

/// Gives an event its chosen id, and its references their hashes.
fn take_name(pdu: &mut Pdu, named: &Named, server: &ServerName) -> Reply<()> {
    if named.event_id.server_name() != Some(server) {
        return Err(Error::fault("a chosen event id is of another server"));
    }
    check_field("event_id", named.event_id.as_str())?;
    pdu.event_id = named.event_id.clone();
    for (field, ids) in [("auth_events", &pdu.auth_events), ("prev_events", &pdu.prev_events)] {
        let mut pairs = Vec::with_capacity(ids.len());
        for id in ids {
            let hash = named.hashes.get(id);
            let hash = hash.ok_or_else(|| Error::fault(format!("no reference hash of {id}")))?;
            let (id, hash) = (json::quote(id.as_str()), json::quote(hash));
            pairs.push(format!(r#"[{id},{{"sha256":{hash}}}]"#));
        }
        pdu.extra.insert(field.to_owned(), format!("[{}]", pairs.join(",")));
    }
    Ok(())
}

/// Puts `redacts` of a redaction where the version has it, and returns the content and it.
///
/// Version 11 moved it into the content; before, it is beside the content and a copy in the content
/// that the client sent is dropped.
fn place_redacts<'a>(
    rules: &RoomVersionRules,
    kind: &str,
    given: Option<&OwnedEventId>,
    content: &'a str,
) -> Reply<(Cow<'a, str>, Option<OwnedEventId>)> {
    if kind != "m.room.redaction" {
        return Ok((Cow::Borrowed(content), None));
    }
    let within = parts(content)?;
    let in_content = within.get("redacts").and_then(|id| serde_json::from_str(id.get()).ok());
    let target = given.cloned().or(in_content);
    let mut fields = as_fields(&within);
    if !rules.redaction.content_field_redacts {
        fields.remove("redacts");
    } else if let Some(id) = &target {
        put(&mut fields, "redacts", json::quote(id.as_str()));
    }
    Ok((Cow::Owned(json::object_text(&fields)), target))
}

pub(super) fn check_size(fields: &Fields<'_>) -> Reply<()> {
    if json::object_text(fields).len() > PDU_BYTES_MAX {
        return Err(Error::too_large(format!("the event is larger than {PDU_BYTES_MAX} bytes")));
    }
    Ok(())
}
