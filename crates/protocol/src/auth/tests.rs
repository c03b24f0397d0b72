//! Tests of the numbered rules, named by their number in version 12; each shows events that pass and
//! events that the rule refuses, in every version that has the rule. That no rule of no version is
//! left out is what `table` sees to.

mod levels;
mod member;
mod table;

use std::collections::BTreeMap;

use ruma::{RoomVersionId, room_id};
use serde_json::{Value, json, value::to_raw_value};

use super::*;
use crate::version::SUPPORTED;

const V11: RoomVersionId = RoomVersionId::V11;
const V12: RoomVersionId = RoomVersionId::V12;

/// A room with `@creator:x`, the moderator `@mod:x` (50) and `@bob:y` (0), all joined.
#[derive(Clone)]
struct World {
    version: RoomVersionId,
    state: BTreeMap<(String, String), Arc<StateEvent>>,
}

impl World {
    fn new(version: &RoomVersionId) -> World {
        let mut world = World { version: version.clone(), state: BTreeMap::new() };
        world.set("m.room.create", "", "@creator:x", json!({"creator": "@creator:x"}));
        for user in ["@creator:x", "@mod:x", "@bob:y"] {
            world.member(user, "join");
        }
        world.levels(json!({}));
        world.join_rule("public");
        world
    }

    /// The room's version as a number.
    fn number(&self) -> u8 {
        self.version.as_str().parse().unwrap()
    }

    /// The join rules that are restricted ones.
    fn restricted(&self) -> Vec<&'static str> {
        let known = if self.number() < 10 { 1 } else { 2 };
        ["restricted", "knock_restricted"].into_iter().take(known).collect()
    }

    /// The maps of levels that are guarded.
    fn maps(&self) -> Vec<&'static str> {
        let known = if self.number() < 6 { 1 } else { 2 };
        ["events", "notifications"].into_iter().take(known).collect()
    }

    fn set(&mut self, kind: &str, key: &str, sender: &str, content: Value) -> &mut World {
        let id = OwnedEventId::try_from(format!("${kind}{key}")).unwrap();
        let sender = OwnedUserId::try_from(sender).unwrap();
        let event = StateEvent::new(id, sender, to_raw_value(&content).unwrap());
        self.state.insert((kind.to_owned(), key.to_owned()), Arc::new(event));
        self
    }

    fn member(&mut self, user: &str, membership: &str) -> &mut World {
        self.set("m.room.member", user, user, json!({"membership": membership}))
    }

    fn join_rule(&mut self, rule: &str) -> &mut World {
        self.set("m.room.join_rules", "", "@creator:x", json!({"join_rule": rule}))
    }

    /// Power levels with the usual users, and these fields over them.
    fn levels(&mut self, over: Value) -> &mut World {
        let mut content = self.usual_levels();
        for (key, value) in over.as_object().unwrap() {
            content[key] = value.clone();
        }
        self.set("m.room.power_levels", "", "@creator:x", content)
    }

    fn usual_levels(&self) -> Value {
        let mut users = json!({"@mod:x": 50, "@creator:x": 100});
        if self.version == V12 {
            users.as_object_mut().unwrap().remove("@creator:x");
        }
        json!({ "users": users })
    }

    /// The number of the rule that refuses the event, or "" if none does.
    fn ask(&self, pdu: &Pdu) -> &'static str {
        let rules = &crate::rules(&self.version).unwrap().authorization;
        let pairs = select_auth_events(
            &self.version,
            &pdu.kind,
            &pdu.sender,
            pdu.state_key.as_deref(),
            &pdu.content,
        );
        let lookup = |kind: &str, key: &str| {
            let named =
                kind == "m.room.create" || pairs.iter().any(|(k, s)| *k == kind && s == key);
            assert!(named, "asked for {kind} {key}, which is not selected");
            self.state.get(&(kind.to_owned(), key.to_owned())).cloned()
        };
        match authorize(rules, &lookup, pdu) {
            Verdict::Accept => "",
            Verdict::Reject(rule) => rule.number,
            Verdict::Missing(ids) => panic!("missing {ids:?}"),
        }
    }

    /// The number of the rule that allows or refuses the event.
    fn deciding(&self, pdu: &Pdu) -> &'static str {
        let rules = &crate::rules(&self.version).unwrap().authorization;
        let lookup =
            |kind: &str, key: &str| self.state.get(&(kind.to_owned(), key.to_owned())).cloned();
        decide(rules, &lookup, pdu).unwrap_or_else(|rule| rule).number
    }

    #[track_caller]
    fn passes(&self, pdu: &Pdu) {
        assert_eq!(self.ask(pdu), "", "version {}", self.version);
    }

    #[track_caller]
    fn refuses(&self, pdu: &Pdu, rule_of_12: &str) {
        let expected = number(&self.version, rule_of_12);
        assert_eq!(self.ask(pdu), expected, "version {}", self.version);
    }
}

