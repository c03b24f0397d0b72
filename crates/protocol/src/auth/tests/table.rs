//! Every numbered rule of every version, with an event that it lets through or allows, and one that it
//! refuses or does not allow. What is missing fails the test.

use super::*;
use crate::key::SigningKey;

/// The rules of each version that decide, by the numbers the spec renders, in its order. Behind the
/// number is what the rule does: `-` it refuses, `+` it allows, `±` either ("allow if and only if").
/// Numbers that only head a list, or only say where to find a key, decide nothing.
const RULES: [(&[u8], &str); 8] = [
    (
        &[1, 2],
        "1.1- 1.2- 1.3- 1.4- 1.5+ 2.1- 2.2- 2.3- 2.4- 2.5- 3- 4.1- 4.2- 4.3+ 5.1- 5.2.1+ 5.2.2- 5.2.3- \
         5.2.4+ 5.2.5+ 5.2.6- 5.3.1.1- 5.3.1.2- 5.3.1.3- 5.3.1.4- 5.3.1.5- 5.3.1.6- 5.3.1.7+ 5.3.1.8- \
         5.3.2- 5.3.3- 5.3.4+ 5.3.5- 5.4.1± 5.4.2- 5.4.3- 5.4.4+ 5.4.5- 5.5.1- 5.5.2+ 5.5.3- 5.6- 6- \
         7.1± 8- 9- 10.1- 10.2+ 10.3.1- 10.3.2- 10.4.1- 10.5.1- 10.6.1- 10.7.1- 10.8+ 11.1+ 11.2+ \
         11.3- 12+",
    ),
    (
        &[3, 4, 5],
        "1.1- 1.2- 1.3- 1.4- 1.5+ 2.1- 2.2- 2.3- 2.4- 2.5- 3- 4.1- 4.2- 4.3+ 5.1- 5.2.1+ 5.2.2- 5.2.3- \
         5.2.4+ 5.2.5+ 5.2.6- 5.3.1.1- 5.3.1.2- 5.3.1.3- 5.3.1.4- 5.3.1.5- 5.3.1.6- 5.3.1.7+ 5.3.1.8- \
         5.3.2- 5.3.3- 5.3.4+ 5.3.5- 5.4.1± 5.4.2- 5.4.3- 5.4.4+ 5.4.5- 5.5.1- 5.5.2+ 5.5.3- 5.6- 6- \
         7.1± 8- 9- 10.1- 10.2+ 10.3.1- 10.3.2- 10.4.1- 10.5.1- 10.6.1- 10.7.1- 10.8+ 11+",
    ),
    (
        &[6],
        "1.1- 1.2- 1.3- 1.4- 1.5+ 2.1- 2.2- 2.3- 2.4- 2.5- 3- 4.1- 4.2.1+ 4.2.2- 4.2.3- 4.2.4+ 4.2.5+ \
         4.2.6- 4.3.1.1- 4.3.1.2- 4.3.1.3- 4.3.1.4- 4.3.1.5- 4.3.1.6- 4.3.1.7+ 4.3.1.8- 4.3.2- 4.3.3- \
         4.3.4+ 4.3.5- 4.4.1± 4.4.2- 4.4.3- 4.4.4+ 4.4.5- 4.5.1- 4.5.2+ 4.5.3- 4.6- 5- 6.1± 7- 8- \
         9.1- 9.2+ 9.3.1- 9.3.2- 9.4.1- 9.5.1- 9.6.1- 9.7.1- 9.8+ 10+",
    ),
    (
        &[7],
        "1.1- 1.2- 1.3- 1.4- 1.5+ 2.1- 2.2- 2.3- 2.4- 2.5- 3- 4.1- 4.2.1+ 4.2.2- 4.2.3- 4.2.4+ 4.2.5+ \
         4.2.6- 4.3.1.1- 4.3.1.2- 4.3.1.3- 4.3.1.4- 4.3.1.5- 4.3.1.6- 4.3.1.7+ 4.3.1.8- 4.3.2- 4.3.3- \
         4.3.4+ 4.3.5- 4.4.1± 4.4.2- 4.4.3- 4.4.4+ 4.4.5- 4.5.1- 4.5.2+ 4.5.3- 4.6.1- 4.6.2- 4.6.3+ \
         4.6.4- 4.7- 5- 6.1± 7- 8- 9.1- 9.2+ 9.3.1- 9.3.2- 9.4.1- 9.5.1- 9.6.1- 9.7.1- 9.8+ 10+",
    ),
    (
        &[8, 9],
        "1.1- 1.2- 1.3- 1.4- 1.5+ 2.1- 2.2- 2.3- 2.4- 2.5- 3- 4.1- 4.2.1- 4.3.1+ 4.3.2- 4.3.3- 4.3.4+ \
         4.3.5.1+ 4.3.5.2- 4.3.5.3+ 4.3.6+ 4.3.7- 4.4.1.1- 4.4.1.2- 4.4.1.3- 4.4.1.4- 4.4.1.5- \
         4.4.1.6- 4.4.1.7+ 4.4.1.8- 4.4.2- 4.4.3- 4.4.4+ 4.4.5- 4.5.1± 4.5.2- 4.5.3- 4.5.4+ 4.5.5- \
         4.6.1- 4.6.2+ 4.6.3- 4.7.1- 4.7.2- 4.7.3+ 4.7.4- 4.8- 5- 6.1± 7- 8- 9.1- 9.2+ 9.3.1- 9.3.2- \
         9.4.1- 9.5.1- 9.6.1- 9.7.1- 9.8+ 10+",
    ),
    (
        &[10],
        "1.1- 1.2- 1.3- 1.4- 1.5+ 2.1- 2.2- 2.3- 2.4- 2.5- 3- 4.1- 4.2.1- 4.3.1+ 4.3.2- 4.3.3- 4.3.4+ \
         4.3.5.1+ 4.3.5.2- 4.3.5.3+ 4.3.6+ 4.3.7- 4.4.1.1- 4.4.1.2- 4.4.1.3- 4.4.1.4- 4.4.1.5- \
         4.4.1.6- 4.4.1.7+ 4.4.1.8- 4.4.2- 4.4.3- 4.4.4+ 4.4.5- 4.5.1± 4.5.2- 4.5.3- 4.5.4+ 4.5.5- \
         4.6.1- 4.6.2+ 4.6.3- 4.7.1- 4.7.2- 4.7.3+ 4.7.4- 4.8- 5- 6.1± 7- 8- 9.1- 9.2- 9.3- 9.4+ \
         9.5.1- 9.5.2- 9.6.1- 9.7.1- 9.8.1- 9.9.1- 9.10+ 10+",
    ),
    (
        &[11],
        "1.1- 1.2- 1.3- 1.4+ 2.1- 2.2- 2.3- 2.4- 2.5- 3- 4.1- 4.2.1- 4.3.1+ 4.3.2- 4.3.3- 4.3.4+ \
         4.3.5.1+ 4.3.5.2- 4.3.5.3+ 4.3.6+ 4.3.7- 4.4.1.1- 4.4.1.2- 4.4.1.3- 4.4.1.4- 4.4.1.5- \
         4.4.1.6- 4.4.1.7+ 4.4.1.8- 4.4.2- 4.4.3- 4.4.4+ 4.4.5- 4.5.1± 4.5.2- 4.5.3- 4.5.4+ 4.5.5- \
         4.6.1- 4.6.2+ 4.6.3- 4.7.1- 4.7.2- 4.7.3+ 4.7.4- 4.8- 5- 6.1± 7- 8- 9.1- 9.2- 9.3- 9.4+ \
         9.5.1- 9.5.2- 9.6.1- 9.7.1- 9.8.1- 9.9.1- 9.10+ 10+",
    ),
    (
        &[12],
        "1.1- 1.2- 1.3- 1.4- 1.5+ 2- 3.1- 3.2- 3.3- 3.4- 4- 5.1- 5.2.1- 5.3.1+ 5.3.2- 5.3.3- 5.3.4+ \
         5.3.5.1+ 5.3.5.2- 5.3.5.3+ 5.3.6+ 5.3.7- 5.4.1.1- 5.4.1.2- 5.4.1.3- 5.4.1.4- 5.4.1.5- \
         5.4.1.6- 5.4.1.7+ 5.4.1.8- 5.4.2- 5.4.3- 5.4.4+ 5.4.5- 5.5.1± 5.5.2- 5.5.3- 5.5.4+ 5.5.5- \
         5.6.1- 5.6.2+ 5.6.3- 5.7.1- 5.7.2- 5.7.3+ 5.7.4- 5.8- 6- 7.1± 8- 9- 10.1- 10.2- 10.3- 10.4- \
         10.5+ 10.6.1- 10.6.2- 10.7.1- 10.8.1- 10.9.1- 10.10.1- 10.11+ 11+",
    ),
];

