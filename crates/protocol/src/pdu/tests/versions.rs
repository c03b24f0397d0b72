//! What differs between room versions, with ruma as the oracle wherever it has the same thing.

use ruma::canonical_json::redact;
use ruma::signatures::required_server_signatures_to_verify_event;

use super::*;
use crate::json::INTEGER_MAX;

/// The versions from this one on.
fn since(number: usize) -> &'static [RoomVersionId] {
    static ALL: [RoomVersionId; 12] = SUPPORTED;
    &ALL[number - 1..]
}

fn object(text: &str) -> CanonicalJsonObject {
    serde_json::from_str(text).unwrap()
}

fn raw_draft(content: &str) -> Draft {
    let content = RawValue::from_string(content.to_owned()).unwrap();
    Draft { content, ..draft("m.x", None, &json!({})) }
}

#[test]
fn versions_1_and_2_have_their_id_and_the_hashes_of_others_on_the_wire() {
    for version in &SUPPORTED {
        let pdu = sign(version, draft("m.x", None, &json!({}))).unwrap();
        let text: Value = serde_json::from_str(&pdu.to_federation(version)).unwrap();
        if event_ids_are_chosen(version) {
            assert_eq!(text["event_id"], "$chosen:x.org");
            assert_eq!(text["prev_events"], json!([["$prev", {"sha256": "hash of $prev"}]]));
            assert_eq!(
                text["auth_events"],
                json!([["$b", {"sha256": "hash of $b"}], ["$a", {"sha256": "hash of $a"}]])
            );
        } else {
            assert_eq!(text.get("event_id"), None);
            assert_eq!(text["prev_events"], json!(["$prev"]));
            assert_eq!(text["auth_events"], json!(["$b", "$a"]));
        }
        let read = parse(version, &text.to_string()).unwrap();
        assert_eq!((read.event_id, read.prev_events), (pdu.event_id, pdu.prev_events));
        assert_eq!(read.auth_events, pdu.auth_events);
    }
}

#[test]
fn an_event_of_a_chosen_id_is_made_only_with_it() {
    let named = |id: &str| Named {
        event_id: OwnedEventId::try_from(id).unwrap(),
        hashes: BTreeMap::from([(event_id!("$prev").to_owned(), "h".to_owned())]),
    };
    let made = |version: RoomVersionId, id: &str, auth_events| {
        let draft = Draft { auth_events, ..draft("m.x", None, &json!({})) };
        draft.sign_named(&version, server_name!("x.org"), &key(), named(id))
    };
    assert!(made(RoomVersionId::V2, "$e:x.org", vec![]).is_ok());
    let unknown = vec![event_id!("$unknown").to_owned()];
    for fault in [
        made(RoomVersionId::V1, "$e:y.org", vec![]),
        made(RoomVersionId::V1, "$e", vec![]),
        made(RoomVersionId::V1, "$e:x.org", unknown),
        made(RoomVersionId::V3, "$e:x.org", vec![]),
        draft("m.x", None, &json!({})).sign(&RoomVersionId::V1, server_name!("x.org"), &key()),
    ] {
        assert!(matches!(fault, Err(Error::Fault(_))), "{fault:?}");
    }
}

#[test]
fn references_of_versions_1_and_2_are_kept_as_they_came() {
    let text = sign(&RoomVersionId::V1, draft("m.x", None, &json!({}))).unwrap();
    let mut event: Value = serde_json::from_str(&text.to_federation(&RoomVersionId::V1)).unwrap();
    event["auth_events"] = json!([["$old:y", {"md5": "x", "sha256": "y"}], ["$none:y", {}]]);
    let pdu = parse(&RoomVersionId::V1, &event.to_string()).unwrap();
    assert_eq!(pdu.auth_events, ["$old:y", "$none:y"]);
    assert_eq!(pdu.to_federation(&RoomVersionId::V1), event.to_string());
    let Stored { client, rest } = split(&pdu);
    let joined = join(&RoomVersionId::V1, &pdu.room_id, &client, &rest).unwrap();
    assert_eq!(joined, event.to_string());
    for odd in [json!(["$a:y"]), json!([["$a:y"]]), json!([["$a:y", "x"]]), json!([[1, {}]])] {
        event["auth_events"] = odd;
        let refused = refusal(parse(&RoomVersionId::V1, &event.to_string()));
        assert_eq!(refused, (400, "M_BAD_JSON"));
    }
    event["auth_events"] = json!([]);
    event["event_id"] = json!("$without_server");
    assert_eq!(refusal(parse(&RoomVersionId::V1, &event.to_string())), (400, "M_BAD_JSON"));
}

