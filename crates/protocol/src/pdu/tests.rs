mod versions;

use std::collections::BTreeMap;

use base::Error;
use proptest::prelude::*;
use ruma::serde::Base64;
use ruma::signatures::{Verified, verify_event};
use ruma::{CanonicalJsonObject, RoomVersionId, event_id, room_id, server_name, user_id};
use serde_json::{Value, json};

use super::*;
use crate::key::SigningKey;
use crate::version::SUPPORTED;

fn key() -> SigningKey {
    SigningKey::generate([42; 32], "k1").unwrap()
}

fn draft(kind: &str, state_key: Option<&str>, content: &Value) -> Draft {
    Draft {
        room_id: Some(room_id!("!room:x.org").to_owned()),
        sender: user_id!("@alice:x.org").to_owned(),
        kind: kind.to_owned(),
        state_key: state_key.map(str::to_owned),
        content: RawValue::from_string(content.to_string()).unwrap(),
        redacts: None,
        prev_events: vec![event_id!("$prev").to_owned()],
        auth_events: vec![event_id!("$b").to_owned(), event_id!("$a").to_owned()],
        depth: 7,
        origin_server_ts: 1_700_000_000_000,
    }
}

fn sign(version: &RoomVersionId, draft: Draft) -> Reply<Pdu> {
    let server = server_name!("x.org");
    if !event_ids_are_chosen(version) {
        return draft.sign(version, server, &key());
    }
    let ids = draft.prev_events.iter().chain(&draft.auth_events);
    let hashes = ids.map(|id| (id.clone(), format!("hash of {id}"))).collect();
    let named = Named { event_id: event_id!("$chosen:x.org").to_owned(), hashes };
    draft.sign_named(version, server, &key(), named)
}

/// ruma's verdict on an event in federation format.
fn verified(version: &RoomVersionId, text: &str) -> Verified {
    let object: CanonicalJsonObject = serde_json::from_str(text).unwrap();
    let public = Base64::parse(key().public_key()).unwrap();
    let keys = BTreeMap::from([("ed25519:k1".to_owned(), public)]);
    let keys = BTreeMap::from([("x.org".to_owned(), keys)]);
    verify_event(&keys, &object, &version.rules().unwrap()).unwrap()
}

fn refusal(result: Reply<Pdu>) -> (u16, &'static str) {
    match result.unwrap_err() {
        Error::Refused(refusal) => (refusal.status, refusal.errcode),
        Error::Fault(fault) => panic!("{fault}"),
    }
}

#[test]
fn a_signed_event_verifies_and_is_named_by_its_reference_hash() {
    for version in &SUPPORTED {
        for (kind, state_key, content) in [
            ("m.room.message", None, json!({"body": "h\u{1}\"\\ö", "msgtype": "m.text"})),
            (
                "m.room.member",
                Some("@alice:x.org"),
                json!({"membership": "join", "odd": [1, null]}),
            ),
            ("m.room.power_levels", Some(""), json!({"users": {}, "invite": 5, "odd": 1})),
        ] {
            let pdu = sign(version, draft(kind, state_key, &content)).unwrap();
            let text = pdu.to_federation(version);
            assert_eq!(verified(version, &text), Verified::All, "{version} {kind}");
            let object: CanonicalJsonObject = serde_json::from_str(&text).unwrap();
            let rules = version.rules().unwrap();
            let hash = ruma::signatures::reference_hash(&object, &rules).unwrap();
            let chosen = "$chosen:x.org".to_owned();
            let expected = if event_ids_are_chosen(version) { chosen } else { format!("${hash}") };
            assert_eq!(pdu.event_id.as_str(), expected);
            let ours = reference_hash(version, &text).unwrap();
            assert_eq!(
                ours.replace('+', "-").replace('/', "_"),
                hash.replace('+', "-").replace('/', "_")
            );
            assert_eq!(serde_json::to_string(&object).unwrap(), text, "canonical");
            assert!(pdu.content_hash_holds(version));
            assert!(pdu.is_signed_by("x.org") && !pdu.is_signed_by("y.org"));
        }
    }
}