/// The spec's rules of a version: number and what it does.
fn rules_of(version: u8) -> Vec<(&'static str, char)> {
    let (_, rules) = RULES.iter().find(|(versions, _)| versions.contains(&version)).unwrap();
    let split = |rule: &'static str| {
        let does = rule.chars().last().unwrap();
        (rule.trim_end_matches(does), does)
    };
    rules.split_ascii_whitespace().map(split).collect()
}

#[test]
fn the_rules_of_every_version_have_the_numbers_of_the_spec_in_its_order() {
    for version in &SUPPORTED {
        let rules = &crate::rules(version).unwrap().authorization;
        let ours = rule::ALL.iter().map(|(_, numbered)| numbered.for_version(rules).number);
        let ours: Vec<_> = ours.filter(|number| *number != "-").collect();
        let theirs = rules_of(version.as_str().parse().unwrap());
        assert_eq!(ours, theirs.iter().map(|(number, _)| *number).collect::<Vec<_>>(), "{version}");
        assert_eq!(theirs.len(), ours.len());
    }
}

#[test]
fn every_rule_of_every_version_has_an_event_that_passes_it_and_one_that_fails_it() {
    let mut pairs = 0;
    for version in &SUPPORTED {
        let rules = &crate::rules(version).unwrap().authorization;
        for (number, does) in rules_of(version.as_str().parse().unwrap()) {
            let found = rule::ALL.iter().find(|(_, r)| r.for_version(rules).number == number);
            let (name, _) = found.unwrap_or_else(|| panic!("version {version}: no rule {number}"));
            let Case { pass, fail } = case(version, name);
            let context = format!("version {version}, rule {number} ({name})");
            let allowed = if does == '-' { pass.is_ok() } else { pass == Ok(number) };
            assert!(allowed, "{context}: the passing case is decided by {pass:?}");
            let refused = if does == '+' { fail.is_err() } else { fail == Err(number) };
            assert!(refused, "{context}: the failing case is decided by {fail:?}");
            pairs += 1;
        }
    }
    assert!(pairs > 12 * 50, "{pairs}");
}

