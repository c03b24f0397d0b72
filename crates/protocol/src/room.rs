//! Facts about rooms and names: presets, first power levels, stripped state (spec: Client-Server
//! API, "Creation" and "Stripped state"; Appendices, "User identifiers").

use ruma::api::client::room::Visibility;
use ruma::api::client::room::create_room::v3::RoomPreset;
use ruma::{OwnedUserId, RoomVersionId, ServerName, UserId};
use serde_json::{Map, Value, json};

use crate::pdu::FIELD_BYTES_MAX;
use crate::version::room_id_is_create_id;

/// The types of the state events that describe a room to someone who is not in it. An invite or
/// knock also shows the membership event itself and that of its sender.
pub const STRIPPED_STATE: [&str; 7] = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
];

const TOMBSTONE: &str = "m.room.tombstone";
/// What closing a room needs where its creators stand above all numbers.
const TOMBSTONE_LEVEL: i64 = 150;

/// The preset of a room that names none: `public_chat` for a room in the directory, else
/// `private_chat`.
#[must_use]
pub fn preset_of(visibility: &Visibility) -> RoomPreset {
    match visibility {
        Visibility::Public => RoomPreset::PublicChat,
        _ => RoomPreset::PrivateChat,
    }
}

/// The state events of a preset, as type and content, in the order they are sent; their state key
/// is empty. An unknown preset counts as `private_chat`.
#[must_use]
pub fn preset_state(preset: &RoomPreset) -> [(&'static str, Value); 3] {
    let (join_rule, guest_access) = match preset {
        RoomPreset::PublicChat => ("public", "forbidden"),
        _ => ("invite", "can_join"),
    };
    [
        ("m.room.join_rules", json!({ "join_rule": join_rule })),
        ("m.room.history_visibility", json!({ "history_visibility": "shared" })),
        ("m.room.guest_access", json!({ "guest_access": guest_access })),
    ]
}

/// The content of a new room's first `m.room.power_levels` event, before the client's override.
///
/// The creator, and in a `trusted_private_chat` the invitees, get 100; since version 12 they are
/// creators of infinite power instead and must not be listed, and `m.room.tombstone` needs more
/// than `state_default`, here 150. That some settings need 100 and others 50 is this server's
/// choice.
#[must_use]
pub fn power_levels(
    version: &RoomVersionId,
    preset: &RoomPreset,
    creator: &UserId,
    invitees: &[OwnedUserId],
) -> Map<String, Value> {
    let privileged = room_id_is_create_id(version);
    let trusted = matches!(preset, RoomPreset::TrustedPrivateChat);
    let mut users = Map::new();
    if !privileged {
        users.insert(creator.to_string(), json!(100));
        for invitee in invitees.iter().filter(|_| trusted) {
            users.insert(invitee.to_string(), json!(100));
        }
    }
    let invite = if matches!(preset, RoomPreset::PublicChat) { 50 } else { 0 };
    let content = json!({
        "ban": 50,
        "events": {
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.encryption": 100,
            "m.room.history_visibility": 100,
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.server_acl": 100,
            TOMBSTONE: if privileged { TOMBSTONE_LEVEL } else { 100 },
        },
        "events_default": 0,
        "invite": invite,
        "kick": 50,
        "notifications": { "room": 50 },
        "redact": 50,
        "state_default": 50,
        "users": users,
        "users_default": 0,
    });
    match content {
        Value::Object(content) => content,
        _ => Map::new(),
    }
}

/// Sees to it that closing a version 12 room needs more than its `state_default`, also after a client
/// has changed the levels without a word about `m.room.tombstone` (spec: Client-Server API,
/// `createRoom`).
pub fn protect_tombstone(version: &RoomVersionId, levels: &mut Map<String, Value>) {
    if !room_id_is_create_id(version) {
        return;
    }
    let default = levels.get("state_default").and_then(Value::as_i64).unwrap_or(50);
    let events = levels.entry("events").or_insert_with(|| json!({}));
    let Value::Object(events) = events else { return };
    if events.get(TOMBSTONE).and_then(Value::as_i64).is_none_or(|level| level <= default) {
        let level = default.saturating_add(1).max(TOMBSTONE_LEVEL);
        events.insert(TOMBSTONE.to_owned(), json!(level));
    }
}

/// Whether a new user may have this localpart: `a-z 0-9 . _ = - / +`, not empty, and the whole id
/// within 255 bytes.
#[must_use]
pub fn valid_localpart(localpart: &str, server: &ServerName) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._=-/+".contains(c);
    !localpart.is_empty()
        && localpart.chars().all(plain)
        && localpart.len() + server.as_str().len() + 2 <= FIELD_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::{Power, PowerLevels};
    use ruma::{server_name, user_id};

    fn levels(version: &RoomVersionId, preset: RoomPreset) -> PowerLevels {
        let creator = user_id!("@creator:x");
        let invitees = [user_id!("@guest:x").to_owned()];
        let content = power_levels(version, &preset, creator, &invitees);
        let content = Value::Object(content).to_string();
        let rules = &crate::rules(version).unwrap().authorization;
        PowerLevels::from_content(rules, Some(&content), vec![creator.to_owned()]).unwrap()
    }

    #[test]
    fn only_the_creator_may_send_state_in_a_new_room() {
        for preset in [RoomPreset::PublicChat, RoomPreset::PrivateChat] {
            let levels = levels(&RoomVersionId::V11, preset);
            assert_eq!(levels.user(user_id!("@creator:x")), Power::Level(100));
            assert_eq!(levels.user(user_id!("@guest:x")), Power::Level(0));
            assert!(!levels.may_send(user_id!("@guest:x"), "m.room.topic", true));
            assert!(levels.may_send(user_id!("@creator:x"), "m.room.tombstone", true));
            assert!(levels.may_send(user_id!("@guest:x"), "m.room.message", false));
        }
    }

    #[test]
    fn in_a_trusted_private_chat_invitees_are_the_creators_equals() {
        let levels = levels(&RoomVersionId::V11, RoomPreset::TrustedPrivateChat);
        assert_eq!(levels.user(user_id!("@guest:x")), Power::Level(100));
    }

    #[test]
    fn version_12_lists_no_creators_and_protects_the_tombstone() {
        for preset in [RoomPreset::PublicChat, RoomPreset::TrustedPrivateChat] {
            let levels = levels(&RoomVersionId::V12, preset);
            assert!(levels.levels().unwrap().users.is_empty());
            assert!(levels.event("m.room.tombstone", true) > levels.event("m.x", true));
            assert_eq!(levels.user(user_id!("@creator:x")), Power::Infinite);
        }
    }

    #[test]
    fn closing_a_version_12_room_needs_more_than_other_state_whatever_a_client_overrides() {
        for (levels, expected) in [
            (json!({}), 150),
            (json!({"events": {"m.x": 5}, "state_default": 149}), 150),
            (json!({"state_default": 150}), 151),
            (json!({"events": {"m.room.tombstone": 99}, "state_default": 98}), 99),
            (json!({"events": {"m.room.tombstone": 99}, "state_default": 99}), 150),
        ] {
            let Value::Object(mut levels) = levels else { panic!("an object") };
            let before = levels.clone();
            protect_tombstone(&RoomVersionId::V11, &mut levels);
            assert_eq!(levels, before);
            protect_tombstone(&RoomVersionId::V12, &mut levels);
            assert_eq!(levels["events"][TOMBSTONE], expected, "{before:?}");
        }
    }

    #[test]
    fn presets_set_what_the_spec_tables() {
        let of = |preset| preset_state(&preset).map(|(_, content)| content.to_string()).join(" ");
        let private =
            r#"{"join_rule":"invite"} {"history_visibility":"shared"} {"guest_access":"can_join"}"#;
        assert_eq!(of(RoomPreset::PrivateChat), private);
        assert_eq!(of(RoomPreset::TrustedPrivateChat), private);
        assert_eq!(
            of(RoomPreset::PublicChat),
            r#"{"join_rule":"public"} {"history_visibility":"shared"} {"guest_access":"forbidden"}"#
        );
        assert_eq!(preset_of(&Visibility::Public), RoomPreset::PublicChat);
        assert_eq!(preset_of(&Visibility::Private), RoomPreset::PrivateChat);
    }

    #[test]
    fn localparts_are_lower_case_and_short() {
        let server = server_name!("x.org");
        for good in ["a", "0._=-/+z"] {
            assert!(valid_localpart(good, server), "{good}");
        }
        for bad in ["", "A", "ä", "a b", "a:b", "a@b", "a#"] {
            assert!(!valid_localpart(bad, server), "{bad}");
        }
        assert!(valid_localpart(&"a".repeat(248), server));
        assert!(!valid_localpart(&"a".repeat(249), server));
    }
}
