use std::future::Future;
use std::pin::pin;
use std::task::{Poll, Waker};

use proptest::prelude::*;
use ruma::power_levels::NotificationPowerLevels;
use ruma::push::{PushConditionPowerLevelsCtx, PushConditionRoomCtx};
use ruma::room_version_rules::{AuthorizationRules, RoomPowerLevelsRules};
use ruma::serde::Raw;
use ruma::{UInt, owned_room_id, user_id};
use serde_json::{Value, json};

use super::*;

const ME: &str = "@me:x";

fn defaults() -> Ruleset {
    with_defaults(None, user_id!("@me:x"))
}

fn event(kind: &str, content: &Value) -> Value {
    json!({"content": content, "event_id": "$e", "origin_server_ts": 1, "sender": "@bob:y",
        "type": kind})
}

fn message(content: &Value) -> Value {
    event("m.room.message", content)
}

/// (notify, highlight, sound) in a room of five whose sender may notify everyone or not.
fn outcome(rules: &Ruleset, event: &Value, privileged: bool) -> (bool, bool, Option<String>) {
    ask(rules, event, 5, privileged, "")
}

fn ask(
    rules: &Ruleset,
    event: &Value,
    joined_members: u64,
    privileged: bool,
    display_name: &str,
) -> (bool, bool, Option<String>) {
    let compiled = CompiledRules::compile(rules, user_id!("@me:x"));
    let flat = Flat::of_event(&event.to_string());
    let context = Context {
        room_id: "!room:x",
        joined_members,
        sender_may_notify: &|key| privileged && key == "room",
        display_name: Some(display_name).filter(|name| !name.is_empty()),
        thread_subscribed: None,
    };
    let found = compiled.evaluate(&flat, &context);
    (found.notify, found.highlight, found.sound.map(str::to_owned))
}

const SILENT: (bool, bool, Option<String>) = (false, false, None);

fn loud(highlight: bool, sound: &str) -> (bool, bool, Option<String>) {
    (true, highlight, Some(sound.to_owned()).filter(|sound| !sound.is_empty()))
}

#[test]
fn the_default_rules_are_those_of_the_spec_in_its_order() {
    let rules = defaults();
    let all: Vec<&str> = rules.iter().map(ruma::push::AnyPushRuleRef::rule_id).collect();
    let ids: Vec<&str> = all.iter().copied().filter(|id| id.starts_with(".m.rule.")).collect();
    let expected = [
        "master",
        "suppress_notices",
        "invite_for_me",
        "member_event",
        "is_user_mention",
        "is_room_mention",
        "tombstone",
        "reaction",
        "room.server_acl",
        "suppress_edits",
        "call",
        "encrypted_room_one_to_one",
        "room_one_to_one",
        "message",
        "encrypted",
    ];
    assert_eq!(ids, expected.map(|id| format!(".m.rule.{id}")));
    assert!(rules.iter().all(|rule| rule.is_server_default()));
    let off: Vec<&str> = rules.iter().filter(|r| !r.enabled()).map(|r| r.rule_id()).collect();
    assert_eq!(off, [".m.rule.master", ENCRYPTED_EVENT]);
    let others: Vec<&str> = all.into_iter().filter(|id| !id.starts_with(".m.rule.")).collect();
    let expected = [
        ENCRYPTED_EVENT,
        ".org.matrix.msc3930.rule.poll_response",
        ".io.element.msc4306.rule.unsubscribed_thread",
        ".io.element.msc4306.rule.subscribed_thread",
        ".org.matrix.msc3930.rule.poll_start_one_to_one",
        ".org.matrix.msc3930.rule.poll_start",
        ".org.matrix.msc3930.rule.poll_end_one_to_one",
        ".org.matrix.msc3930.rule.poll_end",
    ];
    assert_eq!(others, expected);
}

