//! What state of a room means in a room of another version, for upgrades (spec: Client-Server API,
//! "Room Upgrades").
//!
//! Old versions let state say what newer ones refuse, and newer ones what older ones do not know.

use ruma::RoomVersionId;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use crate::json::INTEGER_MAX;
use crate::power::{Field, number};

/// A power levels content in which every level is an integer, as all versions take it; what is no
/// level in any version is left out.
#[must_use]
pub fn power_levels(mut content: Map<String, Value>) -> Map<String, Value> {
    for key in Field::ALL.map(Field::key) {
        if let Some(value) = content.remove(key).and_then(|value| level(&value)) {
            content.insert(key.to_owned(), value);
        }
    }
    for key in ["events", "notifications", "users"] {
        let Some(value) = content.remove(key) else { continue };
        let Value::Object(entries) = value else { continue };
        let levels = entries.into_iter().filter_map(|(key, value)| Some((key, level(&value)?)));
        content.insert(key.to_owned(), Value::Object(levels.collect()));
    }
    content
}

/// A level of any version as an integer within the bounds of canonical JSON.
fn level(value: &Value) -> Option<Value> {
    let most = i64::try_from(INTEGER_MAX).unwrap_or(i64::MAX);
    let level = number(false, &to_raw_value(value).ok()?)?;
    Some(json!(level.clamp(-most, most)))
}

/// A join rules content as a room of this version can follow it. Of a rule that the version does not
/// know remains the part that it does; no rule is opened by that.
#[must_use]
pub fn join_rules(version: &RoomVersionId, mut content: Map<String, Value>) -> Map<String, Value> {
    let Some(rules) = crate::rules(version).map(|rules| &rules.authorization) else {
        return content;
    };
    let known = match content.get("join_rule").and_then(Value::as_str) {
        Some("knock_restricted") if !rules.knock_restricted_join_rule => {
            if rules.restricted_join_rule {
                "restricted"
            } else if rules.knocking {
                "knock"
            } else {
                "invite"
            }
        }
        Some("restricted") if !rules.restricted_join_rule => "invite",
        Some("knock") if !rules.knocking => "invite",
        _ => return content,
    };
    content.insert("join_rule".to_owned(), json!(known));
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::SUPPORTED;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn levels_become_integers() {
        let old = object(json!({"ban": "50", "kick": 7.9, "invite": {}, "redact": 1e300,
            "events": {"m.x": "100", "m.y": null}, "notifications": [], "odd": "5",
            "users": {"@a:x": " +5 ", "@b:x": 6}}));
        let new = json!({"ban": 50, "kick": 7, "redact": INTEGER_MAX, "events": {"m.x": 100},
            "odd": "5", "users": {"@a:x": 5, "@b:x": 6}});
        assert_eq!(power_levels(old), object(new.clone()));
        assert_eq!(power_levels(object(new.clone())), object(new));
    }

    #[test]
    fn a_join_rule_is_one_that_the_version_knows() {
        let told = ["public", "invite", "knock", "restricted", "knock_restricted"];
        for version in &SUPPORTED {
            let number: u8 = version.as_str().parse().unwrap();
            let expected = match number {
                ..7 => ["public", "invite", "invite", "invite", "invite"],
                7 => ["public", "invite", "knock", "invite", "knock"],
                8 | 9 => ["public", "invite", "knock", "restricted", "restricted"],
                _ => told,
            };
            let of = |rule| join_rules(version, object(json!({"join_rule": rule, "allow": []})));
            for (rule, expected) in told.into_iter().zip(expected) {
                assert_eq!(of(rule)["join_rule"], expected, "{version} {rule}");
                assert_eq!(of(rule)["allow"], json!([]));
            }
        }
    }
}
