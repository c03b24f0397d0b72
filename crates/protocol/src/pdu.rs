//! Events: from a draft to a signed PDU, from federation bytes to a PDU, and to and from the two
//! halves they are stored as.
//!
//! Spec: Server-Server API, "PDUs" and "Signing events"; Room Versions, "Event format";
//! Client-Server API, "Size limits". Invariant: `content`, `hashes`, `signatures` and `extra` of a
//! [`Pdu`] are canonical JSON text, so that the event's bytes can be put together again by sorting
//! its fields.

mod cosign;
mod draft;
mod read;
mod redact;
mod split;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base::{Error, Fault, Reply};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ruma::room_version_rules::{EventIdFormatVersion, RoomVersionRules};
use ruma::serde::{Base64, base64::Standard};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId, ServerName,
    SigningKeyAlgorithm, UserId,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

pub use self::draft::{Draft, Named};
pub use self::read::parse;
pub use self::redact::{for_clients, redact_client, redact_rest};
pub use self::split::{Stored, join, split};
use crate::json::{self, Fields, INTEGER_MAX};
use crate::version::event_ids_are_chosen;

/// The most bytes of a whole event as canonical JSON, signatures included (spec: Size limits).
pub const PDU_BYTES_MAX: usize = 65_536;
/// The most bytes of `sender`, `room_id`, `state_key`, `type` and `event_id` (spec: Size limits).
pub const FIELD_BYTES_MAX: usize = 255;
/// The most `prev_events` of an event (spec: Room Versions, Event format).
pub const PREV_EVENTS_MAX: usize = 20;
/// The most `auth_events` of an event (spec: Room Versions, Event format).
pub const AUTH_EVENTS_MAX: usize = 10;
/// The signatures of one server on one event that are looked at.
pub const SIGNATURES_MAX: usize = 8;
/// The field beside `content` that makes an event sticky (MSC4354, unstable name): an object with `duration_ms`.
pub const STICKY: &str = "msc4354_sticky";
/// No event is sticky for longer, in milliseconds (MSC4354).
pub const STICKY_MS_MAX: u64 = 3_600_000;
/// The largest integer where canonical JSON is not enforced, 2^63 - 1: an `int64` (spec:
/// Server-Server API, PDUs).
const INT64_MAX: u64 = (1 << 63) - 1;

/// A complete event as servers exchange it ("persistent data unit"), signed and with its id.
#[derive(Clone, Debug)]
pub struct Pdu {
    /// The reference hash of the event, with `$`; in versions 1 and 2 the id its server chose.
    pub event_id: OwnedEventId,
    /// The room. For a version 12 create event it follows from the event id and is not in the JSON.
    pub room_id: OwnedRoomId,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// The event's `type`.
    pub kind: String,
    /// There for state events only; may be empty.
    pub state_key: Option<String>,
    /// The content, an object, in canonical JSON.
    pub content: Box<RawValue>,
    /// When its server says that it was sent, in milliseconds since 1970.
    pub origin_server_ts: u64,
    /// One more than the largest depth of the events before it.
    pub depth: u64,
    /// The newest events its server knew.
    pub prev_events: Vec<OwnedEventId>,
    /// The state events that allow it.
    pub auth_events: Vec<OwnedEventId>,
    /// What a redaction redacts, whether the version keeps it in `content` or beside it.
    pub redacts: Option<OwnedEventId>,
    /// The value of `hashes`, as canonical JSON text.
    pub hashes: String,
    /// The value of `signatures`, as canonical JSON text.
    pub signatures: String,
    /// Top-level fields without a place above (`redacts` among them where the version has it
    /// there), each with its value as canonical JSON text. In versions 1 and 2 also `prev_events` and
    /// `auth_events`, which hold hashes beside the ids. `unsigned` is never kept.
    pub extra: BTreeMap<String, String>,
}

