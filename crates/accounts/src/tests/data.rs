use ruma::{
    push::{
        Action, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
        PushCondition, RuleKind, Ruleset,
    },
    user_id,
};
use serde_json::{Value, json};

use super::*;
use crate::{account_data, account_data::GLOBAL, filter, profile, push_rules, tag};

fn set_field(house: &House, user: User, key: &str, value: Value) -> Reply<()> {
    let key = key.to_owned();
    house.write(move |tx| profile::set(tx, user, &key, &value))
}

fn profile_of(house: &House, id: &ruma::UserId) -> Value {
    serde_json::from_str(&house.read(|view| profile::get(view, id)).unwrap()).unwrap()
}

#[test]
fn profile_fields_are_set_read_and_removed() {
    let house = House::new();
    let (user, id) = house.register("alice");
    assert_eq!(profile_of(&house, &id), json!({ "displayname": "alice" }));
    let tricky = json!({ "a": [1, null, "\"é\u{0}"] });
    set_field(&house, user, "displayname", json!("Alice")).unwrap();
    set_field(&house, user, "avatar_url", json!("mxc://example.org/abc")).unwrap();
    set_field(&house, user, "org.example.x", tricky.clone()).unwrap();
    set_field(&house, user, "org.example.null", Value::Null).unwrap();
    let whole = json!({
        "displayname": "Alice", "avatar_url": "mxc://example.org/abc",
        "org.example.x": tricky, "org.example.null": null,
    });
    assert_eq!(profile_of(&house, &id), whole);
    let one = house.read(|view| profile::get_field(view, &id, "displayname")).unwrap();
    assert_eq!(one, r#"{"displayname":"Alice"}"#);
    house.write(move |tx| profile::remove(tx, user, "displayname")).unwrap();
    house.write(move |tx| profile::remove(tx, user, "displayname")).unwrap();
    assert_eq!(
        code(house.read(|view| profile::get_field(view, &id, "displayname"))),
        "M_NOT_FOUND"
    );
}

#[test]
fn a_name_or_picture_that_is_set_to_nothing_is_removed() {
    let house = House::new();
    let (user, id) = house.register("alice");
    set_field(&house, user, "displayname", json!("")).unwrap();
    assert_eq!(profile_of(&house, &id), json!({}));
    set_field(&house, user, "avatar_url", json!("mxc://example.org/abc")).unwrap();
    set_field(&house, user, "avatar_url", Value::Null).unwrap();
    assert_eq!(profile_of(&house, &id), json!({}));
}

#[test]
fn a_profile_is_announced_when_it_changes_and_only_then() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let told = || house.log().iter().filter(|e| matches!(e, Entry::Profile { .. })).count();
    assert_eq!(told(), 0);
    for _ in 0..2 {
        set_field(&house, user, "displayname", json!("Alice")).unwrap();
        assert_eq!(told(), 1);
    }
    house.write(move |tx| profile::remove(tx, user, "displayname")).unwrap();
    house.write(move |tx| profile::remove(tx, user, "displayname")).unwrap();
    assert_eq!(told(), 2);
    assert_eq!(house.log().pop(), Some(Entry::Profile { user, key: "displayname".into() }));
}

#[test]
fn profiles_have_limits() {
    let house = House::new();
    let (user, id) = house.register("alice");
    let long_key = format!("a.{}", "x".repeat(254));
    assert_eq!(code(set_field(&house, user, &long_key, json!(1))), "M_KEY_TOO_LARGE");
    set_field(&house, user, &long_key[..255], json!(1)).unwrap();
    for key in ["", "A.b", "1a", ".a", "a b", "ä"] {
        assert_eq!(code(set_field(&house, user, key, json!(1))), "M_INVALID_PARAM", "{key}");
    }
    let bad = [
        ("displayname", json!(1)),
        ("displayname", json!("x".repeat(257))),
        ("avatar_url", json!("https://example.org/x.png")),
        ("avatar_url", json!({})),
        ("m.tz", json!(1)),
    ];
    for (key, value) in bad {
        assert_eq!(
            code(set_field(&house, user, key, value.clone())),
            "M_INVALID_PARAM",
            "{key} {value}"
        );
    }
    // A whole profile, up to a comma.
    let used = house.read(|view| profile::get(view, &id)).unwrap().len();
    let rest = 65_536 - used - r#","big":"""#.len();
    let big = |letter: &str, more: usize| {
        set_field(&house, user, "big", json!(letter.repeat(rest - 2 + more)))
    };
    assert_eq!(code(big("x", 3)), "M_PROFILE_TOO_LARGE");
    big("x", 0).unwrap();
    assert!(house.read(|view| profile::get(view, &id)).unwrap().len() <= 65_536);
    // Replacing counts what is replaced once.
    big("y", 0).unwrap();
}