#[test]
fn polls_notify_and_answers_to_them_do_not() {
    let rules = defaults();
    let poll = |kind: &str| event(&format!("org.matrix.msc3381.poll.{kind}"), &json!({}));
    assert_eq!(ask(&rules, &poll("start"), 5, false, ""), loud(false, ""));
    assert_eq!(ask(&rules, &poll("end"), 2, false, ""), loud(false, "default"));
    assert_eq!(ask(&rules, &poll("response"), 2, false, ""), SILENT);
}

#[test]
fn every_encrypted_event_notifies_who_asked_for_that() {
    let mut rules = defaults();
    rules.set_enabled(ruma::push::RuleKind::Override, ENCRYPTED_EVENT, true).unwrap();
    let merged = with_defaults(Some(rules), user_id!("@me:x"));
    let mut muted = merged.clone();
    muted.set_enabled(ruma::push::RuleKind::Underride, ".m.rule.encrypted", false).unwrap();
    let encrypted = event("m.room.encrypted", &json!({}));
    assert_eq!(ask(&muted, &encrypted, 5, false, ""), loud(false, ""));
}

#[test]
fn threads_notify_whoever_is_subscribed_and_nobody_else_but_who_is_mentioned() {
    let said = |rules: &Ruleset, content: Value, subscribed| {
        let compiled = CompiledRules::compile(rules, user_id!("@me:x"));
        let context = Context {
            room_id: "!room:x",
            joined_members: 5,
            sender_may_notify: &|_| false,
            display_name: None,
            thread_subscribed: subscribed,
        };
        let found = compiled.evaluate(&Flat::of_event(&message(&content).to_string()), &context);
        (found.notify, found.sound.map(str::to_owned))
    };
    let mut rules = defaults();
    let plain = json!({"body": "x"});
    let sound = Some("default".to_owned());
    assert_eq!(said(&rules, plain.clone(), None), (true, None));
    assert_eq!(said(&rules, plain.clone(), Some(false)), (false, None));
    assert_eq!(said(&rules, plain.clone(), Some(true)), (true, sound.clone()));
    let mention = json!({"body": "x", "m.mentions": {"user_ids": [ME]}});
    assert!(said(&rules, mention, Some(false)).0);
    // A muted room does not mute a thread in it.
    let mute = ruleset(json!({"room": [{"rule_id": "!room:x", "default": false, "enabled": true,
        "actions": []}]}));
    rules.room = mute.room;
    assert_eq!(said(&rules, plain.clone(), None), (false, None));
    assert_eq!(said(&rules, plain.clone(), Some(true)), (true, sound.clone()));
    // What is stored without these rules has them too, and what the user changed about them stays.
    let kind = ruma::push::RuleKind::PostContent;
    let id = ".io.element.msc4306.rule.unsubscribed_thread";
    let merged = with_defaults(Some(ruleset(json!({}))), user_id!("@me:x"));
    assert_eq!(said(&merged, plain.clone(), Some(false)), (false, None));
    rules.set_enabled(kind, id, false).unwrap();
    let merged = with_defaults(Some(rules), user_id!("@me:x"));
    assert_eq!(merged.postcontent.len(), 2);
    assert!(!merged.postcontent.get(id).unwrap().enabled);
}