/// What was decided about two events: by which rule it is allowed, or refused.
struct Case {
    pass: Result<&'static str, &'static str>,
    fail: Result<&'static str, &'static str>,
}

/// The decision on an event in a room of this state.
fn decided(world: &World, pdu: &Pdu) -> Result<&'static str, &'static str> {
    match world.ask(pdu) {
        "" => Ok(world.deciding(pdu)),
        number => Err(number),
    }
}

/// One room each, changed and asked.
fn each(
    version: &RoomVersionId,
    pass: impl Fn(&mut World) -> Pdu,
    fail: impl Fn(&mut World) -> Pdu,
) -> Case {
    let ask = |make: &dyn Fn(&mut World) -> Pdu| {
        let mut world = World::new(version);
        let pdu = make(&mut world);
        decided(&world, &pdu)
    };
    Case { pass: ask(&pass), fail: ask(&fail) }
}

/// The same room, two events.
fn both(version: &RoomVersionId, pass: Pdu, fail: Pdu) -> Case {
    each(version, |_| pass.clone(), |_| fail.clone())
}

fn case(version: &RoomVersionId, name: &str) -> Case {
    let family = name.split('_').next().unwrap_or_default();
    match family {
        "CREATE" => creates(version, name),
        "AUTH" => auth_events_of(version, name),
        "ALIASES" | "REDACTION" => of_old_versions(version, name),
        "MEMBER" | "MEMBERSHIP" | "KNOCK" | "LEAVE" | "KICK" | "UNBAN" | "BAN" => {
            moves(version, name)
        }
        "JOIN" => joins(version, name),
        "INVITE" => invites(version, name),
        "LEVELS" => levels(version, name),
        _ => anything(version, name),
    }
}

fn creates(version: &RoomVersionId, name: &str) -> Case {
    let good = create_event(version, json!({"creator": "@creator:x"}));
    let mut bad = good.clone();
    let with = |more: Value| create_event(version, more);
    match name {
        "CREATE" | "CREATE_PREV" => bad.prev_events = message("@bob:y").prev_events,
        "CREATE_ROOM_ID" => {
            bad.extra.insert("room_id".to_owned(), "\"!room:x\"".to_owned());
        }
        "CREATE_DOMAIN" => bad.room_id = room_id!("!room:y").to_owned(),
        "CREATE_VERSION" => bad = with(json!({"creator": "@creator:x", "room_version": "odd"})),
        "CREATE_CREATOR" => bad = with(json!({})),
        "CREATE_ADDITIONAL" => bad = with(json!({"additional_creators": ["nobody"]})),
        _ => panic!("no case for {name}"),
    }
    both(version, good, bad)
}