#[test]
fn only_users_with_an_account_here_have_a_profile() {
    let house = House::new();
    house.register("alice");
    let remote = user_id!("@alice:elsewhere.org");
    house.write(move |tx| store::user::intern(tx, remote)).unwrap();
    for id in [user_id!("@bob:example.org"), remote] {
        assert_eq!(code(house.read(|view| profile::get(view, id))), "M_NOT_FOUND");
        let field = house.read(|view| profile::get_field(view, id, "displayname"));
        assert_eq!(code(field), "M_NOT_FOUND");
    }
}

#[test]
fn account_data_is_kept_by_user_place_and_type_and_announced() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let room = base::Room(7);
    let put = move |tx: &mut Tx| {
        account_data::set(tx, user, GLOBAL, "m.direct", r#"{"a":1}"#)?;
        account_data::set(tx, user, room, "m.direct", r#"{"b": 2}"#)
    };
    house.write(put).unwrap();
    let get = |place| house.read(|view| account_data::get(view, user, place, "m.direct")).unwrap();
    assert_eq!(get(GLOBAL).as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(get(room).as_deref(), Some(r#"{"b": 2}"#));
    assert_eq!(get(base::Room(8)), None);
    let kind = || "m.direct".to_owned();
    let log = house.log();
    assert!(log.contains(&Entry::AccountData { user, room: None, kind: kind() }));
    assert!(log.contains(&Entry::AccountData { user, room: Some(room), kind: kind() }));
}

#[test]
fn account_data_that_the_server_keeps_is_refused_with_405() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let set = |kind: &'static str, content: String| {
        house.write(move |tx| account_data::set(tx, user, GLOBAL, kind, &content))
    };
    for kind in ["m.fully_read", "m.push_rules"] {
        let no = refusal(set(kind, "{}".into()));
        assert_eq!((no.status, no.errcode), (405, "M_BAD_JSON"));
    }
    assert_eq!(code(set("x", "[]".into())), "M_BAD_JSON");
    assert_eq!(code(set("a\0", "{}".into())), "M_INVALID_PARAM");
    let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(512 << 10));
    assert_eq!(refusal(set("x", huge)).status, 413);
}

#[test]
fn tags_are_room_account_data_with_an_order_from_0_to_1() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let room = base::Room(7);
    let set = |tag: &str, info: Value| {
        let tag = tag.to_owned();
        house.write(move |tx| tag::set(tx, user, room, &tag, info.clone()))
    };
    set("m.favourite", json!({ "order": 0.25, "x": 1 })).unwrap();
    set("u.work", json!({})).unwrap();
    set("u.edge", json!({ "order": 1 })).unwrap();
    for order in [json!(-0.1), json!(1.1), json!("0.5"), json!(null)] {
        assert_eq!(code(set("u.bad", json!({ "order": order }))), "M_INVALID_PARAM", "{order}");
    }
    assert_eq!(code(set(&"x".repeat(256), json!({}))), "M_INVALID_PARAM");
    house.write(move |tx| tag::remove(tx, user, room, "u.work")).unwrap();
    house.write(move |tx| tag::remove(tx, user, room, "u.work")).unwrap();
    let text = house.read(|view| account_data::get(view, user, room, "m.tag")).unwrap().unwrap();
    let content: Value = serde_json::from_str(&text).unwrap();
    let tags = json!({ "m.favourite": { "order": 0.25, "x": 1 }, "u.edge": { "order": 1 } });
    assert_eq!(content, json!({ "tags": tags }));
}