#[test]
fn default_rules_say_what_the_spec_says() {
    let rules = defaults();
    let of = |event: &Value| outcome(&rules, event, false);
    assert_eq!(of(&message(&json!({"body": "hi @room me", "msgtype": "m.text"}))), loud(false, ""));
    assert_eq!(of(&message(&json!({"body": "hi", "msgtype": "m.notice"}))), SILENT);
    assert_eq!(
        of(&message(&json!({"m.mentions": {"user_ids": ["@me:x"]}}))),
        loud(true, "default")
    );
    assert_eq!(of(&message(&json!({"m.mentions": {"user_ids": ["@you:x"]}}))), loud(false, ""));
    assert_eq!(of(&message(&json!({"m.relates_to": {"rel_type": "m.replace"}}))), SILENT);
    assert_eq!(of(&event("m.reaction", &json!({}))), SILENT);
    assert_eq!(of(&event("m.call.invite", &json!({}))), loud(false, "ring"));
    assert_eq!(of(&event("m.room.encrypted", &json!({}))), loud(false, ""));
    assert_eq!(of(&event("m.custom", &json!({}))), SILENT);

    let everyone = message(&json!({"m.mentions": {"room": true}}));
    assert_eq!(outcome(&rules, &everyone, true), loud(true, ""));
    assert_eq!(outcome(&rules, &everyone, false), loud(false, ""));

    let mut state = event("m.room.tombstone", &json!({}));
    assert_eq!(of(&state), SILENT);
    state["state_key"] = json!("");
    assert_eq!(of(&state), loud(true, ""));
    state["type"] = json!("m.room.server_acl");
    assert_eq!(of(&state), SILENT);
    let mut invite = event("m.room.member", &json!({"membership": "invite"}));
    invite["state_key"] = json!(ME);
    assert_eq!(of(&invite), loud(false, "default"));
    invite["state_key"] = json!("@other:x");
    assert_eq!(of(&invite), SILENT);

    for kind in ["m.room.message", "m.room.encrypted"] {
        assert_eq!(ask(&rules, &event(kind, &json!({})), 2, false, ""), loud(false, "default"));
    }
}

#[test]
fn ones_own_events_never_notify() {
    let mut own = message(&json!({"m.mentions": {"user_ids": ["@me:x"]}}));
    assert!(outcome(&defaults(), &own, true).0);
    own["sender"] = json!(ME);
    assert_eq!(outcome(&defaults(), &own, true), SILENT);
}

fn ruleset(json: Value) -> Ruleset {
    serde_json::from_value(json).unwrap()
}

fn rule(id: &str, conditions: Value, actions: Value) -> Value {
    json!({"rule_id": id, "default": id.starts_with('.'), "enabled": true,
        "conditions": conditions, "actions": actions})
}

#[test]
fn stored_changes_are_kept_and_dropped_defaults_go() {
    let stored = ruleset(json!({
        "override": [
            rule("mine", json!([]), json!([])),
            rule(".m.rule.contains_display_name", json!([{"kind": "contains_display_name"}]),
                json!(["notify"])),
            {"rule_id": ".m.rule.reaction", "default": true, "enabled": false,
                "conditions": [], "actions": ["notify"]},
        ],
        "content": [{"rule_id": ".m.rule.contains_user_name", "default": true, "enabled": true,
            "pattern": "me", "actions": ["notify"]}],
    }));
    let merged = with_defaults(Some(stored), user_id!("@me:x"));
    let ids: Vec<&str> = merged.override_.iter().map(|rule| rule.rule_id.as_str()).collect();
    assert_eq!(ids[..3], [".m.rule.master", "mine", ENCRYPTED_EVENT]);
    assert!(!ids.contains(&".m.rule.contains_display_name"));
    assert!(merged.content.is_empty());
    let reaction = merged.override_.iter().find(|r| r.rule_id == ".m.rule.reaction").unwrap();
    assert!(!reaction.enabled && reaction.actions.len() == 1 && reaction.conditions.len() == 1);
    assert_eq!(merged.underride.len(), defaults().underride.len());
}

#[test]
fn kinds_are_asked_in_order_and_the_first_match_decides() {
    let all = json!({
        "override": [rule("o", json!([{"kind": "event_match", "key": "content.o", "pattern": "1"}]),
            json!(["notify", {"set_tweak": "sound", "value": "o"}]))],
        "content": [{"rule_id": "c", "default": false, "enabled": true, "pattern": "cake",
            "actions": ["notify", {"set_tweak": "sound", "value": "c"}]}],
        "room": [{"rule_id": "!room:x", "default": false, "enabled": true,
            "actions": ["notify", {"set_tweak": "sound", "value": "r"}]}],
        "sender": [{"rule_id": "@bob:y", "default": false, "enabled": true,
            "actions": ["notify", {"set_tweak": "sound", "value": "s"}]}],
        "underride": [rule("u", json!([]), json!(["notify", {"set_tweak": "sound", "value": "u"}]))],
    });
    let event = message(&json!({"o": "1", "body": "a Cake!"}));
    let mut left = all;
    for (kind, sound) in
        [("override", "o"), ("content", "c"), ("room", "r"), ("sender", "s"), ("underride", "u")]
    {
        assert_eq!(outcome(&ruleset(left.clone()), &event, false), loud(false, sound));
        left[kind][0]["enabled"] = json!(false);
    }
    assert_eq!(outcome(&ruleset(left), &event, false), SILENT);
}