/// The number that the rule of this number in version 12 has in another version.
fn number(version: &RoomVersionId, rule_of_12: &str) -> String {
    let number = |version: &RoomVersionId, numbered: &rule::Numbered| {
        numbered.for_version(&crate::rules(version).unwrap().authorization).number
    };
    let found = rule::ALL.iter().find(|(_, numbered)| number(&V12, numbered) == rule_of_12);
    let (name, numbered) = found.unwrap_or_else(|| panic!("no rule {rule_of_12}"));
    let found = number(version, numbered);
    assert_ne!(found, "-", "version {version} has no {name}");
    found.to_owned()
}

fn event(kind: &str, sender: &str, state_key: Option<&str>, content: Value) -> Pdu {
    Pdu {
        event_id: OwnedEventId::try_from("$event").unwrap(),
        room_id: room_id!("!room:x").to_owned(),
        sender: OwnedUserId::try_from(sender).unwrap(),
        kind: kind.to_owned(),
        state_key: state_key.map(str::to_owned),
        content: to_raw_value(&content).unwrap(),
        origin_server_ts: 1,
        depth: 9,
        prev_events: vec![OwnedEventId::try_from("$prev").unwrap()],
        auth_events: Vec::new(),
        redacts: None,
        hashes: "{}".to_owned(),
        signatures: "{}".to_owned(),
        extra: BTreeMap::new(),
    }
}

fn member(sender: &str, target: &str, membership: &str) -> Pdu {
    event("m.room.member", sender, Some(target), json!({"membership": membership}))
}

fn message(sender: &str) -> Pdu {
    event("m.room.message", sender, None, json!({}))
}

fn every(test: impl Fn(World)) {
    since(1, test);
}

/// The same in the versions from this one on.
fn since(first: usize, test: impl Fn(World)) {
    SUPPORTED.iter().skip(first - 1).for_each(|version| test(World::new(version)));
}

fn create_event(version: &RoomVersionId, content: Value) -> Pdu {
    let mut pdu = event("m.room.create", "@creator:x", Some(""), content);
    pdu.prev_events.clear();
    if *version == V12 {
        pdu.room_id = OwnedRoomId::try_from("!event").unwrap();
    }
    pdu
}

#[test]
fn rule_1_1_refuses_a_create_event_with_previous_events() {
    every(|world| {
        let mut pdu = create_event(&world.version, json!({"creator": "@creator:x"}));
        world.passes(&pdu);
        pdu.prev_events.push(OwnedEventId::try_from("$prev").unwrap());
        world.refuses(&pdu, "1.1");
    });
}

#[test]
fn rule_1_2_wants_no_room_id_and_before_version_12_one_of_the_senders_server() {
    let mut pdu = create_event(&V12, json!({}));
    World::new(&V12).passes(&pdu);
    pdu.extra.insert("room_id".to_owned(), "\"!room:x\"".to_owned());
    World::new(&V12).refuses(&pdu, "1.2");
    for version in SUPPORTED.iter().filter(|version| **version != V12) {
        let mut pdu = create_event(version, json!({"creator": "@creator:x"}));
        World::new(version).passes(&pdu);
        for room in ["!room:y", "!room"] {
            pdu.room_id = OwnedRoomId::try_from(room).unwrap();
            assert_eq!(World::new(version).ask(&pdu), "1.2");
        }
    }
}

#[test]
fn rule_1_3_refuses_an_unknown_room_version() {
    every(|world| {
        for (version, known) in
            [(json!("1"), true), (json!("12"), true), (json!("odd"), false), (json!(11), false)]
        {
            let content = json!({"creator": "@creator:x", "room_version": version});
            let pdu = create_event(&world.version, content);
            if known { world.passes(&pdu) } else { world.refuses(&pdu, "1.3") }
        }
    });
}