#[test]
fn tags_survive_what_clients_write_into_them() {
    let house = House::new();
    let (user, _) = house.register("alice");
    for content in ["{}", r#"{"tags":3}"#] {
        let room = base::Room(7);
        house.write(move |tx| account_data::set(tx, user, room, "m.tag", content)).unwrap();
        assert!(house.read(|view| tag::list(view, user, room)).unwrap().is_empty());
    }
}

#[test]
fn a_filter_comes_back_as_it_was_and_has_one_id() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let (other, _) = house.register("bob");
    let put = |user, text: &'static str| house.write(move |tx| filter::put(tx, user, text));
    let text = r#"{"room":{"timeline":{"limit":10,"org.example":true}},"event_format":"client"}"#;
    let id = put(user, text).unwrap();
    assert!(!id.starts_with('{') && id.parse::<u64>().is_ok());
    let got = house.read(|view| filter::get(view, user, &id)).unwrap();
    let same = |a: &str, b: &str| {
        serde_json::from_str::<Value>(a).unwrap() == serde_json::from_str::<Value>(b).unwrap()
    };
    assert!(same(&got, text));
    let respaced =
        r#" {"event_format": "client", "room": {"timeline": {"org.example": true, "limit": 10}}}"#;
    assert_eq!(put(user, respaced).unwrap(), id);
    assert_ne!(put(user, "{}").unwrap(), id);
    assert_eq!(code(house.read(|view| filter::get(view, other, &id))), "M_NOT_FOUND");
    for unknown in ["0", "x", "-1", ""] {
        assert_eq!(code(house.read(|view| filter::get(view, user, unknown))), "M_NOT_FOUND");
    }
    for bad in ["[]", r#"{"room":1}"#, r#"{"room":{"timeline":{"limit":"x"}}}"#, "{"] {
        assert_eq!(code(put(user, bad)), "M_BAD_JSON", "{bad}");
    }
}

