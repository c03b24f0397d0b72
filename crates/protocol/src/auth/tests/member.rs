//! Rule 5 (4 before version 12): membership.

use super::*;
use crate::key::SigningKey;

#[test]
fn rule_5_1_wants_a_user_as_state_key_and_a_membership() {
    every(|world| {
        let of = |key, content| event("m.room.member", "@bob:y", key, content);
        world.passes(&of(Some("@bob:y"), json!({"membership": "join"})));
        world.refuses(&of(None, json!({"membership": "join"})), "5.1");
        world.refuses(&of(Some("bob"), json!({"membership": "join"})), "5.1");
        world.refuses(&of(Some("@bob:y"), json!({})), "5.1");
        world.refuses(&of(Some("@bob:y"), json!({"membership": 1})), "5.1");
    });
}

fn authorised_join(by: &str, signed_by: &str) -> Pdu {
    let content = json!({"membership": "join", "join_authorised_via_users_server": by});
    let mut pdu = event("m.room.member", "@new:z", Some("@new:z"), content);
    pdu.signatures = json!({ signed_by: {"ed25519:1": "sig"} }).to_string();
    pdu
}

#[test]
fn rule_5_2_1_wants_the_signature_of_the_authorising_server() {
    since(8, |world| {
        world.passes(&authorised_join("@mod:x", "x"));
        world.refuses(&authorised_join("@mod:x", "z"), "5.2.1");
        world.refuses(&authorised_join("nobody", "x"), "5.2.1");
    });
    for version in &SUPPORTED[..7] {
        World::new(version).passes(&authorised_join("@mod:x", "z"));
    }
}

#[test]
fn rule_5_3_1_lets_the_creator_join_right_after_the_create_event() {
    every(|mut world| {
        world.state.retain(|(kind, _), _| kind == "m.room.create");
        let mut first = member("@creator:x", "@creator:x", "join");
        world.refuses(&first, "5.3.7");
        let create = world.state[&("m.room.create".to_owned(), String::new())].event_id.clone();
        first.prev_events = vec![create.clone()];
        world.passes(&first);
        let mut other = member("@bob:y", "@bob:y", "join");
        other.prev_events = vec![create.clone()];
        world.refuses(&other, "5.3.7");
        first.prev_events.push(OwnedEventId::try_from("$more").unwrap());
        world.refuses(&first, "5.3.7");
    });
}

#[test]
fn rule_5_3_1_asks_the_content_for_the_creator_before_version_11() {
    for (position, version) in SUPPORTED.iter().enumerate() {
        let by_content = position < 10;
        let mut world = World::new(version);
        world.state.clear();
        world.set("m.room.create", "", "@creator:x", json!({"creator": "@bob:y"}));
        let id = world.state[&("m.room.create".to_owned(), String::new())].event_id.clone();
        for (user, passes) in [("@bob:y", by_content), ("@creator:x", !by_content)] {
            let mut join = member(user, user, "join");
            join.prev_events = vec![id.clone()];
            assert_eq!(world.ask(&join).is_empty(), passes, "{version} {user}");
        }
    }
}

#[test]
fn rule_5_3_2_lets_users_join_for_themselves_only() {
    every(|world| {
        world.passes(&member("@new:z", "@new:z", "join"));
        world.refuses(&member("@mod:x", "@new:z", "join"), "5.3.2");
    });
}

#[test]
fn rule_5_3_3_keeps_banned_users_out() {
    every(|mut world| {
        world.member("@new:z", "ban");
        world.refuses(&member("@new:z", "@new:z", "join"), "5.3.3");
    });
}

#[test]
fn rule_5_3_4_lets_the_invited_join_by_invite_and_knock() {
    every(|mut world| {
        for rule in ["invite", "knock"] {
            world.join_rule(rule);
            if rule == "knock" && world.number() < 7 {
                world.member("@new:z", "invite");
                world.refuses(&member("@new:z", "@new:z", "join"), "5.3.7");
                continue;
            }
            for (membership, passes) in
                [("invite", true), ("join", true), ("leave", false), ("knock", false)]
            {
                world.member("@new:z", membership);
                let join = member("@new:z", "@new:z", "join");
                if passes { world.passes(&join) } else { world.refuses(&join, "5.3.7") }
            }
        }
    });
}