#[test]
fn the_two_halves_give_the_event_back_byte_for_byte() {
    for version in &SUPPORTED {
        let content = json!({"body": "x", "m.relates_to": {"rel_type": "m.thread"}});
        for state_key in [None, Some(""), Some("k\"ey")] {
            let pdu = sign(version, draft("m.custom", state_key, &content)).unwrap();
            let Stored { client, rest } = split(&pdu);
            let joined = join(version, &pdu.room_id, &client, &rest).unwrap();
            assert_eq!(joined, pdu.to_federation(version));
            assert_eq!(parse(version, &joined).unwrap().event_id, pdu.event_id);
            let fields: BTreeMap<String, Value> = serde_json::from_str(&client).unwrap();
            let mut expected =
                vec!["content", "event_id", "origin_server_ts", "sender", "state_key", "type"];
            expected.retain(|key| *key != "state_key" || state_key.is_some());
            assert_eq!(fields.keys().collect::<Vec<_>>(), expected);
            let spliced = format!("{},\"unsigned\":{{}}}}", client.strip_suffix('}').unwrap());
            assert!(serde_json::from_str::<Value>(&spliced).is_ok());
        }
    }
}

#[test]
fn a_foreign_event_keeps_fields_we_do_not_know() {
    let version = RoomVersionId::V10;
    let mut object: CanonicalJsonObject = serde_json::from_value(json!({
        "auth_events": ["$a"], "content": {"x": 1}, "depth": 3, "origin": "x.org",
        "origin_server_ts": 5, "prev_events": [], "room_id": "!r:x.org", "sender": "@a:x.org",
        "type": "m.x", "strange \"key\"": {"b": [true], "a": null}, "unsigned": {"age": 4},
        "redacts": 7,
    }))
    .unwrap();
    let seed = format!("302e020100300506032b657004220420{}", "2a".repeat(32));
    let der: Vec<u8> = (0..seed.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&seed[at..at + 2], 16).unwrap())
        .collect();
    let pair = ruma::signatures::Ed25519KeyPair::from_der(&der, "k1".into()).unwrap();
    let rules = version.rules().unwrap();
    ruma::signatures::hash_and_sign_event("x.org", &pair, &mut object, &rules.redaction).unwrap();
    let pdu = parse(&version, &serde_json::to_string(&object).unwrap()).unwrap();
    let hash = ruma::signatures::reference_hash(&object, &rules).unwrap();
    assert_eq!(pdu.event_id.as_str(), format!("${hash}"));
    object.remove("unsigned");
    let Stored { client, rest } = split(&pdu);
    let joined = join(&version, &pdu.room_id, &client, &rest).unwrap();
    assert_eq!(joined, serde_json::to_string(&object).unwrap());
    assert_eq!(verified(&version, &joined), Verified::All);
    assert!(pdu.content_hash_holds(&version));
    assert_eq!(pdu.redacts, None);

    let redacted =
        (redact_client(&version, &client).unwrap(), redact_rest(&version, &rest).unwrap());
    let joined = join(&version, &pdu.room_id, &redacted.0, &redacted.1).unwrap();
    assert!(joined.contains("\"origin\":") && !joined.contains("strange"));
    assert_eq!(verified(&version, &joined), Verified::Signatures);
    assert_eq!(parse(&version, &joined).unwrap().event_id, pdu.event_id);
    let later = redact_rest(&RoomVersionId::V11, &rest).unwrap();
    assert!(!later.contains("\"origin\":"));
}