#[test]
fn filters_are_bounded_in_size_and_number() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let big = format!(r#"{{"x":"{}"}}"#, "x".repeat(64 << 10));
    assert_eq!(refusal(house.write(move |tx| filter::put(tx, user, &big))).status, 413);
    let many = move |tx: &mut Tx| {
        (0..200).try_for_each(|n| filter::put(tx, user, &format!(r#"{{"n":{n}}}"#)).map(drop))
    };
    house.write(many).unwrap();
    assert_eq!(refusal(house.write(move |tx| filter::put(tx, user, "{}"))).status, 413);
    // Those that are there are still found.
    house.write(move |tx| filter::put(tx, user, r#"{"n":3}"#)).unwrap();
}

fn alice() -> &'static ruma::UserId {
    user_id!("@alice:example.org")
}

fn content_rule(id: &str) -> NewPushRule {
    NewPushRule::Content(NewPatternedPushRule::new(id.into(), "cake".into(), vec![Action::Notify]))
}

fn override_rule(id: &str) -> NewPushRule {
    NewPushRule::Override(NewConditionalPushRule::new(id.into(), vec![], vec![]))
}

fn set_rule(
    house: &House,
    user: User,
    rule: NewPushRule,
    after: Option<&'static str>,
    before: Option<&'static str>,
) -> Reply<()> {
    house.write(move |tx| push_rules::set_rule(tx, user, alice(), rule.clone(), after, before))
}

fn rules(house: &House, user: User) -> Ruleset {
    house.read(|view| push_rules::get(view, user, alice())).unwrap()
}

fn own_content(house: &House, user: User) -> Vec<String> {
    let own = rules(house, user).content;
    own.into_iter().map(|rule| rule.rule_id).filter(|id| !id.starts_with('.')).collect()
}

#[test]
fn push_rules_go_where_before_and_after_say() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let set = |id, after, before| set_rule(&house, user, content_rule(id), after, before);
    set("a", None, None).unwrap();
    set("b", None, None).unwrap();
    assert_eq!(own_content(&house, user), ["b", "a"], "the newest is the most important");
    set("c", Some("b"), None).unwrap();
    assert_eq!(own_content(&house, user), ["b", "c", "a"]);
    set("d", None, Some("b")).unwrap();
    assert_eq!(own_content(&house, user), ["d", "b", "c", "a"]);
    set("a", None, Some("b")).unwrap();
    assert_eq!(own_content(&house, user), ["d", "a", "b", "c"]);
    set("a", None, None).unwrap();
    assert_eq!(own_content(&house, user), ["d", "a", "b", "c"], "a change does not move it");
    assert_eq!(code(set("e", Some("nope"), None)), "M_UNKNOWN");
    assert_eq!(code(set("e", None, Some(".m.rule.master"))), "M_INVALID_PARAM");
    for bad in [".mine", "a/b", "a\\b", ""] {
        assert_eq!(code(set_rule(&house, user, content_rule(bad), None, None)), "M_INVALID_PARAM");
    }
}

#[test]
fn the_master_rule_stays_first_and_a_users_own_come_before_the_defaults() {
    let house = House::new();
    let (user, _) = house.register("alice");
    set_rule(&house, user, override_rule("mine"), None, None).unwrap();
    let ids: Vec<String> = rules(&house, user).override_.into_iter().map(|r| r.rule_id).collect();
    assert_eq!(ids[..2], [".m.rule.master".to_owned(), "mine".to_owned()]);
    assert!(ids.contains(&".m.rule.is_user_mention".to_owned()));
}

#[test]
fn rules_are_switched_changed_and_removed() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let enable = |kind: RuleKind, rule: &'static str, on| {
        house.write(move |tx| push_rules::set_enabled(tx, user, alice(), kind.clone(), rule, on))
    };
    let remove = |kind: RuleKind, rule: &'static str| {
        house.write(move |tx| push_rules::remove_rule(tx, user, alice(), kind.clone(), rule))
    };
    enable(RuleKind::Override, ".m.rule.master", true).unwrap();
    assert!(rules(&house, user).get(RuleKind::Override, ".m.rule.master").unwrap().enabled());
    let set = move |tx: &mut Tx| {
        let kind = RuleKind::Underride;
        push_rules::set_actions(tx, user, alice(), kind, ".m.rule.message", vec![])
    };
    house.write(set).unwrap();
    let message = rules(&house, user);
    assert!(message.get(RuleKind::Underride, ".m.rule.message").unwrap().actions().is_empty());
    set_rule(&house, user, content_rule("cake"), None, None).unwrap();
    assert!(rules(&house, user).get(RuleKind::Content, "cake").unwrap().enabled());
    enable(RuleKind::Content, "cake", false).unwrap();
    set_rule(&house, user, content_rule("cake"), None, None).unwrap();
    assert!(!rules(&house, user).get(RuleKind::Content, "cake").unwrap().enabled());
    remove(RuleKind::Content, "cake").unwrap();
    assert_eq!(code(remove(RuleKind::Content, "cake")), "M_NOT_FOUND");
    assert_eq!(code(remove(RuleKind::Override, ".m.rule.master")), "M_INVALID_PARAM");
    assert_eq!(code(enable(RuleKind::Room, "nope", true)), "M_NOT_FOUND");
    let kind = "m.push_rules".to_owned();
    assert!(house.log().contains(&Entry::AccountData { user, room: None, kind }));
    let shown: Value =
        serde_json::from_str(&house.read(|v| push_rules::content(v, user, alice())).unwrap())
            .unwrap();
    assert!(shown["global"]["override"].is_array());
}

#[test]
fn push_rules_are_bounded() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let rule = |n: usize| {
        let pattern = "x".repeat(30 << 10);
        NewPushRule::Content(NewPatternedPushRule::new(format!("rule{n}"), pattern, vec![]))
    };
    for n in 0..4 {
        set_rule(&house, user, rule(n), None, None).unwrap();
    }
    assert_eq!(refusal(set_rule(&house, user, rule(4), None, None)).status, 413);
}