#[test]
fn rule_5_3_5_1_lets_the_invited_join_a_restricted_room() {
    since(8, |mut world| {
        for rule in world.restricted() {
            world.join_rule(rule);
            for (membership, passes) in [("invite", true), ("join", true), ("leave", false)] {
                world.member("@new:z", membership);
                let join = member("@new:z", "@new:z", "join");
                if passes { world.passes(&join) } else { world.refuses(&join, "5.3.5.2") }
            }
        }
    });
}

#[test]
fn rule_5_3_5_2_wants_a_joined_user_who_may_invite() {
    since(8, |mut world| {
        world.levels(json!({"invite": 50}));
        for rule in world.restricted() {
            world.join_rule(rule);
            world.passes(&authorised_join("@mod:x", "x"));
            world.refuses(&authorised_join("@bob:y", "y"), "5.3.5.2");
            world.refuses(&authorised_join("@nobody:x", "x"), "5.3.5.2");
            let mut gone = world.clone();
            gone.member("@mod:x", "leave");
            gone.refuses(&authorised_join("@mod:x", "x"), "5.3.5.2");
        }
    });
}

#[test]
fn rule_5_3_6_lets_anyone_join_a_public_room() {
    every(|mut world| {
        world.passes(&member("@new:z", "@new:z", "join"));
        for membership in ["leave", "knock", "invite", "join"] {
            world.member("@new:z", membership);
            world.passes(&member("@new:z", "@new:z", "join"));
        }
    });
}

#[test]
fn rule_5_3_7_refuses_joins_by_any_other_rule() {
    every(|mut world| {
        world.member("@new:z", "invite");
        let mut odd = vec!["private", "odd"];
        odd.extend(["restricted"].into_iter().filter(|_| world.number() < 8));
        odd.extend(["knock_restricted"].into_iter().filter(|_| world.number() < 10));
        for rule in odd {
            world.join_rule(rule);
            world.refuses(&member("@new:z", "@new:z", "join"), "5.3.7");
        }
        // Without the event the rule is `invite`.
        world.state.remove(&("m.room.join_rules".to_owned(), String::new()));
        world.passes(&member("@new:z", "@new:z", "join"));
        world.member("@new:z", "leave");
        world.refuses(&member("@new:z", "@new:z", "join"), "5.3.7");
    });
}

/// An invite of `@new:z` by `@mod:x` through the third-party invite `tok`.
fn third_party(third_party_invite: Value) -> Pdu {
    let content = json!({"membership": "invite", "third_party_invite": third_party_invite});
    event("m.room.member", "@mod:x", Some("@new:z"), content)
}

