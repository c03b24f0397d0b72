//! Rule 10 (9 before version 12): power levels.

use super::*;

/// A change of the power levels by `sender`, from these fields over the usual ones to those.
#[track_caller]
fn change(world: &World, sender: &str, from: Value, to: Value, rule_of_12: &str) {
    let mut world = world.clone();
    world.levels(from);
    let mut content = world.usual_levels();
    for (key, value) in to.as_object().unwrap() {
        content[key] = value.clone();
    }
    let pdu = event("m.room.power_levels", sender, Some(""), content);
    if rule_of_12.is_empty() { world.passes(&pdu) } else { world.refuses(&pdu, rule_of_12) }
}

const FIELDS: [(&str, i64); 7] = [
    ("users_default", 0),
    ("events_default", 0),
    ("state_default", 50),
    ("ban", 50),
    ("redact", 50),
    ("kick", 50),
    ("invite", 0),
];

#[test]
fn rule_10_1_wants_integers() {
    since(10, |world| {
        for (field, default) in FIELDS {
            change(&world, "@mod:x", json!({}), json!({ field: default }), "");
            for odd in [json!("50"), json!(null), json!(true), json!([])] {
                change(&world, "@mod:x", json!({}), json!({ field: odd }), "10.1");
            }
        }
    });
}

#[test]
fn rule_10_2_wants_events_and_notifications_to_be_objects_of_integers() {
    since(10, |world| {
        for field in ["events", "notifications"] {
            change(&world, "@mod:x", json!({}), json!({ field: {"m.x": 5} }), "");
            for odd in [json!([]), json!(null), json!({"m.x": "5"}), json!({"m.x": null})] {
                change(&world, "@mod:x", json!({}), json!({ field: odd }), "10.2");
            }
        }
    });
}

#[test]
fn rule_10_3_wants_users_to_be_an_object_of_user_ids_to_integers() {
    every(|world| {
        for odd in [json!([]), json!(null), json!({"bob": 5}), json!({"@bob:y": "five"})] {
            change(&world, "@mod:x", json!({}), json!({ "users": odd }), "10.3");
        }
        let text = if world.number() < 10 { "" } else { "10.3" };
        let of = users(&world, json!({"@bob:y": " +05 "}));
        change(&world, "@mod:x", json!({}), of, text);
        let of = users(&world, json!({"@bob:y": "51"}));
        change(&world, "@mod:x", json!({}), of, if text.is_empty() { "10.10.1" } else { text });
    });
}

#[test]
fn before_version_10_levels_that_make_no_sense_count_as_their_defaults() {
    for version in &SUPPORTED[..9] {
        let world = World::new(version);
        for (field, _) in FIELDS {
            change(&world, "@mod:x", json!({}), json!({ field: {} }), "");
            change(&world, "@mod:x", json!({}), json!({ field: "50" }), "");
            change(&world, "@mod:x", json!({}), json!({ field: "51" }), "10.6.2");
        }
        for field in ["events", "notifications"] {
            change(&world, "@mod:x", json!({}), json!({ field: [] }), "");
        }
    }
}

#[test]
fn rule_10_4_refuses_creators_among_the_users_in_version_12() {
    let mut world = World::new(&V12);
    let content = json!({"additional_creators": ["@bob:y"]});
    world.set("m.room.create", "", "@creator:x", content);
    for user in ["@creator:x", "@bob:y"] {
        change(&world, "@creator:x", json!({}), json!({"users": {user: 100}}), "10.4");
    }
    change(&world, "@creator:x", json!({}), json!({"users": {"@new:z": 100}}), "");
}

#[test]
fn rule_10_5_allows_the_first_power_levels() {
    every(|mut world| {
        world.state.remove(&("m.room.power_levels".to_owned(), String::new()));
        let content = json!({"users": {"@mod:x": 1_000_000}, "ban": 1_000_000});
        world.passes(&event("m.room.power_levels", "@creator:x", Some(""), content));
    });
}