#[test]
fn account_data_that_is_deleted_is_gone_and_told_of() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let set = |content: &'static str| {
        house.write(move |tx| account_data::set(tx, user, GLOBAL, "x", content)).unwrap();
    };
    let get = || house.read(|view| account_data::get(view, user, GLOBAL, "x")).unwrap();
    let told = || {
        let of_x = |e: &&Entry| matches!(e, Entry::AccountData { kind, .. } if kind == "x");
        house.log().iter().filter(of_x).count()
    };
    let delete = || house.write(move |tx| account_data::delete(tx, user, GLOBAL, "x")).unwrap();
    delete();
    assert_eq!(told(), 0, "there was nothing to delete");
    set(r#"{"a":1}"#);
    delete();
    assert_eq!((get(), told()), (None, 2));
    set(r#"{"a":1}"#);
    set("{ }");
    assert_eq!((get(), told()), (None, 4), "setting nothing deletes");
    let ours = house.write(move |tx| account_data::delete(tx, user, GLOBAL, "m.push_rules"));
    assert_eq!(refusal(ours).status, 405);
}

#[test]
fn deleted_account_data_gives_room_to_others() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let set = |kind: String| {
        house.write(move |tx| account_data::set(tx, user, GLOBAL, &kind, r#"{"a":1}"#))
    };
    let mut full = 0;
    while set(format!("x{full}")).is_ok() {
        full += 1;
    }
    house.write(move |tx| account_data::delete(tx, user, GLOBAL, "x3")).unwrap();
    set("new".into()).unwrap();
    assert_eq!(code(set("more".into())), "M_TOO_LARGE");
}

#[test]
fn what_is_kept_for_a_room_goes_with_the_user_to_the_one_that_replaced_it() {
    let house = House::new();
    let (user, id) = house.register("alice");
    let (old, new) =
        ((base::Room(7), ruma::room_id!("!old:x")), (base::Room(8), ruma::room_id!("!new:x")));
    let mute = move |tx: &mut Tx, id: &ruma::UserId| {
        let here = PushCondition::EventMatch(ruma::push::EventMatchConditionData::new(
            "room_id".into(),
            "!old:x".into(),
        ));
        let rule = NewConditionalPushRule::new("!old:x".into(), vec![here], vec![]);
        push_rules::set_rule(tx, user, id, NewPushRule::Override(rule), None, None)?;
        push_rules::set_enabled(tx, user, id, RuleKind::Override, "!old:x", false)?;
        let rule = NewSimplePushRule::new(old.1.to_owned(), vec![Action::Notify]);
        push_rules::set_rule(tx, user, id, NewPushRule::Room(rule), None, None)
    };
    let alice = id.clone();
    house
        .write(move |tx| {
            tag::set(tx, user, old.0, "m.favourite", serde_json::json!({"order": 0.1}))?;
            tag::set(tx, user, old.0, "u.both", serde_json::json!({"order": 0.1}))?;
            tag::set(tx, user, new.0, "u.both", serde_json::json!({"order": 0.9}))?;
            let direct = r#"{"@bob:x":["!old:x"],"@carol:x":["!other:x"],"odd":7}"#;
            account_data::set(tx, user, GLOBAL, "m.direct", direct)?;
            mute(tx, &alice)?;
            // Twice is as once.
            crate::successor::carry_over(tx, user, &alice, old, new)?;
            crate::successor::carry_over(tx, user, &alice, old, new)
        })
        .unwrap();
    let tags = house.read(|view| tag::list(view, user, new.0)).unwrap();
    let tags = serde_json::Value::Object(tags);
    assert_eq!(tags, serde_json::json!({"m.favourite": {"order": 0.1}, "u.both": {"order": 0.9}}));
    let direct = house.read(|view| account_data::get(view, user, GLOBAL, "m.direct")).unwrap();
    let direct: serde_json::Value = serde_json::from_str(&direct.unwrap()).unwrap();
    let expected = serde_json::json!({"@bob:x": ["!old:x", "!new:x"], "@carol:x": ["!other:x"],
        "odd": 7});
    assert_eq!(direct, expected);
    let rules = house.read(|view| push_rules::get(view, user, &id)).unwrap();
    let muted = rules.override_.iter().find(|rule| rule.rule_id == "!new:x").unwrap();
    assert!(!muted.enabled);
    let asked = serde_json::to_value(&muted.conditions).unwrap();
    assert_eq!(asked[0]["pattern"], "!new:x");
    assert!(rules.room.iter().any(|rule| rule.rule_id == "!new:x"));
}