/// `signed` with the signature of a key, and that key.
fn signed() -> (Value, String) {
    let key = SigningKey::generate([9; 32], "1").unwrap();
    let mut signed = crate::json::canonical_object(r#"{"mxid":"@new:z","token":"tok"}"#).unwrap();
    key.sign_json("id.example", &mut signed).unwrap();
    (serde_json::to_value(signed).unwrap(), key.public_key())
}

fn with_third_party_invite(world: &World, content: Value) -> World {
    let mut world = world.clone();
    world.set("m.room.third_party_invite", "tok", "@mod:x", content);
    world
}

#[test]
fn rule_5_4_1_1_keeps_banned_users_from_third_party_invites() {
    every(|world| {
        let (signed, key) = signed();
        let mut world = with_third_party_invite(&world, json!({"public_key": key}));
        world.passes(&third_party(json!({"signed": signed})));
        world.member("@new:z", "ban");
        world.refuses(&third_party(json!({"signed": signed})), "5.4.1.1");
    });
}

#[test]
fn rules_5_4_1_2_to_5_4_1_6_want_an_invite_that_fits() {
    every(|world| {
        let (signed, key) = signed();
        let known = with_third_party_invite(&world, json!({"public_key": key}));
        known.refuses(&third_party(json!({})), "5.4.1.2");
        known.refuses(&third_party(json!(null)), "5.4.1.2");
        known.refuses(&third_party(json!({"signed": {"mxid": "@new:z"}})), "5.4.1.3");
        known.refuses(&third_party(json!({"signed": {"token": "tok"}})), "5.4.1.3");
        let other = json!({"signed": {"token": "tok", "mxid": "@other:z"}});
        known.refuses(&third_party(other), "5.4.1.4");
        world.refuses(&third_party(json!({"signed": signed})), "5.4.1.5");
        let mut foreign = world.clone();
        let content = json!({"public_key": key});
        foreign.set("m.room.third_party_invite", "tok", "@bob:y", content);
        foreign.refuses(&third_party(json!({"signed": signed})), "5.4.1.6");
    });
}

#[test]
fn rule_5_4_1_7_wants_a_signature_by_a_key_of_the_invite() {
    every(|world| {
        let (signed, key) = signed();
        let invite = third_party(json!({"signed": signed}));
        for (content, passes) in [
            (json!({"public_key": key}), true),
            (json!({"public_keys": [{"public_key": "AAAA"}, {"public_key": key}]}), true),
            (json!({"public_key": "AAAA"}), false),
            (json!({"public_keys": [{}], "public_key": 1}), false),
            (json!({}), false),
        ] {
            let world = with_third_party_invite(&world, content);
            if passes { world.passes(&invite) } else { world.refuses(&invite, "5.4.1.8") }
        }
        let world = with_third_party_invite(&world, json!({"public_key": key}));
        let mut changed = signed.clone();
        changed["more"] = json!(1);
        world.refuses(&third_party(json!({"signed": changed})), "5.4.1.8");
    });
}

#[test]
fn rule_5_4_2_lets_only_members_invite() {
    every(|world| {
        world.passes(&member("@bob:y", "@new:z", "invite"));
        world.refuses(&member("@nobody:y", "@new:z", "invite"), "5.4.2");
    });
}

#[test]
fn rule_5_4_3_refuses_to_invite_the_present_and_the_banned() {
    every(|mut world| {
        for (membership, passes) in
            [("join", false), ("ban", false), ("leave", true), ("knock", true), ("invite", true)]
        {
            world.member("@new:z", membership);
            let invite = member("@bob:y", "@new:z", "invite");
            if passes { world.passes(&invite) } else { world.refuses(&invite, "5.4.3") }
        }
    });
}

#[test]
fn rules_5_4_4_and_5_4_5_ask_for_the_invite_level() {
    every(|mut world| {
        world.levels(json!({"invite": 50}));
        world.passes(&member("@mod:x", "@new:z", "invite"));
        world.passes(&member("@creator:x", "@new:z", "invite"));
        world.refuses(&member("@bob:y", "@new:z", "invite"), "5.4.5");
    });
}

#[test]
fn rule_5_5_1_lets_users_leave_what_they_are_in() {
    every(|mut world| {
        for (membership, passes) in
            [("join", true), ("invite", true), ("knock", true), ("leave", false), ("ban", false)]
        {
            let passes = passes && (membership != "knock" || world.number() >= 7);
            world.member("@bob:y", membership);
            let leave = member("@bob:y", "@bob:y", "leave");
            if passes { world.passes(&leave) } else { world.refuses(&leave, "5.5.1") }
        }
        world.refuses(&member("@nobody:y", "@nobody:y", "leave"), "5.5.1");
    });
}

#[test]
fn rule_5_5_2_lets_only_members_kick() {
    every(|mut world| {
        world.passes(&member("@mod:x", "@bob:y", "leave"));
        world.member("@mod:x", "leave");
        world.refuses(&member("@mod:x", "@bob:y", "leave"), "5.5.2");
    });
}

#[test]
fn rule_5_5_3_asks_for_the_ban_level_to_unban() {
    every(|mut world| {
        world.member("@bob:y", "ban");
        world.passes(&member("@mod:x", "@bob:y", "leave"));
        world.levels(json!({"ban": 51}));
        world.refuses(&member("@mod:x", "@bob:y", "leave"), "5.5.3");
        world.passes(&member("@creator:x", "@bob:y", "leave"));
        world.member("@bob:y", "join");
        world.passes(&member("@mod:x", "@bob:y", "leave"));
    });
}

#[test]
fn rules_5_5_4_and_5_5_5_ask_for_the_kick_level_and_more_power_than_the_target() {
    every(|mut world| {
        world.member("@new:z", "join");
        world.passes(&member("@mod:x", "@new:z", "leave"));
        world.refuses(&member("@bob:y", "@new:z", "leave"), "5.5.5");
        world.refuses(&member("@mod:x", "@creator:x", "leave"), "5.5.5");
        let mut equal = world.clone();
        equal.levels(json!({"users": {"@mod:x": 50, "@bob:y": 50}}));
        equal.refuses(&member("@mod:x", "@bob:y", "leave"), "5.5.5");
        world.levels(json!({"kick": 51}));
        world.refuses(&member("@mod:x", "@new:z", "leave"), "5.5.5");
    });
}

#[test]
fn rule_5_6_1_lets_only_members_ban() {
    every(|mut world| {
        world.passes(&member("@mod:x", "@bob:y", "ban"));
        world.member("@mod:x", "leave");
        world.refuses(&member("@mod:x", "@bob:y", "ban"), "5.6.1");
    });
}

#[test]
fn rules_5_6_2_and_5_6_3_ask_for_the_ban_level_and_more_power_than_the_target() {
    every(|mut world| {
        world.passes(&member("@mod:x", "@absent:z", "ban"));
        world.refuses(&member("@bob:y", "@new:z", "ban"), "5.6.3");
        world.refuses(&member("@mod:x", "@creator:x", "ban"), "5.6.3");
        let mut equal = world.clone();
        equal.levels(json!({"users": {"@mod:x": 50, "@bob:y": 50}}));
        equal.refuses(&member("@mod:x", "@bob:y", "ban"), "5.6.3");
        world.levels(json!({"ban": 51}));
        world.refuses(&member("@mod:x", "@bob:y", "ban"), "5.6.3");
    });
}

#[test]
fn rule_5_6_3_protects_creators_from_each_other_in_version_12() {
    let mut world = World::new(&V12);
    world.set("m.room.create", "", "@creator:x", json!({"additional_creators": ["@bob:y"]}));
    world.refuses(&member("@creator:x", "@bob:y", "ban"), "5.6.3");
    world.refuses(&member("@bob:y", "@creator:x", "ban"), "5.6.3");
    world.refuses(&member("@bob:y", "@creator:x", "leave"), "5.5.5");
}

#[test]
fn rule_5_7_1_wants_a_join_rule_that_allows_knocking() {
    since(7, |mut world| {
        let knock = member("@new:z", "@new:z", "knock");
        for (rule, passes) in [
            ("knock", true),
            ("knock_restricted", world.number() >= 10),
            ("restricted", false),
            ("invite", false),
            ("public", false),
        ] {
            world.join_rule(rule);
            if passes { world.passes(&knock) } else { world.refuses(&knock, "5.7.1") }
        }
    });
}

#[test]
fn rule_5_7_2_lets_users_knock_for_themselves_only() {
    since(7, |mut world| {
        world.join_rule("knock");
        world.refuses(&member("@mod:x", "@new:z", "knock"), "5.7.2");
    });
}

#[test]
fn rules_5_7_3_and_5_7_4_refuse_knocks_of_the_present_the_invited_and_the_banned() {
    since(7, |mut world| {
        world.join_rule("knock");
        for (membership, passes) in
            [("leave", true), ("knock", true), ("join", false), ("invite", false), ("ban", false)]
        {
            world.member("@new:z", membership);
            let knock = member("@new:z", "@new:z", "knock");
            if passes { world.passes(&knock) } else { world.refuses(&knock, "5.7.4") }
        }
    });
}

#[test]
fn rule_5_8_refuses_unknown_memberships() {
    every(|world| world.refuses(&member("@bob:y", "@bob:y", "odd"), "5.8"));
    for version in &SUPPORTED[..6] {
        let mut world = World::new(version);
        world.join_rule("knock");
        world.refuses(&member("@new:z", "@new:z", "knock"), "5.8");
    }
}