#[test]
fn unknown_conditions_and_actions_do_nothing() {
    let odd = ruleset(json!({"override": [
        rule("a", json!([{"kind": "org.example.odd", "x": 1}]), json!(["notify"])),
    ]}));
    assert_eq!(outcome(&odd, &message(&json!({})), true), SILENT);
    let old =
        ruleset(json!({"override": [rule("a", json!([]), json!(["dont_notify", "coalesce"]))]}));
    assert_eq!(outcome(&old, &message(&json!({})), true), SILENT);
}

#[test]
fn the_display_name_is_found_as_a_word() {
    let rules = ruleset(json!({"override": [
        rule("a", json!([{"kind": "contains_display_name"}]), json!(["notify"])),
    ]}));
    let of =
        |body: &str, name: &str| ask(&rules, &message(&json!({ "body": body })), 5, false, name).0;
    assert!(of("hello JANE Doe!", "Jane Doe"));
    assert!(!of("hello jane does", "Jane Doe"));
    assert!(!of("hello", ""));
    assert!(!of("an ab", "a*b"));
}

#[test]
fn what_is_not_an_event_matches_no_property() {
    let flat = Flat::of_event("[1]");
    assert_eq!(flat.text("type"), None);
    let flat = Flat::of_event(r#"{"a.b":{"c\\d":"x"},"a":{"b":1.5,"c":[1,{},"y"]}}"#);
    assert_eq!(flat.text(r"a\.b.c\\d"), Some("x"));
    assert!(!flat.is("a.b", &Scalar::Integer(1)));
    assert!(flat.contains("a.c", &Scalar::Text("y".into())));
    assert!(!flat.contains("a.c", &Scalar::Null));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = std::task::Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// ruma's own evaluation.
fn oracle(rules: &Ruleset, event: &Value, members: u64, privileged: bool, name: &str) -> String {
    let users = [(user_id!("@bob:y").to_owned(), if privileged { 50 } else { 0 }.into())];
    let levels = PushConditionPowerLevelsCtx::new(
        users.into_iter().collect(),
        0.into(),
        NotificationPowerLevels::new(),
        RoomPowerLevelsRules::new(&AuthorizationRules::V11, None),
    );
    let context = PushConditionRoomCtx::new(
        owned_room_id!("!room:x"),
        UInt::try_from(members).unwrap(),
        user_id!("@me:x").to_owned(),
        name.to_owned(),
    );
    let event: Raw<Value> = Raw::from_json_string(event.to_string()).unwrap();
    let context = context.with_power_levels(levels);
    format!("{:?}", block_on(rules.get_actions(&event, &context)))
}

fn a_word() -> impl Strategy<Value = String> {
    prop::sample::select(
        [
            "me", "Me", "room", "@room", "a", "aa", "m.x", "m.notice", "x y", "cake lie", "é",
            "ca_ke", "-",
        ]
        .as_slice(),
    )
    .prop_map(str::to_owned)
}

/// Without two wildcards side by side: of those ruma 0.17 takes the second for itself.
fn a_pattern() -> impl Strategy<Value = String> {
    let pairs = ["**", "*?", "?*", "??"];
    prop_oneof![a_word(), "[a-c?*. ]{1,6}", "[A-Ba-b*?_-]{1,5}"]
        .prop_filter("wildcards side by side", move |p| !pairs.iter().any(|pair| p.contains(pair)))
}

fn a_key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "type",
        "state_key",
        "content.body",
        "content.n",
        "content.list",
        r"content.m\.x.y",
        "content.msgtype",
        "room_id",
        "sender",
        "content.absent",
    ])
}