#[test]
fn a_version_12_room_is_named_after_its_create_event() {
    let create = || draft("m.room.create", Some(""), &json!({"room_version": "12"}));
    let v12 = RoomVersionId::V12;
    let pdu = sign(&v12, Draft { room_id: None, ..create() }).unwrap();
    assert_eq!(pdu.room_id.as_str()[1..], pdu.event_id.as_str()[1..]);
    assert!(pdu.room_id.as_str().starts_with('!'));
    let Stored { client, rest } = split(&pdu);
    let joined = join(&v12, &pdu.room_id, &client, &rest).unwrap();
    assert!(!joined.contains("room_id"));
    assert_eq!(verified(&v12, &joined), Verified::All);
    let read = parse(&v12, &joined).unwrap();
    assert_eq!((read.room_id, read.event_id), (pdu.room_id, pdu.event_id));
    assert!(matches!(sign(&v12, create()), Err(Error::Fault(_))));
    let nameless = Draft { room_id: None, ..create() };
    assert!(matches!(sign(&RoomVersionId::V11, nameless), Err(Error::Fault(_))));
}

#[test]
fn a_version_12_create_event_with_a_room_id_keeps_it_for_the_rules() {
    let v11 = draft("m.room.create", Some(""), &json!({"room_version": "12"}));
    let text = sign(&RoomVersionId::V11, v11).unwrap().to_federation(&RoomVersionId::V11);
    let pdu = parse(&RoomVersionId::V12, &text).unwrap();
    assert_eq!(pdu.extra.get("room_id").unwrap(), "\"!room:x.org\"");
}