#[test]
fn rule_1_4_wants_a_creator_before_version_11_and_valid_additional_ones_since_12() {
    for version in SUPPORTED.iter().take(10) {
        assert_eq!(World::new(version).ask(&create_event(version, json!({}))), "1.4");
    }
    World::new(&V11).passes(&create_event(&V11, json!({})));
    for (additional, valid) in [
        (json!([]), true),
        (json!(["@a:y", "@b:z"]), true),
        (json!("@a:y"), false),
        (json!(["a"]), false),
        (json!([1]), false),
        (json!(null), false),
    ] {
        let pdu = create_event(&V12, json!({"additional_creators": additional}));
        if valid {
            World::new(&V12).passes(&pdu)
        } else {
            World::new(&V12).refuses(&pdu, "1.4")
        }
        let before = create_event(&V11, json!({"additional_creators": additional}));
        World::new(&V11).passes(&before);
    }
}

#[test]
fn rule_2_wants_a_room_named_by_an_accepted_create_event() {
    let mut world = World::new(&V12);
    world.passes(&message("@bob:y"));
    world.state.remove(&("m.room.create".to_owned(), String::new()));
    world.refuses(&message("@bob:y"), "2");
    let mut before = World::new(&V11);
    before.state.remove(&("m.room.create".to_owned(), String::new()));
    assert_eq!(before.ask(&message("@bob:y")), "2.4");

    let mut pdu = message("@bob:y");
    pdu.room_id = OwnedRoomId::try_from("!create").unwrap();
    for (kind, rejected, passes) in
        [("m.room.create", false, true), ("m.room.create", true, false), ("m.x", false, false)]
    {
        let verdict = check_auth_events(&V12, &pdu, &|id| {
            assert_eq!(id, "$create");
            Some(AuthEvent { rejected, ..auth_event(kind, "") })
        });
        assert_eq!(number_of(verdict), if passes { "" } else { "2" });
    }
    let missing = check_auth_events(&V12, &pdu, &|_| None);
    assert_eq!(missing, Verdict::Missing(vec![OwnedEventId::try_from("$create").unwrap()]));
}

fn auth_event(kind: &str, state_key: &str) -> AuthEvent {
    let room_id = room_id!("!room:x").to_owned();
    let state_key = Some(state_key.to_owned());
    AuthEvent { room_id, kind: kind.to_owned(), state_key, rejected: false }
}

fn number_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "",
        Verdict::Reject(rule) => rule.number,
        Verdict::Missing(_) => "missing",
    }
}

/// The verdict on a message of `@bob:y` that names these auth events, beside the create event where
/// the version wants it named.
fn named(version: &RoomVersionId, events: &[AuthEvent]) -> &'static str {
    let mut pdu = message("@bob:y");
    let mut known = BTreeMap::new();
    let create = [auth_event("m.room.create", "")];
    let all: Vec<&AuthEvent> = match *version == V12 {
        true => events.iter().collect(),
        false => create.iter().chain(events).collect(),
    };
    for (at, event) in all.into_iter().enumerate() {
        let id = OwnedEventId::try_from(format!("${at}")).unwrap();
        pdu.auth_events.push(id.clone());
        known.insert(id, event.clone());
    }
    let room = OwnedEventId::try_from(pdu.room_id.as_str().replacen('!', "$", 1)).unwrap();
    known.insert(room, auth_event("m.room.create", ""));
    number_of(check_auth_events(version, &pdu, &|id| known.get(id).cloned()))
}

#[test]
fn rule_3_1_refuses_two_auth_events_of_one_kind() {
    for version in &SUPPORTED {
        let levels = auth_event("m.room.power_levels", "");
        assert_eq!(named(version, std::slice::from_ref(&levels)), "");
        assert_eq!(named(version, &[levels.clone(), levels]), number(version, "3.1"));
    }
}

#[test]
fn rule_3_2_refuses_auth_events_that_are_not_to_be_selected() {
    for version in &SUPPORTED {
        assert_eq!(named(version, &[auth_event("m.room.member", "@bob:y")]), "");
        for odd in [auth_event("m.room.member", "@mod:x"), auth_event("m.room.join_rules", "")] {
            assert_eq!(named(version, &[odd]), number(version, "3.2"));
        }
        let mut stateless = auth_event("m.room.power_levels", "");
        stateless.state_key = None;
        assert_eq!(named(version, &[stateless]), number(version, "3.2"));
    }
    assert_eq!(named(&V12, &[auth_event("m.room.create", "")]), "3.2");
}

