//! Redaction (spec: Room Versions, "Redactions") of stored events, and what redactions look like to
//! clients.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base::{Error, Reply};
use ruma::RoomVersionId;
use ruma::room_version_rules::{RedactionRules, RoomVersionRules};
use serde_json::value::RawValue;

use super::{put, rules_of};
use crate::json::{self, Fields};

/// Whether redaction keeps this top-level field.
pub(super) fn keeps(rules: &RoomVersionRules, key: &str) -> bool {
    match key {
        "event_id" | "type" | "room_id" | "sender" | "state_key" | "content" | "hashes"
        | "signatures" | "depth" | "prev_events" | "auth_events" | "origin_server_ts" => true,
        "origin" | "membership" | "prev_state" => rules.redaction.keep_origin_membership_prev_state,
        _ => false,
    }
}

/// The types of which redaction keeps something of the content in some version.
const KINDS_KEPT: [&str; 7] = [
    "m.room.member",
    "m.room.create",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.history_visibility",
    "m.room.aliases",
    "m.room.redaction",
];

/// Whether redaction keeps this key of the content of an event of this type.
fn keeps_within(rules: &RedactionRules, kind: &str, key: &str) -> bool {
    match (kind, key) {
        ("m.room.member", "membership")
        | ("m.room.join_rules", "join_rule")
        | ("m.room.history_visibility", "history_visibility")
        | ("m.room.create", "creator") => true,
        ("m.room.member", "join_authorised_via_users_server") => {
            rules.keep_room_member_join_authorised_via_users_server
        }
        ("m.room.member", "third_party_invite") => rules.keep_room_member_third_party_invite_signed,
        ("m.room.create", _) => rules.keep_room_create_content,
        ("m.room.join_rules", "allow") => rules.keep_room_join_rules_allow,
        (
            "m.room.power_levels",
            "ban" | "events" | "events_default" | "kick" | "redact" | "state_default" | "users"
            | "users_default",
        ) => true,
        ("m.room.power_levels", "invite") => rules.keep_room_power_levels_invite,
        ("m.room.aliases", "aliases") => rules.keep_room_aliases_aliases,
        ("m.room.redaction", "redacts") => rules.keep_room_redaction_redacts,
        _ => false,
    }
}

/// What redaction keeps of a content, which is canonical JSON text of an object.
///
/// # Errors
/// A fault if it is not.
pub(super) fn redact_content(rules: &RedactionRules, kind: &str, content: &str) -> Reply<String> {
    if !KINDS_KEPT.contains(&kind) {
        return Ok("{}".to_owned());
    }
    let fields = parts(content)?;
    let mut kept = as_fields(&fields);
    kept.retain(|key, _| keeps_within(rules, kind, key));
    let invite = kept.get("third_party_invite").filter(|_| kind == "m.room.member");
    if let Some(invite) = invite.filter(|invite| json::is_object(invite.as_bytes())).cloned() {
        let fields = parts(&invite)?;
        let mut signed = as_fields(&fields);
        signed.retain(|key, _| key == "signed");
        put(&mut kept, "third_party_invite", json::object_text(&signed));
    }
    Ok(json::object_text(&kept))
}

/// The client half of a stored event after redaction, again without `unsigned` and `room_id`.
///
/// # Errors
/// A fault if `client` is not what [`split`](super::split) makes.
pub fn redact_client(version: &RoomVersionId, client: &str) -> Reply<String> {
    let rules = rules_of(version)?;
    let fields = parts(client)?;
    let kind = text_of(&fields, "type")?;
    let content = fields.get("content").map_or("{}", |value| value.get());
    let content = redact_content(&rules.redaction, &kind, content)?;
    let mut kept = keep(rules, &fields);
    put(&mut kept, "content", content);
    Ok(json::object_text(&kept))
}

/// The federation half of a stored event after redaction.
///
/// # Errors
/// A fault if `rest` is not what [`split`](super::split) makes.
pub fn redact_rest(version: &RoomVersionId, rest: &str) -> Reply<String> {
    Ok(json::object_text(&keep(rules_of(version)?, &parts(rest)?)))
}

/// The client half of an event as clients are to see it: a redaction has `redacts` both in its
/// content and beside it, whatever its version (spec: version 11, "Moving the `redacts` property").
/// Events of other types come back unchanged, without being parsed.
///
/// # Errors
/// A fault if `client` is not what [`split`](super::split) makes.
pub fn for_clients<'a>(kind: &str, client: &'a str) -> Reply<Cow<'a, str>> {
    if kind != "m.room.redaction" {
        return Ok(Cow::Borrowed(client));
    }
    let fields = parts(client)?;
    let content = fields.get("content").map_or("{}", |value| value.get());
    let mut content = parts(content)?;
    let (beside, within) = (fields.get("redacts").copied(), content.get("redacts").copied());
    let Some(target) = beside.or(within) else { return Ok(Cow::Borrowed(client)) };
    content.entry("redacts".to_owned()).or_insert(target);
    let mut shown = as_fields(&fields);
    put(&mut shown, "redacts", target.get());
    put(&mut shown, "content", json::object_text(&as_fields(&content)));
    Ok(Cow::Owned(json::object_text(&shown)))
}

/// The fields of an object of ours, unparsed.
pub(super) fn parts(text: &str) -> Reply<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).map_err(|error| Error::fault(format!("stored event: {error}")))
}

pub(super) fn as_fields<'a>(parts: &'a BTreeMap<String, &'a RawValue>) -> Fields<'a> {
    parts.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), value.get().into())).collect()
}

pub(super) fn text_of(parts: &BTreeMap<String, &RawValue>, key: &str) -> Reply<String> {
    let value = parts.get(key).and_then(|value| serde_json::from_str(value.get()).ok());
    value.ok_or_else(|| Error::fault(format!("stored event: no {key}")))
}

fn keep<'a>(rules: &RoomVersionRules, parts: &'a BTreeMap<String, &'a RawValue>) -> Fields<'a> {
    let mut fields = as_fields(parts);
    fields.retain(|key, _| keeps(rules, key));
    fields
}
