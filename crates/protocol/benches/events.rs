//! `cargo bench -p protocol --bench events`: what each event costs: made and signed, judged, read, redacted.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a bench that fails panics")]

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::Bencher;
use protocol::auth::StateEvent;
use protocol::{Draft, Pdu, SigningKey, authorize, pdu};
use ruma::{OwnedEventId, RoomVersionId, owned_room_id, owned_user_id, server_name};
use serde_json::{Value, json, value::to_raw_value};

fn main() {
    divan::main();
}

const VERSION: RoomVersionId = RoomVersionId::V11;

fn key() -> SigningKey {
    SigningKey::generate([7; 32], "a").unwrap()
}

fn id(n: usize) -> OwnedEventId {
    OwnedEventId::try_from(format!("${n:043}")).unwrap()
}

fn message() -> Draft {
    let content =
        json!({ "msgtype": "m.text", "body": "A message of a usual length, say one sentence." });
    Draft {
        room_id: Some(owned_room_id!("!room:example.org")),
        sender: owned_user_id!("@alice:example.org"),
        kind: "m.room.message".to_owned(),
        state_key: None,
        content: to_raw_value(&content).unwrap(),
        redacts: None,
        prev_events: vec![id(1)],
        auth_events: vec![id(2), id(3), id(4)],
        depth: 100,
        origin_server_ts: 1_700_000_000_000,
    }
}

fn signed() -> Pdu {
    message().sign(&VERSION, server_name!("example.org"), &key()).unwrap()
}

#[divan::bench]
fn sign(bencher: Bencher<'_, '_>) {
    let key = key();
    let server = server_name!("example.org");
    bencher.with_inputs(message).bench_local_values(|draft| draft.sign(&VERSION, server, &key));
}

/// A message in a room whose power levels list 100 users.
#[divan::bench]
fn authorize_message(bencher: Bencher<'_, '_>) {
    let users: BTreeMap<String, u8> =
        (0..100).map(|n| (format!("@user{n}:example.org"), 50)).collect();
    let state = |kind: &str, content: Value| {
        let content = to_raw_value(&content).unwrap();
        let event = StateEvent::new(id(9), owned_user_id!("@alice:example.org"), content);
        (kind.to_owned(), Arc::new(event))
    };
    let state: BTreeMap<String, Arc<StateEvent>> = BTreeMap::from([
        state("m.room.create", json!({ "room_version": "11" })),
        state("m.room.power_levels", json!({ "users": users })),
        state("m.room.member", json!({ "membership": "join" })),
    ]);
    let pdu = signed();
    let rules = &protocol::rules(&VERSION).unwrap().authorization;
    let lookup = |kind: &str, _: &str| state.get(kind).cloned();
    assert!(authorize(rules, &lookup, &pdu).is_accept());
    bencher.bench_local(|| authorize(rules, &lookup, &pdu));
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let text = signed().to_federation(&VERSION);
    bencher.bench_local(|| pdu::parse(&VERSION, &text));
}

#[divan::bench]
fn redact(bencher: Bencher<'_, '_>) {
    let stored = pdu::split(&signed());
    bencher.bench_local(|| pdu::redact_client(&VERSION, &stored.client));
}