#[test]
fn rule_3_3_refuses_rejected_auth_events() {
    for version in &SUPPORTED {
        let mut levels = auth_event("m.room.power_levels", "");
        levels.rejected = true;
        assert_eq!(named(version, &[levels]), number(version, "3.3"));
    }
}

#[test]
fn rule_3_4_refuses_auth_events_of_another_room() {
    for version in &SUPPORTED {
        let mut levels = auth_event("m.room.power_levels", "");
        levels.room_id = room_id!("!other:x").to_owned();
        assert_eq!(named(version, &[levels]), number(version, "3.4"));
    }
}

#[test]
fn rule_2_4_of_versions_before_12_wants_the_create_event_named() {
    for version in SUPPORTED.iter().filter(|version| **version != V12) {
        let mut pdu = message("@bob:y");
        let levels = |_: &EventId| Some(auth_event("m.room.power_levels", ""));
        assert_eq!(number_of(check_auth_events(version, &pdu, &levels)), "2.4");
        pdu.auth_events = vec![OwnedEventId::try_from("$c").unwrap()];
        let create = |_: &EventId| Some(auth_event("m.room.create", ""));
        assert_eq!(number_of(check_auth_events(version, &pdu, &create)), "");
    }
}

#[test]
fn auth_events_we_lack_are_missing_and_a_create_event_needs_none() {
    let mut pdu = message("@bob:y");
    pdu.auth_events = ["$a", "$b"].map(|id| OwnedEventId::try_from(id).unwrap()).to_vec();
    let verdict =
        check_auth_events(&V11, &pdu, &|id| (id == "$a").then(|| auth_event("m.room.create", "")));
    assert_eq!(verdict, Verdict::Missing(vec![OwnedEventId::try_from("$b").unwrap()]));
    let create = create_event(&V11, json!({}));
    assert!(check_auth_events(&V11, &create, &|_| None).is_accept());
    let odd = RoomVersionId::try_from("odd").unwrap();
    assert!(!check_auth_events(&odd, &create, &|_| None).is_accept());
}

#[test]
fn rule_4_keeps_other_servers_out_of_a_room_that_does_not_federate() {
    every(|mut world| {
        for (federate, closed) in [(json!(true), false), (json!(false), true), (json!(0), false)] {
            let content = json!({"creator": "@creator:x", "m.federate": federate});
            world.set("m.room.create", "", "@creator:x", content);
            world.passes(&message("@mod:x"));
            if closed {
                world.refuses(&message("@bob:y"), "4");
            } else {
                world.passes(&message("@bob:y"));
            }
        }
    });
}

#[test]
fn rule_6_refuses_events_of_users_who_are_not_joined() {
    every(|mut world| {
        world.passes(&message("@bob:y"));
        world.refuses(&message("@nobody:y"), "6");
        for membership in ["leave", "invite", "ban", "knock"] {
            world.member("@bob:y", membership);
            world.refuses(&message("@bob:y"), "6");
        }
    });
}

#[test]
fn rule_7_1_asks_for_the_invite_level_for_third_party_invites() {
    every(|mut world| {
        world.levels(json!({"invite": 50, "state_default": 100}));
        let invite = |who: &str| event("m.room.third_party_invite", who, Some("tok"), json!({}));
        world.passes(&invite("@mod:x"));
        world.refuses(&invite("@bob:y"), "7.1");
    });
}

#[test]
fn rule_8_asks_for_the_level_of_the_type() {
    every(|mut world| {
        world.levels(json!({"events": {"m.x": 50, "m.y": 51}}));
        world.passes(&event("m.x", "@mod:x", None, json!({})));
        world.refuses(&event("m.y", "@mod:x", None, json!({})), "8");
        world.passes(&event("m.z", "@bob:y", None, json!({})));
        world.refuses(&event("m.z", "@bob:y", Some(""), json!({})), "8");
        world.passes(&event("m.z", "@mod:x", Some(""), json!({})));
        world.passes(&event("m.y", "@creator:x", None, json!({})));
    });
}

#[test]
fn rule_8_lets_no_one_but_creators_change_state_without_power_levels() {
    every(|mut world| {
        world.state.remove(&("m.room.power_levels".to_owned(), String::new()));
        world.passes(&event("m.z", "@creator:x", Some(""), json!({})));
        world.refuses(&event("m.z", "@mod:x", Some(""), json!({})), "8");
        world.passes(&message("@bob:y"));
    });
}