#[test]
fn an_id_of_version_3_has_the_alphabet_that_paths_must_escape() {
    let odd = |version: &RoomVersionId| {
        let ids = (0..64).map(|n| sign(version, draft("m.x", None, &json!({ "n": n }))).unwrap());
        ids.map(|pdu| pdu.event_id.to_string()).collect::<String>()
    };
    let third = odd(&RoomVersionId::V3);
    assert!(third.contains('/') && third.contains('+') && !third.contains(['_', '-']));
    for version in since(4) {
        let later = odd(version);
        assert!(later.contains('_') && later.contains('-') && !later.contains(['/', '+']));
    }
}

#[test]
fn only_versions_before_6_take_any_number() {
    let content = r#"{"big":123456789012345678901234567890,"float":1.5,"small":1e-07}"#;
    for version in &SUPPORTED[..5] {
        let pdu = sign(version, raw_draft(content)).unwrap();
        assert_eq!(pdu.content.get(), content);
        let text = pdu.to_federation(version);
        let read = parse(version, &text).unwrap();
        assert_eq!(read.to_federation(version), text);
        assert!(read.content_hash_holds(version));
        let Stored { client, rest } = split(&read);
        assert_eq!(join(version, &read.room_id, &client, &rest).unwrap(), text);
        let redacted = redact_client(version, &client).unwrap();
        assert!(!redacted.contains("float"));
        let outside = text.replace("1.5", "1e999");
        assert_eq!(refusal(parse(version, &outside)), (400, "M_BAD_JSON"));
        let spaced = text.replace("1.5", "15E-1");
        assert!(parse(version, &spaced).unwrap().content_hash_holds(version));
    }
    for version in since(6) {
        assert_eq!(refusal(sign(version, raw_draft(content))), (400, "M_BAD_JSON"));
        let text = sign(version, raw_draft(r#"{"n":15}"#)).unwrap().to_federation(version);
        for odd in ["1.5", "1e3", "9007199254740992", "-0"] {
            let odd = text.replace(r#""n":15"#, &format!(r#""n":{odd}"#));
            assert_eq!(refusal(parse(version, &odd)), (400, "M_BAD_JSON"), "{odd}");
        }
    }
}

#[test]
fn levels_that_are_floats_survive_a_redaction() {
    let content = r#"{"ban":50.5,"users":{"@a:x":1e+20},"odd":1.5}"#;
    let levels = Draft {
        kind: "m.room.power_levels".to_owned(),
        state_key: Some(String::new()),
        ..raw_draft(content)
    };
    let client = split(&sign(&RoomVersionId::V5, levels).unwrap()).client;
    let redacted = redact_client(&RoomVersionId::V5, &client).unwrap();
    assert!(redacted.contains(r#"{"ban":50.5,"users":{"@a:x":1e+20}}"#), "{redacted}");
}

#[test]
fn depth_stays_within_the_integers_of_the_version() {
    for (number, version) in SUPPORTED.iter().enumerate() {
        let most = if number < 5 { (1 << 63) - 1 } else { INTEGER_MAX };
        let deep = Draft { depth: u64::MAX, ..draft("m.x", None, &json!({})) };
        let pdu = sign(version, deep).unwrap();
        assert_eq!(pdu.depth, most, "{version}");
        let text = pdu.to_federation(version);
        assert_eq!(parse(version, &text).unwrap().depth, most);
        let deeper = text.replace(&most.to_string(), &(most + 1).to_string());
        assert_eq!(refusal(parse(version, &deeper)), (400, "M_BAD_JSON"), "{version}");
    }
}

#[test]
fn limits_are_those_of_the_federation_format_in_every_version() {
    for version in &SUPPORTED {
        let of = |bytes: usize| draft("m.x", None, &json!({"body": "a".repeat(bytes)}));
        let empty = sign(version, of(0)).unwrap().to_federation(version).len();
        let largest = sign(version, of(PDU_BYTES_MAX - empty)).unwrap();
        assert_eq!(largest.to_federation(version).len(), PDU_BYTES_MAX);
        assert!(parse(version, &largest.to_federation(version)).is_ok());
        let larger = sign(version, of(PDU_BYTES_MAX - empty + 1));
        assert_eq!(refusal(larger), (413, "M_TOO_LARGE"), "{version}");
        for (field, most) in [("prev_events", PREV_EVENTS_MAX), ("auth_events", AUTH_EVENTS_MAX)] {
            let text = sign(version, of(0)).unwrap().to_federation(version);
            let mut event: Value = serde_json::from_str(&text).unwrap();
            let one = event[field][0].clone();
            event[field] = Value::from(vec![one.clone(); most]);
            assert!(parse(version, &event.to_string()).is_ok());
            event[field] = Value::from(vec![one; most + 1]);
            assert_eq!(refusal(parse(version, &event.to_string())), (400, "M_BAD_JSON"));
        }
    }
}

#[test]
fn the_servers_that_must_sign_are_those_that_ruma_names() {
    let join = json!({"membership": "join", "join_authorised_via_users_server": "@mod:y.org"});
    let invite = json!({"membership": "invite", "third_party_invite": {"signed": {}}});
    for version in &SUPPORTED {
        for (kind, content) in
            [("m.x", &join), ("m.room.member", &join), ("m.room.member", &invite)]
        {
            let pdu = sign(version, draft(kind, Some("@alice:x.org"), content)).unwrap();
            let mut event = object(&pdu.to_federation(version));
            let mut read = pdu.clone();
            if event_ids_are_chosen(version) {
                event.insert("event_id".to_owned(), "$e:z.org".into());
                read.event_id = event_id!("$e:z.org").to_owned();
            }
            // ruma reads the user who authorises out of events of any type.
            if kind == "m.x" {
                event.get_mut("content").unwrap().as_object_mut().unwrap().clear();
            }
            let rules = &version.rules().unwrap().signatures;
            let theirs = required_server_signatures_to_verify_event(&event, rules).unwrap();
            assert_eq!(read.required_signers(version), theirs, "{version} {kind} {content}");
        }
    }
}

#[test]
fn a_signature_holds_for_its_server_key_and_event_only() {
    let public = Base64::<Standard>::parse(key().public_key()).unwrap();
    let other = SigningKey::generate([1; 32], "k1").unwrap();
    let other = Base64::<Standard>::parse(other.public_key()).unwrap();
    for version in &SUPPORTED {
        let content = json!({"membership": "join", "more": 1});
        let pdu = sign(version, draft("m.room.member", Some("@alice:x.org"), &content)).unwrap();
        let holds = |pdu: &Pdu, server: &str, key_id: &str, key: &[u8]| {
            let server = <&ServerName>::try_from(server).unwrap();
            pdu.signature_holds(version, server, key_id, key)
        };
        assert!(holds(&pdu, "x.org", "ed25519:k1", public.as_bytes()));
        assert!(!holds(&pdu, "y.org", "ed25519:k1", public.as_bytes()));
        assert!(!holds(&pdu, "x.org", "ed25519:k2", public.as_bytes()));
        assert!(!holds(&pdu, "x.org", "ed25519:k1", other.as_bytes()));
        let changed = |from: &str, to: &str| {
            let text = pdu.to_federation(version).replace(from, to);
            holds(&parse(version, &text).unwrap(), "x.org", "ed25519:k1", public.as_bytes())
        };
        assert!(changed(r#""more":1"#, r#""more":2"#), "what a redaction takes is not signed");
        assert!(!changed(r#""membership":"join""#, r#""membership":"knock""#));
    }
}

/// Every key that some version keeps in some content, and one that none does.
const KEYS: [&str; 20] = [
    "aliases",
    "allow",
    "ban",
    "creator",
    "events",
    "events_default",
    "history_visibility",
    "invite",
    "join_authorised_via_users_server",
    "join_rule",
    "kick",
    "membership",
    "odd",
    "redact",
    "redacts",
    "room_version",
    "state_default",
    "third_party_invite",
    "users",
    "users_default",
];

const KINDS: [&str; 10] = [
    "m.room.aliases",
    "m.room.create",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.member",
    "m.room.message",
    "m.room.power_levels",
    "m.room.redaction",
    "m.room.server_acl",
    "org.example",
];

#[test]
fn redaction_keeps_what_ruma_keeps_of_a_content_with_everything() {
    for invite in [json!({"signed": {"a": 1}, "display_name": "d"}), json!({}), json!(null)] {
        let mut content: BTreeMap<&str, Value> = KEYS.map(|key| (key, json!({"a": 1}))).into();
        content.insert("third_party_invite", invite);
        for version in &SUPPORTED {
            for kind in KINDS {
                let mut made = draft(kind, Some(""), &json!(content));
                made.room_id = made.room_id.filter(|_| !is_unnamed_create(version, kind));
                let pdu = sign(version, made).unwrap();
                let rules = version.rules().unwrap();
                let theirs = redact(object(&pdu.to_federation(version)), &rules.redaction, None);
                let client = redact_client(version, &split(&pdu).client).unwrap();
                let client: BTreeMap<String, Value> = serde_json::from_str(&client).unwrap();
                let theirs = serde_json::to_value(theirs.unwrap()).unwrap();
                assert_eq!(client["content"], theirs["content"], "{version} {kind}");
            }
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_json(),
        Just(json!({"signed": {"token": "t"}, "display_name": "d"})),
        Just(json!({"display_name": "d"})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn redaction_keeps_what_ruma_keeps_in_every_version(
        content in prop::collection::btree_map(prop::sample::select(&KEYS[..]), any_value(), 0..12),
        more in prop::collection::btree_map(
            prop::sample::select(vec!["origin", "membership", "prev_state", "redacts", "odd"]),
            any_json(),
            0..5,
        ),
        kind in prop::sample::select(&KINDS[..]),
        version in prop::sample::select(&SUPPORTED[..]),
    ) {
        let made = draft(kind, Some("key"), &json!({}));
        let made = if is_unnamed_create(&version, kind) { Draft { room_id: None, ..made } } else { made };
        let mut event: Value =
            serde_json::from_str(&sign(&version, made).unwrap().to_federation(&version)).unwrap();
        event["content"] = json!(content);
        for (key, value) in more {
            event[key] = value;
        }
        let pdu = parse(&version, &event.to_string()).unwrap();
        let text = pdu.to_federation(&version);
        prop_assert_eq!(&text, &event.to_string());
        let rules = version.rules().unwrap();
        let theirs = redact(object(&text), &rules.redaction, None).unwrap();
        let Stored { client, rest } = split(&pdu);
        let client = redact_client(&version, &client).unwrap();
        let rest = redact_rest(&version, &rest).unwrap();
        let ours = join(&version, &pdu.room_id, &client, &rest).unwrap();
        prop_assert_eq!(object(&ours), theirs);
        let hash = ruma::signatures::reference_hash(&object(&text), &rules).unwrap();
        let read = parse(&version, &ours).unwrap();
        prop_assert_eq!(&read.event_id, &pdu.event_id);
        if !event_ids_are_chosen(&version) {
            prop_assert_eq!(pdu.event_id.as_str(), format!("${hash}"));
        }
    }

    #[test]
    fn reading_gives_back_what_was_written_in_every_version(
        content in prop::collection::btree_map(any::<String>(), any_json(), 0..6),
        state_key in prop::option::of("[a-z@:]{0,9}"),
        version in prop::sample::select(&SUPPORTED[..]),
    ) {
        let content = Value::Object(content.into_iter().collect());
        let pdu = sign(&version, draft("m.x", state_key.as_deref(), &content)).unwrap();
        let text = pdu.to_federation(&version);
        let read = parse(&version, &text).unwrap();
        prop_assert_eq!(read.to_federation(&version), text.as_str());
        prop_assert_eq!(format!("{read:?}"), format!("{pdu:?}"));
        prop_assert_eq!(verified(&version, &text), Verified::All);
        let strict = json::canonical(&text, true).unwrap();
        prop_assert_eq!(&strict, &text);
        prop_assert_eq!(json::canonical(&text, false).unwrap(), strict.as_str());
        let spaced = serde_json::to_string_pretty(&object(&text)).unwrap();
        let escaped: String = spaced.chars().map(|c| match c {
            '\u{80}'..='\u{ffff}' => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        }).collect();
        prop_assert_eq!(json::canonical(&escaped, false).unwrap(), strict.as_str());
        prop_assert_eq!(json::canonical(&escaped, true).unwrap(), strict);
    }
}