fn a_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        a_word().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        Just(json!(true)),
        Just(Value::Null)
    ]
}

fn a_condition() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (a_key(), a_pattern())
            .prop_map(|(key, pattern)| json!({"kind": "event_match", "key": key, "pattern": pattern})),
        2 => (a_key(), a_scalar())
            .prop_map(|(key, value)| json!({"kind": "event_property_is", "key": key, "value": value})),
        2 => (a_key(), a_scalar()).prop_map(
            |(key, value)| json!({"kind": "event_property_contains", "key": key, "value": value})
        ),
        1 => prop::sample::select(vec!["2", "==2", "<2", ">2", "<=2", ">=2"])
            .prop_map(|is| json!({"kind": "room_member_count", "is": is})),
        1 => Just(json!({"kind": "sender_notification_permission", "key": "room"})),
        1 => Just(json!({"kind": "contains_display_name"})),
        1 => Just(json!({"kind": "org.example.odd"})),
    ]
}

fn an_event() -> impl Strategy<Value = Value> {
    let body = prop_oneof![
        prop::collection::vec(a_word(), 0..4).prop_map(|words| words.join(" ")),
        "[a-c .]{0,12}",
        "[A-Bab_é-]{0,8}",
    ];
    let scalars = prop::collection::vec(a_scalar(), 0..3);
    (a_word(), body, scalars, a_scalar(), prop::option::of(a_word()), any::<bool>()).prop_map(
        |(kind, body, list, n, state_key, own)| {
            let content = json!({"body": body, "n": n, "list": list, "m.x": {"y": n}});
            let mut event = event(&kind, &content);
            if let Some(key) = state_key {
                event["state_key"] = json!(key);
            }
            if own && kind == "a" {
                event["sender"] = json!(ME);
            }
            event
        },
    )
}

fn some_rules() -> impl Strategy<Value = Ruleset> {
    let rules = || prop::collection::vec(prop::collection::vec(a_condition(), 0..3), 0..4);
    let content = prop::collection::vec(a_pattern(), 0..3);
    (rules(), content, rules(), any::<[bool; 3]>()).prop_map(|(over, content, under, flags)| {
        let named = |prefix: &str, list: Vec<Vec<Value>>| -> Vec<Value> {
            let sound = |at| json!(["notify", {"set_tweak": "sound", "value": format!("{prefix}{at}")}]);
            let list = list.into_iter().enumerate();
            list.map(|(at, conditions)| rule(&format!("{prefix}{at}"), json!(conditions), sound(at)))
                .collect()
        };
        let content: Vec<Value> = content
            .into_iter()
            .enumerate()
            .map(|(at, pattern)| {
                json!({"rule_id": format!("c{at}"), "default": false, "enabled": at != 1,
                    "pattern": pattern, "actions": ["notify", {"set_tweak": "sound", "value": format!("c{at}")}]})
            })
            .collect();
        let simple = |id: &str, enabled: bool| {
            json!([{"rule_id": id, "default": false, "enabled": enabled,
                "actions": [{"set_tweak": "highlight"}]}])
        };
        let mut all = ruleset(json!({
            "override": named("o", over), "content": content, "underride": named("u", under),
            "room": simple("!room:x", flags[0]), "sender": simple("@bob:y", flags[1]),
        }));
        if flags[2] {
            all = with_defaults(Some(all), user_id!("@me:x"));
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_rules_say_of_any_event_what_ruma_says(
        rules in some_rules(), event in an_event(), members in 1..4_u64,
        privileged in any::<bool>(), name in a_word(),
    ) {
        let compiled = CompiledRules::compile(&rules, user_id!("@me:x"));
        let context = Context {
            room_id: "!room:x",
            joined_members: members,
            sender_may_notify: &|key| privileged && key == "room",
            display_name: Some(&name),
            thread_subscribed: None,
        };
        let flat = Flat::of_event(&event.to_string());
        let found = format!("{:?}", compiled.evaluate(&flat, &context).actions);
        prop_assert_eq!(found, oracle(&rules, &event, members, privileged, &name));
    }
}