#[test]
fn rule_9_refuses_another_users_id_as_state_key() {
    every(|world| {
        world.passes(&event("m.x", "@mod:x", Some("@mod:x"), json!({})));
        world.passes(&event("m.x", "@mod:x", Some("bob"), json!({})));
        world.refuses(&event("m.x", "@mod:x", Some("@bob:y"), json!({})), "9");
    });
}

#[test]
fn rule_11_allows_everything_else_and_since_version_3_a_redaction_is_nothing_special() {
    since(3, |world| {
        let mut redaction = event("m.room.redaction", "@bob:y", None, json!({}));
        redaction.event_id = OwnedEventId::try_from("$event:y").unwrap();
        redaction.redacts = Some(OwnedEventId::try_from("$other:z").unwrap());
        world.passes(&redaction);
    });
}

#[test]
fn rule_11_of_versions_1_and_2_asks_who_may_redact() {
    for version in &SUPPORTED[..2] {
        let mut world = World::new(version);
        world.levels(json!({"redact": 50}));
        let redaction = |sender: &str, id: &str, target: Option<&str>| {
            let mut pdu = event("m.room.redaction", sender, None, json!({}));
            pdu.event_id = OwnedEventId::try_from(id).unwrap();
            pdu.redacts = target.map(|id| OwnedEventId::try_from(id).unwrap());
            pdu
        };
        for (sender, id, target, rule) in [
            ("@mod:x", "$e:x", Some("$other:z"), "11.1"),
            ("@mod:x", "$e:x", None, "11.1"),
            ("@bob:y", "$e:y", Some("$other:y"), "11.2"),
            ("@bob:y", "$e:z", Some("$other:z"), "11.2"),
            ("@bob:y", "$e:y", Some("$other:x"), "11.3"),
            ("@bob:y", "$e:y", Some("$none"), "11.3"),
            ("@bob:y", "$e:y", None, "11.3"),
        ] {
            let pdu = redaction(sender, id, target);
            assert_eq!(world.ask(&pdu).is_empty(), rule != "11.3", "{sender} {target:?}");
            assert_eq!(world.deciding(&pdu), rule, "{sender} {target:?}");
        }
    }
}

#[test]
fn rule_4_of_versions_before_6_lets_servers_set_their_own_aliases() {
    for (position, version) in SUPPORTED.iter().enumerate() {
        let world = World::new(version);
        let aliases = |key: Option<&str>| event("m.room.aliases", "@nobody:y", key, json!({}));
        if position < 5 {
            for (key, rule) in [(None, "4.1"), (Some("x"), "4.2"), (Some(""), "4.2")] {
                assert_eq!(world.ask(&aliases(key)), rule, "version {version} {key:?}");
            }
            world.passes(&aliases(Some("y")));
            assert_eq!(world.deciding(&aliases(Some("y"))), "4.3");
        } else {
            world.refuses(&aliases(Some("y")), "6");
        }
    }
}

#[test]
fn additional_creators_have_infinite_power_in_version_12_only() {
    let levels = |version: &RoomVersionId| {
        let mut world = World::new(version);
        let content = json!({"creator": "@creator:x", "additional_creators": ["@bob:y"]});
        world.set("m.room.create", "", "@creator:x", content);
        world.levels(json!({"events": {"m.x": 9_007_199_254_740_991_i64}}));
        world.ask(&event("m.x", "@bob:y", None, json!({})))
    };
    assert_eq!(levels(&V12), "");
    assert_eq!(levels(&V11), "7");
}

#[test]
fn a_refused_client_is_told_the_rule() {
    let rules = &AuthorizationRules::V12;
    let verdict = Verdict::Reject(rule::POWER.for_version(rules));
    let base::Error::Refused(refusal) = verdict.into_reply().unwrap_err() else { panic!("fault") };
    assert_eq!((refusal.status, refusal.errcode), (403, "M_FORBIDDEN"));
    assert!(refusal.message.contains("(rule 8)"), "{}", refusal.message);
    assert!(Verdict::Accept.into_reply().is_ok());
    assert!(matches!(Verdict::Missing(vec![]).into_reply(), Err(base::Error::Fault(_))));
}