impl Pdu {
    /// Whether this is a state event.
    #[must_use]
    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }

    /// The content read as `T`, or `None` if it has another shape.
    #[must_use]
    pub fn content_as<'a, T: serde::Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.content.get()).ok()
    }

    /// Whether the `sha256` in `hashes` is the hash of the content as it is. If not, the event was
    /// changed on its way, and a server goes on with the redacted event (spec: Checks performed on
    /// receipt of a PDU, 3).
    #[must_use]
    pub fn content_hash_holds(&self, version: &RoomVersionId) -> bool {
        let mut fields = self.fields(version);
        fields.remove("hashes");
        fields.remove("signatures");
        let claimed: Option<BTreeMap<String, String>> = serde_json::from_str(&self.hashes).ok();
        claimed.is_some_and(|map| map.get("sha256") == Some(&content_hash(&fields)))
    }

    /// Whether a server has put any signature on the event. Its validity is checked on receipt.
    #[must_use]
    pub fn is_signed_by(&self, server: &str) -> bool {
        let signatures: Option<BTreeMap<String, BTreeMap<String, String>>> =
            serde_json::from_str(&self.signatures).ok();
        signatures.is_some_and(|map| map.get(server).is_some_and(|keys| !keys.is_empty()))
    }

    /// The ids of the keys with which a server has signed the event, at most [`SIGNATURES_MAX`].
    #[must_use]
    pub fn keys_of(&self, server: &ServerName) -> Vec<String> {
        let signatures: Option<BTreeMap<String, BTreeMap<String, String>>> =
            serde_json::from_str(&self.signatures).ok();
        let keys = signatures.and_then(|mut map| map.remove(server.as_str())).unwrap_or_default();
        keys.into_keys().take(SIGNATURES_MAX).collect()
    }

    /// The event as redaction leaves it, which is what counts of one whose content does not have its hash (spec:
    /// Checks performed on receipt of a PDU, 3). Its id stays.
    ///
    /// # Errors
    /// A fault if the fields are not canonical JSON.
    pub fn redacted(mut self, version: &RoomVersionId) -> Reply<Pdu> {
        let rules = rules_of(version)?;
        let content = redact::redact_content(&rules.redaction, &self.kind, self.content.get())?;
        self.content = raw(content)?;
        self.extra.retain(|key, _| redact::keeps(rules, key));
        if !rules.redaction.keep_room_redaction_redacts {
            self.redacts = None;
        }
        Ok(self)
    }

    /// The servers that must have signed the event (spec: Server-Server API, "Validating hashes and
    /// signatures on received events"): the sender's, unless the event is an invite that stands for a
    /// third-party invite; in versions 1 and 2 that of the event id; since version 8 that of the user
    /// who authorises a restricted join.
    #[must_use]
    pub fn required_signers(&self, version: &RoomVersionId) -> BTreeSet<OwnedServerName> {
        #[derive(serde::Deserialize)]
        struct Member<'a> {
            #[serde(borrow, default)]
            membership: Cow<'a, str>,
            third_party_invite: Option<serde_json::Map<String, serde_json::Value>>,
            join_authorised_via_users_server: Option<OwnedUserId>,
        }
        let mut servers = BTreeSet::new();
        let member = Some(()).filter(|()| self.kind == "m.room.member");
        let member = member.and_then(|()| self.content_as::<Member<'_>>());
        let by_third_party =
            |m: &Member<'_>| m.membership == "invite" && m.third_party_invite.is_some();
        if !member.as_ref().is_some_and(by_third_party) {
            servers.insert(self.sender.server_name().to_owned());
        }
        let Some(rules) = crate::version::rules(version) else { return servers };
        if rules.signatures.check_event_id_server {
            servers.extend(self.event_id.server_name().map(ServerName::to_owned));
        }
        if rules.signatures.check_join_authorised_via_users_server {
            let inviter = member.and_then(|m| m.join_authorised_via_users_server);
            servers.extend(inviter.map(|id| UserId::server_name(&id).to_owned()));
        }
        servers
    }

    /// Whether the signature that `server` made with this key is there and holds. The public key is
    /// the 32 bytes of ed25519.
    #[must_use]
    pub fn signature_holds(
        &self,
        version: &RoomVersionId,
        server: &ServerName,
        key_id: &str,
        public_key: &[u8],
    ) -> bool {
        let signatures: Option<BTreeMap<String, BTreeMap<String, String>>> =
            serde_json::from_str(&self.signatures).ok();
        let signature = signatures
            .as_ref()
            .and_then(|servers| servers.get(server.as_str())?.get(key_id))
            .and_then(|text| Base64::<Standard>::parse(text).ok());
        let (Some(signature), Ok(rules)) = (signature, rules_of(version)) else { return false };
        let Ok(content) = redact::redact_content(&rules.redaction, &self.kind, self.content.get())
        else {
            return false;
        };
        let text = protected_text(rules, &self.fields(version), &content);
        ruma::signatures::verify_canonical_json_bytes(
            &SigningKeyAlgorithm::Ed25519,
            public_key,
            signature.as_bytes(),
            text.as_bytes(),
        )
        .is_ok()
    }

    /// The event in federation format, as canonical JSON text.
    #[must_use]
    pub fn to_federation(&self, version: &RoomVersionId) -> String {
        json::object_text(&self.fields(version))
    }

    /// All fields of the event in federation format.
    fn fields(&self, version: &RoomVersionId) -> Fields<'_> {
        let mut fields = Fields::new();
        for (key, value) in &self.extra {
            fields.insert(Cow::Borrowed(key), Cow::Borrowed(value));
        }
        self.put_references(&mut fields);
        if event_ids_are_chosen(version) {
            put(&mut fields, "event_id", json::quote(self.event_id.as_str()));
        }
        put(&mut fields, "content", self.content.get());
        put(&mut fields, "depth", self.depth.to_string());
        put(&mut fields, "hashes", self.hashes.as_str());
        put(&mut fields, "origin_server_ts", self.origin_server_ts.to_string());
        if !is_unnamed_create(version, &self.kind) {
            put(&mut fields, "room_id", json::quote(self.room_id.as_str()));
        }
        put(&mut fields, "sender", json::quote(self.sender.as_str()));
        put(&mut fields, "signatures", self.signatures.as_str());
        if let Some(state_key) = &self.state_key {
            put(&mut fields, "state_key", json::quote(state_key));
        }
        put(&mut fields, "type", json::quote(&self.kind));
        fields
    }

    /// Puts the lists of events in, where `extra` has not put them in with their hashes.
    fn put_references<'a>(&self, fields: &mut Fields<'a>) {
        for (key, ids) in [("auth_events", &self.auth_events), ("prev_events", &self.prev_events)] {
            if !fields.contains_key(key) {
                put(fields, key, json::quote_all(ids));
            }
        }
    }
}