fn auth_events_of(version: &RoomVersionId, name: &str) -> Case {
    let levels = auth_event("m.room.power_levels", "");
    let bad = match name {
        "AUTH_DUPLICATE" => vec![levels.clone(), levels.clone()],
        "AUTH_UNEXPECTED" => vec![auth_event("m.room.topic", "")],
        "AUTH_REJECTED" => vec![AuthEvent { rejected: true, ..levels.clone() }],
        "AUTH_OTHER_ROOM" => {
            vec![AuthEvent { room_id: room_id!("!other:x").to_owned(), ..levels.clone() }]
        }
        "AUTH_NO_CREATE" => {
            let pdu = message("@bob:y");
            let verdict = check_auth_events(version, &pdu, &|_| None);
            return Case {
                pass: asked(named(version, &[levels])),
                fail: asked(number_of(verdict)),
            };
        }
        _ => panic!("no case for {name}"),
    };
    Case { pass: asked(named(version, &[levels])), fail: asked(named(version, &bad)) }
}

fn asked(number: &'static str) -> Result<&'static str, &'static str> {
    if number.is_empty() { Ok("") } else { Err(number) }
}

fn of_old_versions(version: &RoomVersionId, name: &str) -> Case {
    let aliases = |key: Option<&str>| event("m.room.aliases", "@bob:y", key, json!({}));
    let redaction = |sender: &str, target: &str| {
        let mut pdu = event("m.room.redaction", sender, None, json!({}));
        pdu.event_id = OwnedEventId::try_from("$event:y").unwrap();
        pdu.redacts = OwnedEventId::try_from(target).ok();
        pdu
    };
    match name {
        "ALIASES_FORM" => both(version, aliases(Some("y")), aliases(None)),
        "ALIASES_DOMAIN" | "ALIASES" => both(version, aliases(Some("y")), aliases(Some("x"))),
        "REDACTION_POWER" => {
            both(version, redaction("@mod:x", "$e:z"), redaction("@bob:y", "$e:z"))
        }
        "REDACTION_DOMAIN" | "REDACTION" => {
            both(version, redaction("@bob:y", "$e:y"), redaction("@bob:y", "$e:z"))
        }
        _ => panic!("no case for {name}"),
    }
}

fn authorised(by: &str, signed_by: &str) -> Pdu {
    let content = json!({"membership": "join", "join_authorised_via_users_server": by});
    let mut pdu = event("m.room.member", "@new:z", Some("@new:z"), content);
    pdu.signatures = json!({ signed_by: {"ed25519:1": "sig"} }).to_string();
    pdu
}

fn joins(version: &RoomVersionId, name: &str) -> Case {
    let join = || member("@new:z", "@new:z", "join");
    // A room with this rule, where the new user has this membership.
    let as_member = |rule: &'static str, membership: &'static str, pdu: Pdu| {
        move |world: &mut World| {
            world.join_rule(rule).member("@new:z", membership);
            pdu.clone()
        }
    };
    let first = |who: &str| {
        let pdu = member(who, who, "join");
        move |world: &mut World| {
            world.state.retain(|(kind, _), _| kind == "m.room.create");
            let create = world.state.values().next().unwrap().event_id.clone();
            Pdu { prev_events: vec![create], ..pdu.clone() }
        }
    };
    match name {
        "JOIN_CREATOR" => each(version, first("@creator:x"), first("@bob:y")),
        "JOIN_OTHERS" => both(version, join(), member("@mod:x", "@new:z", "join")),
        "JOIN_BANNED" => {
            each(version, as_member("public", "leave", join()), as_member("public", "ban", join()))
        }
        "JOIN_PUBLIC" => each(
            version,
            as_member("public", "leave", join()),
            as_member("invite", "leave", join()),
        ),
        "JOIN_INVITED" | "JOIN_RULE" => each(
            version,
            as_member("invite", "invite", join()),
            as_member("invite", "leave", join()),
        ),
        "JOIN_RESTRICTED" => each(
            version,
            as_member("restricted", "invite", join()),
            as_member("restricted", "leave", join()),
        ),
        "JOIN_NO_INVITER" | "JOIN_AUTHORISED" => each(
            version,
            as_member("restricted", "leave", authorised("@mod:x", "x")),
            as_member("restricted", "leave", authorised("@nobody:x", "x")),
        ),
        _ => panic!("no case for {name}"),
    }
}