#[test]
fn rule_10_6_lets_no_single_value_be_changed_from_or_to_above_the_sender() {
    every(|world| {
        for (field, default) in FIELDS {
            let value = |level: i64| json!({ field: level });
            change(&world, "@mod:x", value(49), value(50), "");
            change(&world, "@mod:x", value(50), value(51), "10.6.2");
            change(&world, "@mod:x", json!({}), value(51), "10.6.2");
            change(&world, "@mod:x", value(default), json!({}), "");
            change(&world, "@mod:x", value(49), value(49), "");
            if field != "events_default" && field != "state_default" {
                change(&world, "@mod:x", value(51), value(50), "10.6.1");
                change(&world, "@mod:x", value(51), json!({}), "10.6.1");
                change(&world, "@mod:x", value(51), value(51), "");
            }
            change(&world, "@creator:x", value(51), value(100), "");
        }
    });
}

#[test]
fn rule_10_6_1_holds_for_the_defaults_of_events_too() {
    every(|world| {
        for field in ["events_default", "state_default"] {
            // The level of the type itself, so that rule 8 does not refuse first.
            let of = |level: i64| json!({ field: level, "events": {"m.room.power_levels": 0} });
            change(&world, "@mod:x", of(51), of(50), "10.6.1");
            change(&world, "@mod:x", of(51), of(51), "");
        }
    });
}

#[test]
fn rule_10_7_1_lets_no_type_or_notification_above_the_sender_be_changed_or_removed() {
    every(|world| {
        for field in world.maps() {
            let of = |level: i64| json!({ field: {"m.x": level} });
            change(&world, "@mod:x", of(51), of(50), "10.7.1");
            change(&world, "@mod:x", of(51), json!({}), "10.7.1");
            change(&world, "@mod:x", of(50), json!({}), "");
            change(&world, "@mod:x", of(51), of(51), "");
        }
    });
}

#[test]
fn rule_10_8_1_lets_no_type_or_notification_be_set_above_the_sender() {
    every(|world| {
        for field in world.maps() {
            let of = |level: i64| json!({ field: {"m.x": level} });
            change(&world, "@mod:x", json!({}), of(51), "10.8.1");
            change(&world, "@mod:x", of(1), of(51), "10.8.1");
            change(&world, "@mod:x", json!({}), of(50), "");
        }
    });
}

fn users(world: &World, more: Value) -> Value {
    let mut users = world.usual_levels()["users"].clone();
    for (user, level) in more.as_object().unwrap() {
        match level {
            Value::Null => users.as_object_mut().unwrap().remove(user),
            level => users.as_object_mut().unwrap().insert(user.clone(), level.clone()),
        };
    }
    json!({ "users": users })
}

#[test]
fn rule_10_9_1_lets_no_user_of_the_senders_level_be_changed_or_removed() {
    every(|world| {
        let of = |more: Value| users(&world, more);
        for (level, rule) in [(49, ""), (50, "10.9.1"), (51, "10.9.1")] {
            change(&world, "@mod:x", of(json!({"@bob:y": level})), of(json!({"@bob:y": 1})), rule);
            change(&world, "@mod:x", of(json!({"@bob:y": level})), of(json!({})), rule);
        }
        let same = of(json!({"@bob:y": 51}));
        change(&world, "@mod:x", same.clone(), same, "");
        // One's own level may be lowered.
        change(&world, "@mod:x", of(json!({})), of(json!({"@mod:x": 10})), "");
        change(&world, "@mod:x", of(json!({})), of(json!({"@mod:x": null})), "");
    });
}

#[test]
fn rule_10_10_1_lets_no_user_be_raised_above_the_sender() {
    every(|world| {
        let of = |more: Value| users(&world, more);
        change(&world, "@mod:x", of(json!({})), of(json!({"@bob:y": 50})), "");
        change(&world, "@mod:x", of(json!({})), of(json!({"@bob:y": 51})), "10.10.1");
        change(&world, "@mod:x", of(json!({"@bob:y": 1})), of(json!({"@bob:y": 51})), "10.10.1");
        change(&world, "@mod:x", of(json!({})), of(json!({"@mod:x": 51})), "10.10.1");
    });
}

#[test]
fn before_version_6_anyone_may_set_the_levels_of_notifications() {
    for version in &SUPPORTED[..5] {
        let of = |level: i64| json!({"notifications": {"room": level}});
        change(&World::new(version), "@mod:x", of(99), of(98), "");
    }
}