/// Whether an event of this type has no `room_id`, because the room is named after it.
fn is_unnamed_create(version: &RoomVersionId, kind: &str) -> bool {
    kind == "m.room.create" && crate::version::room_id_is_create_id(version)
}

fn put<'a>(fields: &mut Fields<'a>, key: &'static str, value: impl Into<Cow<'a, str>>) {
    fields.insert(Cow::Borrowed(key), value.into());
}

/// The largest `depth` (spec: Room Versions, "Event format").
fn depth_max(rules: &RoomVersionRules) -> u64 {
    if rules.authorization.strict_canonical_json { INTEGER_MAX } else { INT64_MAX }
}

/// The rules of a version, or the refusal a client gets for an unknown one.
fn rules_of(version: &RoomVersionId) -> Reply<&'static RoomVersionRules> {
    crate::version::rules(version).ok_or_else(|| {
        let text = format!("room version {version} is not supported");
        Error::refused(400, "M_UNSUPPORTED_ROOM_VERSION", text)
    })
}

/// The content hash (spec: Server-Server API, "Calculating the content hash for an event") of
/// fields that have no `hashes`, `signatures` and `unsigned`.
fn content_hash(fields: &Fields<'_>) -> String {
    STANDARD_NO_PAD.encode(Sha256::digest(json::object_text(fields).as_bytes()))
}

/// The text that is signed, and whose hash names the event: the redacted event without `signatures`
/// (spec: Server-Server API, "Calculating the reference hash for an event").
fn protected_text(rules: &RoomVersionRules, fields: &Fields<'_>, redacted_content: &str) -> String {
    let mut kept: Fields<'_> = fields
        .iter()
        .filter(|(key, _)| key.as_ref() != "signatures" && redact::keeps(rules, key))
        .map(|(key, value)| (Cow::Borrowed(key.as_ref()), Cow::Borrowed(value.as_ref())))
        .collect();
    put(&mut kept, "content", redacted_content);
    json::object_text(&kept)
}

/// The reference hash of an event in federation format, in unpadded base64, as events of versions 1
/// and 2 name it beside its id (spec: Server-Server API, "Calculating the reference hash for an
/// event"). A redacted event has the hash of the whole one.
///
/// # Errors
/// A fault if the text is not what [`join`] or [`Pdu::to_federation`] makes.
pub fn reference_hash(version: &RoomVersionId, text: &str) -> Reply<String> {
    let rules = rules_of(version)?;
    let parts = redact::parts(text)?;
    let kind = redact::text_of(&parts, "type")?;
    let content = parts.get("content").map_or("{}", |value| value.get());
    let content = redact::redact_content(&rules.redaction, &kind, content)?;
    let protected = protected_text(rules, &redact::as_fields(&parts), &content);
    Ok(STANDARD_NO_PAD.encode(Sha256::digest(protected.as_bytes())))
}

/// The event id of a protected text (spec: Room Versions, "Event IDs").
fn event_id_of(rules: &RoomVersionRules, protected: &str) -> Reply<OwnedEventId> {
    let hash = Sha256::digest(protected.as_bytes());
    let text = match rules.event_id_format {
        EventIdFormatVersion::V2 => STANDARD_NO_PAD.encode(hash),
        _ => URL_SAFE_NO_PAD.encode(hash),
    };
    let id = OwnedEventId::try_from(format!("${text}"));
    id.map_err(|error| Fault(format!("event id: {error}")).into())
}

/// The room a create event of version 12 or later makes.
fn room_of_create(event_id: &OwnedEventId) -> Reply<OwnedRoomId> {
    let id = event_id.as_str().replacen('$', "!", 1);
    OwnedRoomId::try_from(id).map_err(|error| Fault(format!("room id: {error}")).into())
}

/// Text that this crate made, as a raw value.
fn raw(text: String) -> Reply<Box<RawValue>> {
    RawValue::from_string(text).map_err(|error| Fault(format!("own JSON: {error}")).into())
}

fn check_field(name: &str, value: &str) -> Reply<()> {
    if value.len() > FIELD_BYTES_MAX {
        let text = format!("`{name}` is longer than {FIELD_BYTES_MAX} bytes");
        return Err(Error::too_large(text));
    }
    Ok(())
}