/// An invite of `@new:z` by `@mod:x` through a third-party invite with the token `tok`, in a room that
/// has one of this sender and key.
fn third_party(
    sender: &'static str,
    key_known: bool,
    change: fn(&mut Value),
) -> impl Fn(&mut World) -> Pdu {
    move |world: &mut World| {
        let key = SigningKey::generate([9; 32], "1").unwrap();
        let mut signed =
            crate::json::canonical_object(r#"{"mxid":"@new:z","token":"tok"}"#).unwrap();
        key.sign_json("id.example", &mut signed).unwrap();
        let public = if key_known { key.public_key() } else { "AAAA".to_owned() };
        let content = json!({"public_keys": [{"public_key": public}]});
        world.set("m.room.third_party_invite", "tok", sender, content);
        let mut invite = json!({ "signed": signed });
        change(&mut invite);
        let content = json!({"membership": "invite", "third_party_invite": invite});
        event("m.room.member", "@mod:x", Some("@new:z"), content)
    }
}

fn invites(version: &RoomVersionId, name: &str) -> Case {
    let good = || third_party("@mod:x", true, |_| {});
    let changed =
        |change: fn(&mut Value)| each(version, good(), third_party("@mod:x", true, change));
    let invite = |sender: &str, whom: &str| member(sender, whom, "invite");
    let guarded = |sender: &'static str| {
        move |world: &mut World| {
            world.levels(json!({"invite": 50}));
            member(sender, "@new:z", "invite")
        }
    };
    match name {
        "INVITE_3PID_BANNED" => each(version, good(), |world| {
            world.member("@new:z", "ban");
            good()(world)
        }),
        "INVITE_3PID_UNSIGNED" => changed(|invite| *invite = json!({})),
        "INVITE_3PID_FORM" => changed(|invite| invite["signed"] = json!({"mxid": "@new:z"})),
        "INVITE_3PID_USER" => changed(|invite| invite["signed"]["mxid"] = json!("@other:z")),
        "INVITE_3PID_TOKEN" => changed(|invite| invite["signed"]["token"] = json!("other")),
        "INVITE_3PID_SENDER" => each(version, good(), third_party("@bob:y", true, |_| {})),
        "INVITE_3PID" | "INVITE_3PID_KEY" => {
            each(version, good(), third_party("@mod:x", false, |_| {}))
        }
        "INVITE_NOT_JOINED" => {
            both(version, invite("@bob:y", "@new:z"), invite("@nobody:y", "@new:z"))
        }
        "INVITE_PRESENT" => both(version, invite("@bob:y", "@new:z"), invite("@bob:y", "@mod:x")),
        "INVITE" | "INVITE_POWER" => each(version, guarded("@mod:x"), guarded("@bob:y")),
        _ => panic!("no case for {name}"),
    }
}

fn moves(version: &RoomVersionId, name: &str) -> Case {
    let leave = |sender: &str, whom: &str| member(sender, whom, "leave");
    let ban = |sender: &str, whom: &str| member(sender, whom, "ban");
    let unban = |sender: &'static str| {
        move |world: &mut World| {
            world.member("@new:z", "ban").levels(json!({"ban": 51}));
            member(sender, "@new:z", "leave")
        }
    };
    let knock = |rule: &'static str, membership: &'static str, sender: &'static str| {
        move |world: &mut World| {
            world.join_rule(rule).member("@new:z", membership);
            member(sender, "@new:z", "knock")
        }
    };
    let good_knock = || knock("knock", "leave", "@new:z");
    match name {
        "MEMBER_FORM" => {
            let odd = event("m.room.member", "@bob:y", Some("@bob:y"), json!({}));
            both(version, leave("@bob:y", "@bob:y"), odd)
        }
        "MEMBER_UNSIGNED" => both(version, authorised("@mod:x", "x"), authorised("@mod:x", "z")),
        "MEMBERSHIP_UNKNOWN" => {
            both(version, leave("@bob:y", "@bob:y"), member("@bob:y", "@bob:y", "odd"))
        }
        "LEAVE" => both(version, leave("@bob:y", "@bob:y"), leave("@new:z", "@new:z")),
        "KICK_NOT_JOINED" => both(version, leave("@mod:x", "@bob:y"), leave("@new:z", "@bob:y")),
        "KICK" | "KICK_POWER" => {
            both(version, leave("@mod:x", "@bob:y"), leave("@mod:x", "@creator:x"))
        }
        "UNBAN_POWER" => each(version, unban("@creator:x"), unban("@mod:x")),
        "BAN_NOT_JOINED" => both(version, ban("@mod:x", "@bob:y"), ban("@new:z", "@bob:y")),
        "BAN" | "BAN_POWER" => both(version, ban("@mod:x", "@bob:y"), ban("@mod:x", "@creator:x")),
        "KNOCK_RULE" => each(version, good_knock(), knock("invite", "leave", "@new:z")),
        "KNOCK_OTHERS" => each(version, good_knock(), knock("knock", "leave", "@mod:x")),
        "KNOCK" | "KNOCK_PRESENT" => {
            each(version, good_knock(), knock("knock", "invite", "@new:z"))
        }
        _ => panic!("no case for {name}"),
    }
}

