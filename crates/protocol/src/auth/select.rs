//! Which state events authorise an event (spec: Server-Server API, "Auth events selection").

use std::collections::BTreeMap;

use ruma::{RoomVersionId, UserId};
use serde_json::Value;
use serde_json::value::RawValue;

/// The type and state key of every state event that goes into `auth_events`, if the room has it.
///
/// Empty for a create event and for an unknown room version. What a malformed content does not name
/// is left out; the rules then refuse the event. Since version 12 the create event is not selected.
#[must_use]
pub fn select_auth_events(
    version: &RoomVersionId,
    kind: &str,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
) -> Vec<(&'static str, String)> {
    let Some(rules) = crate::version::rules(version) else { return Vec::new() };
    let rules = &rules.authorization;
    if kind == "m.room.create" {
        return Vec::new();
    }
    let mut pairs = Vec::with_capacity(7);
    if !rules.room_create_event_id_as_room_id {
        pairs.push(("m.room.create", String::new()));
    }
    pairs.push(("m.room.power_levels", String::new()));
    pairs.push(("m.room.member", sender.to_string()));
    let Some(target) = state_key.filter(|_| kind == "m.room.member") else { return pairs };
    let mut add = |kind: &'static str, key: &str| {
        if !pairs.iter().any(|(k, s)| *k == kind && s == key) {
            pairs.push((kind, key.to_owned()));
        }
    };
    add("m.room.member", target);
    let content: BTreeMap<String, Value> = serde_json::from_str(content.get()).unwrap_or_default();
    let text = |key: &str| content.get(key).and_then(Value::as_str);
    let membership = text("membership").unwrap_or_default();
    if matches!(membership, "join" | "invite" | "knock") {
        add("m.room.join_rules", "");
    }
    let token = content.get("third_party_invite").and_then(|v| v.pointer("/signed/token"));
    if let Some(token) = token.and_then(Value::as_str).filter(|_| membership == "invite") {
        add("m.room.third_party_invite", token);
    }
    let inviter = text("join_authorised_via_users_server").filter(|_| membership == "join");
    if let Some(inviter) = inviter.filter(|_| rules.restricted_join_rule) {
        add("m.room.member", inviter);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruma::user_id;

    fn select(
        version: RoomVersionId,
        kind: &str,
        key: Option<&str>,
        content: Value,
    ) -> Vec<String> {
        let content = serde_json::value::to_raw_value(&content).unwrap();
        let pairs = select_auth_events(&version, kind, user_id!("@a:x"), key, &content);
        pairs.into_iter().map(|(kind, key)| format!("{kind}|{key}")).collect()
    }

    const BASE: [&str; 3] = ["m.room.create|", "m.room.power_levels|", "m.room.member|@a:x"];

    #[test]
    fn a_message_is_allowed_by_create_levels_and_the_senders_membership() {
        let content = || serde_json::json!({"membership": "join"});
        assert_eq!(select(RoomVersionId::V11, "m.room.message", None, content()), BASE);
        assert_eq!(select(RoomVersionId::V11, "m.x", Some("@b:x"), content()), BASE);
        assert_eq!(select(RoomVersionId::V12, "m.room.message", None, content()), BASE[1..]);
    }

    #[test]
    fn a_create_event_and_an_unknown_version_select_nothing() {
        let content = || serde_json::json!({});
        assert!(select(RoomVersionId::V11, "m.room.create", Some(""), content()).is_empty());
        let odd = RoomVersionId::try_from("odd").unwrap();
        assert!(select(odd, "m.room.message", None, content()).is_empty());
    }

    #[test]
    fn membership_selects_the_target_and_for_entering_the_join_rules() {
        for (membership, rules) in
            [("join", true), ("invite", true), ("knock", true), ("leave", false), ("ban", false)]
        {
            let content = serde_json::json!({"membership": membership});
            let mut expected = BASE.to_vec();
            expected.push("m.room.member|@b:x");
            if rules {
                expected.push("m.room.join_rules|");
            }
            let found = select(RoomVersionId::V10, "m.room.member", Some("@b:x"), content);
            assert_eq!(found, expected, "{membership}");
        }
        let own = serde_json::json!({"membership": "leave"});
        assert_eq!(select(RoomVersionId::V10, "m.room.member", Some("@a:x"), own), BASE);
    }

    #[test]
    fn third_party_invites_count_for_invites_only() {
        let content = |membership: &str| {
            serde_json::json!({"membership": membership,
                "third_party_invite": {"signed": {"token": "tok"}}})
        };
        let pair = "m.room.third_party_invite|tok".to_owned();
        let of = |m: &str| select(RoomVersionId::V11, "m.room.member", Some("@b:x"), content(m));
        assert!(of("invite").contains(&pair));
        assert!(!of("leave").contains(&pair));
    }

    #[test]
    fn the_authorising_user_counts_for_joins_where_rooms_can_be_restricted() {
        let content = |membership: &str| {
            serde_json::json!({"membership": membership,
                "join_authorised_via_users_server": "@c:y"})
        };
        let pair = "m.room.member|@c:y".to_owned();
        let of = |v, m: &str| select(v, "m.room.member", Some("@a:x"), content(m));
        assert!(of(RoomVersionId::V8, "join").contains(&pair));
        assert!(!of(RoomVersionId::V7, "join").contains(&pair));
        assert!(!of(RoomVersionId::V11, "leave").contains(&pair));
    }
}