#[test]
fn redacts_is_where_the_version_wants_it() {
    let target = event_id!("$target").to_owned();
    let given = || Draft {
        redacts: Some(target.clone()),
        ..draft("m.room.redaction", None, &json!({"reason": "x"}))
    };
    let sent = || draft("m.room.redaction", None, &json!({"redacts": "$target"}));
    for draft in [given(), sent()] {
        let pdu = sign(&RoomVersionId::V10, draft).unwrap();
        assert_eq!(pdu.redacts.as_ref(), Some(&target));
        assert!(!pdu.content.get().contains("redacts"));
        let text = pdu.to_federation(&RoomVersionId::V10);
        assert!(text.contains("\"redacts\":\"$target\",\"room_id\""), "{text}");
        assert!(split(&pdu).client.contains("\"redacts\":\"$target\""));
        assert_eq!(parse(&RoomVersionId::V10, &text).unwrap().redacts.as_ref(), Some(&target));
    }
    for draft in [given(), sent()] {
        let pdu = sign(&RoomVersionId::V11, draft).unwrap();
        assert_eq!(pdu.redacts.as_ref(), Some(&target));
        assert!(pdu.content.get().contains("\"redacts\":\"$target\""));
        assert!(!pdu.extra.contains_key("redacts"));
        let text = pdu.to_federation(&RoomVersionId::V11);
        assert_eq!(parse(&RoomVersionId::V11, &text).unwrap().redacts.as_ref(), Some(&target));
    }
    let other = Draft { redacts: Some(target), ..draft("m.x", None, &json!({"redacts": "$t"})) };
    let other = sign(&RoomVersionId::V10, other).unwrap();
    assert_eq!((other.redacts, other.content.get()), (None, r#"{"redacts":"$t"}"#));
}

#[test]
fn clients_see_redacts_in_both_places() {
    for version in &SUPPORTED {
        let draft = draft("m.room.redaction", None, &json!({"redacts": "$target"}));
        let client = split(&sign(version, draft).unwrap()).client;
        let shown = for_clients("m.room.redaction", &client).unwrap();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["redacts"], "$target", "{version}");
        assert_eq!(shown["content"]["redacts"], "$target", "{version}");
    }
    let redacted = r#"{"content":{},"type":"m.room.redaction"}"#;
    assert_eq!(for_clients("m.room.redaction", redacted).unwrap(), redacted);
    let broken = "not even JSON";
    assert_eq!(for_clients("m.room.message", broken).unwrap(), broken);
    assert!(for_clients("m.room.redaction", broken).is_err());
}

#[test]
fn redaction_prunes_content_by_version() {
    let content = json!({"body": "x", "redacts": "$t", "creator": "@a:x"});
    let redacted = |version: &RoomVersionId, kind: &str| {
        let pdu = sign(version, draft(kind, Some(""), &content)).unwrap();
        let text = redact_client(version, &split(&pdu).client).unwrap();
        let fields: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(fields["event_id"], pdu.event_id.as_str());
        assert!(fields.get("redacts").is_none());
        fields["content"].to_string()
    };
    assert_eq!(redacted(&RoomVersionId::V11, "m.room.message"), "{}");
    assert_eq!(redacted(&RoomVersionId::V10, "m.room.redaction"), "{}");
    assert_eq!(redacted(&RoomVersionId::V11, "m.room.redaction"), r#"{"redacts":"$t"}"#);
    assert_eq!(redacted(&RoomVersionId::V10, "m.room.create"), r#"{"creator":"@a:x"}"#);
    let whole = redacted(&RoomVersionId::V11, "m.room.create");
    assert_eq!(serde_json::from_str::<Value>(&whole).unwrap(), content);
}

#[test]
fn a_changed_event_shows_by_its_content_hash() {
    let version = RoomVersionId::V11;
    let pdu = sign(&version, draft("m.x", None, &json!({"body": "x"}))).unwrap();
    let changed = pdu.to_federation(&version).replace("\"x\"", "\"y\"");
    let read = parse(&version, &changed).unwrap();
    assert_eq!(read.event_id, pdu.event_id);
    assert!(!read.content_hash_holds(&version));
}

#[test]
fn content_that_is_not_canonical_json_is_bad_json() {
    for content in ["[]", "1", "\"x\"", r#"{"a":1.5}"#, r#"{"a":9007199254740992}"#] {
        let mut draft = draft("m.x", None, &json!({}));
        draft.content = RawValue::from_string(content.to_owned()).unwrap();
        assert_eq!(refusal(sign(&RoomVersionId::V11, draft)), (400, "M_BAD_JSON"), "{content}");
    }
    let late = Draft { origin_server_ts: 1 << 53, ..draft("m.x", None, &json!({})) };
    assert_eq!(refusal(sign(&RoomVersionId::V11, late)), (400, "M_BAD_JSON"));
}

#[test]
fn events_are_as_large_as_the_limit_and_no_larger() {
    let version = RoomVersionId::V11;
    let of = |bytes: usize| draft("m.x", None, &json!({"body": "a".repeat(bytes)}));
    let empty = sign(&version, of(0)).unwrap().to_federation(&version).len();
    let largest = sign(&version, of(PDU_BYTES_MAX - empty)).unwrap();
    let text = largest.to_federation(&version);
    assert_eq!(text.len(), PDU_BYTES_MAX);
    assert!(parse(&version, &text).is_ok());
    assert_eq!(refusal(sign(&version, of(PDU_BYTES_MAX - empty + 1))), (413, "M_TOO_LARGE"));
    assert_eq!(
        refusal(parse(&version, &text.replacen("\"body\":\"a", "\"body\":\"aa", 1))),
        (413, "M_TOO_LARGE")
    );
}

#[test]
fn ids_and_types_are_as_long_as_the_limit_and_no_longer() {
    let version = RoomVersionId::V11;
    let long = "ä".repeat(127) + "x";
    assert_eq!(long.len(), FIELD_BYTES_MAX);
    let pdu = sign(&version, draft(&long, Some(&long), &json!({}))).unwrap();
    let text = pdu.to_federation(&version);
    assert!(parse(&version, &text).is_ok());
    let longer = format!("{long}x");
    let as_type = sign(&version, draft(&longer, None, &json!({})));
    assert_eq!(refusal(as_type), (413, "M_TOO_LARGE"));
    let as_key = sign(&version, draft("m.x", Some(&longer), &json!({})));
    assert_eq!(refusal(as_key), (413, "M_TOO_LARGE"));
    assert_eq!(refusal(parse(&version, &text.replacen(&long, &longer, 1))), (413, "M_TOO_LARGE"));
}

#[test]
fn too_many_references_are_a_fault_of_ours_and_bad_json_of_others() {
    let version = RoomVersionId::V11;
    let id = event_id!("$e").to_owned();
    let of = |prev: usize, auth: usize| Draft {
        prev_events: vec![id.clone(); prev],
        auth_events: vec![id.clone(); auth],
        ..draft("m.x", None, &json!({}))
    };
    let text = sign(&version, of(20, 10)).unwrap().to_federation(&version);
    assert!(matches!(sign(&version, of(21, 10)), Err(Error::Fault(_))));
    assert!(matches!(sign(&version, of(20, 11)), Err(Error::Fault(_))));
    let more = text.replacen("[\"$e\"", "[\"$e\",\"$e\"", 1);
    assert_eq!(refusal(parse(&version, &more)), (400, "M_BAD_JSON"));
}

#[test]
fn events_that_lack_a_field_are_bad_json() {
    for version in &SUPPORTED {
        let made = sign(version, draft("m.x", Some(""), &json!({}))).unwrap();
        let text = made.to_federation(version);
        let whole: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        for field in whole.keys() {
            let mut without = whole.clone();
            without.remove(field);
            let found = parse(version, &serde_json::to_string(&without).unwrap());
            assert_eq!(found.is_ok(), field == "state_key", "{version} without {field}");
            let mut odd = whole.clone();
            odd.insert(field.clone(), json!(true));
            let found = parse(version, &serde_json::to_string(&odd).unwrap());
            assert_eq!(refusal(found), (400, "M_BAD_JSON"), "{version} odd {field}");
        }
        let negative = text.replace("\"depth\":7", "\"depth\":-7");
        assert_eq!(refusal(parse(version, &negative)), (400, "M_BAD_JSON"));
    }
    let unknown = RoomVersionId::try_from("odd").unwrap();
    assert_eq!(refusal(parse(&unknown, "{}")), (400, "M_UNSUPPORTED_ROOM_VERSION"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..(1_i64 << 53)).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_content_survives_signing_splitting_joining_and_redacting(
        content in prop::collection::btree_map(any::<String>(), any_json(), 0..6),
        version in prop::sample::select(&SUPPORTED[..]),
        kind in prop::sample::select(vec!["m.room.message", "m.room.power_levels", "m.room.create", "x"]),
    ) {
        let content = Value::Object(content.into_iter().collect());
        let mut made = draft(kind, Some(""), &content);
        if is_unnamed_create(&version, kind) {
            made.room_id = None;
        }
        let pdu = sign(&version, made).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(pdu.content.get()).unwrap(), &content);
        let Stored { client, rest } = split(&pdu);
        let joined = join(&version, &pdu.room_id, &client, &rest).unwrap();
        prop_assert_eq!(verified(&version, &joined), Verified::All);
        let client = redact_client(&version, &client).unwrap();
        let joined = join(&version, &pdu.room_id, &client, &rest).unwrap();
        let read = parse(&version, &joined).unwrap();
        prop_assert_eq!(read.event_id, pdu.event_id);
    }
}

#[test]
fn an_event_whose_content_was_changed_is_redacted_and_keeps_its_id() {
    for version in SUPPORTED {
        let content = json!({"membership": "join", "displayname": "Alice"});
        let pdu = sign(&version, draft("m.room.member", Some("@alice:x.org"), &content)).unwrap();
        let text = pdu.to_federation(&version).replace("Alice", "Mallory");
        let changed = parse(&version, &text).unwrap();
        assert!(!changed.content_hash_holds(&version), "{version}");
        let redacted = changed.redacted(&version).unwrap();
        assert_eq!(redacted.content.get(), r#"{"membership":"join"}"#, "{version}");
        assert_eq!(redacted.event_id, pdu.event_id, "{version}");
        let again = parse(&version, &redacted.to_federation(&version)).unwrap();
        assert_eq!(again.event_id, pdu.event_id, "{version}");
        let public = crate::signed::decode_key(&key().public_key()).unwrap();
        assert_eq!(redacted.keys_of(server_name!("x.org")), ["ed25519:k1"]);
        assert!(redacted.signature_holds(&version, server_name!("x.org"), "ed25519:k1", &public));
        assert!(redacted.keys_of(server_name!("y.org")).is_empty());
    }
}