fn levels(version: &RoomVersionId, name: &str) -> Case {
    // A change by the moderator from these fields over the usual levels to those.
    let change = |from: Value, to: Value| {
        move |world: &mut World| {
            world.levels(from.clone());
            let mut content = world.usual_levels();
            for (key, value) in to.as_object().unwrap() {
                content[key] = value.clone();
            }
            event("m.room.power_levels", "@mod:x", Some(""), content)
        }
    };
    let good = || change(json!({"ban": 49}), json!({"ban": 50}));
    let bad = |from: Value, to: Value| each(version, good(), change(from, to));
    let users = |level: i64| {
        let mut users = World::new(version).usual_levels()["users"].clone();
        users["@bob:y"] = json!(level);
        json!({ "users": users })
    };
    match name {
        "LEVELS_NUMBER" => bad(json!({}), json!({"ban": "50"})),
        "LEVELS_MAP" => bad(json!({}), json!({"events": {"m.x": "5"}})),
        "LEVELS_USERS" => bad(json!({}), json!({"users": {"bob": 5}})),
        "LEVELS_CREATOR" => bad(json!({}), json!({"users": {"@creator:x": 5}})),
        "LEVELS_FIRST" => {
            let first = |sender: &'static str| {
                move |world: &mut World| {
                    world.state.remove(&("m.room.power_levels".to_owned(), String::new()));
                    event("m.room.power_levels", sender, Some(""), json!({"ban": 1_000}))
                }
            };
            each(version, first("@creator:x"), first("@bob:y"))
        }
        "LEVELS_FROM" => bad(json!({"ban": 51}), json!({"ban": 50})),
        "LEVELS" | "LEVELS_TO" => bad(json!({"ban": 50}), json!({"ban": 51})),
        "LEVELS_EVENT_FROM" => bad(json!({"events": {"m.x": 51}}), json!({"events": {"m.x": 50}})),
        "LEVELS_EVENT_TO" => bad(json!({"events": {"m.x": 50}}), json!({"events": {"m.x": 51}})),
        "LEVELS_USER_FROM" => bad(users(50), users(49)),
        "LEVELS_USER_TO" => bad(users(49), users(51)),
        _ => panic!("no case for {name}"),
    }
}

fn anything(version: &RoomVersionId, name: &str) -> Case {
    let state = |sender: &str, key: &str| event("m.x", sender, Some(key), json!({}));
    match name {
        "ROOM_IS_CREATE" => each(
            version,
            |_| message("@bob:y"),
            |world| {
                world.state.remove(&("m.room.create".to_owned(), String::new()));
                message("@bob:y")
            },
        ),
        "NOT_FEDERATED" => {
            let closed = |sender: &'static str| {
                move |world: &mut World| {
                    let content = json!({"creator": "@creator:x", "m.federate": false});
                    world.set("m.room.create", "", "@creator:x", content);
                    message(sender)
                }
            };
            each(version, closed("@mod:x"), closed("@bob:y"))
        }
        "SENDER_NOT_JOINED" | "OTHERWISE" => both(version, message("@bob:y"), message("@nobody:y")),
        "THIRD_PARTY_INVITE" => {
            let guarded = |sender: &'static str| {
                move |world: &mut World| {
                    world.levels(json!({"invite": 50}));
                    event("m.room.third_party_invite", sender, Some("tok"), json!({}))
                }
            };
            each(version, guarded("@mod:x"), guarded("@bob:y"))
        }
        "POWER" => both(version, state("@mod:x", ""), state("@bob:y", "")),
        "OTHERS_STATE_KEY" => both(version, state("@mod:x", "@mod:x"), state("@mod:x", "@bob:y")),
        _ => panic!("no case for {name}"),
    }
}
