//! Without a witness nobody can be asked: what is left is what the signatures say.

use base::Error;
use protocol::{Pdu, SigningKey, policy_server::POLICY};
use ruma::{OwnedRoomId, RoomVersionId, ServerName, server_name};
use serde_json::{Value, json};
use store::schema::{JUDGED, Why};

use crate::{
    New, prepare,
    remote::{self, Outcome},
    testing::{World, raw},
};

/// The key of the policy server.
fn key(seed: u8) -> SigningKey {
    SigningKey::generate([seed; 32], "policy_server").unwrap()
}

fn policy(via: &str) -> Value {
    json!({ "via": via, "public_keys": { "ed25519": key(3).public_key() } })
}

/// A message of the user's that is not sent yet.
fn message(world: &World, user: base::User, id: &OwnedRoomId, text: &str) -> Pdu {
    let room = world.room(id);
    let content = raw(&json!({ "body": text }));
    world
        .write(move |tx| {
            let kind = "m.room.message".to_owned();
            let content = content.clone();
            prepare(tx, room, New { sender: user, kind, state_key: None, content, redacts: None })
        })
        .unwrap()
}

fn signed(pdu: &Pdu, seed: u8) -> Pdu {
    let mut pdu = pdu.clone();
    pdu.sign_also(&RoomVersionId::V12, server_name!("x.org"), &key(seed)).unwrap();
    pdu
}

#[test]
fn an_event_is_shown_if_the_policy_server_signed_it_with_the_key_of_the_room() {
    let world = World::new();
    let alice = world.user("alice");
    let id = world.public(alice);
    let events: Vec<Pdu> = (0..4).map(|n| message(&world, alice, &id, &n.to_string())).collect();
    world.set(alice, &id, POLICY, "", policy("x.org")).unwrap();
    let room = world.room(&id);
    let receive = |pdu: Pdu, ask: bool| {
        let take = move |tx: &mut store::Tx| match ask {
            true => remote::receive(tx, room, &pdu),
            false => remote::receive_signed(tx, room, &pdu),
        };
        world.write(take).unwrap()
    };
    assert_eq!(receive(events[0].clone(), false), Outcome::Unsigned);
    assert_eq!(receive(signed(&events[0], 4), false), Outcome::Unsigned, "by another key");
    assert!(matches!(receive(signed(&events[1], 3), false), Outcome::Accepted(_)));
    let Outcome::SoftFailed(event, _) = receive(events[2].clone(), true) else {
        panic!("nobody could be asked")
    };
    let judged = world.read(|view| view.get(&JUDGED, (event,))).unwrap().unwrap();
    assert_eq!(judged.why, Why::Policy);
    // Without a policy server, as before.
    world.set(alice, &id, POLICY, "", json!({})).unwrap();
    assert!(matches!(receive(events[3].clone(), false), Outcome::Accepted(_)));
}

#[test]
fn a_room_uses_a_policy_server_that_is_named_has_a_key_and_is_in_it() {
    let world = World::new();
    let alice = world.user("alice");
    let id = world.public(alice);
    for unused in [policy("elsewhere.org"), json!({ "via": "x.org" }), json!({})] {
        world.set(alice, &id, POLICY, "", unused).unwrap();
        world.say(alice, &id, "unasked");
    }
    world.set(alice, &id, POLICY, "", policy("x.org")).unwrap();
    let refused = (503, "M_UNKNOWN");
    assert_eq!(world.send(alice, &id, "m.room.message", json!({})), Err(refused));
    assert_eq!(world.set(alice, &id, "m.room.topic", "", json!({})), Err(refused));
    assert_eq!(world.set(alice, &id, POLICY, "other", json!({})), Err(refused));
    // By redacting it, a room is rid of it as well, if it had been allowed to.
    world.set(alice, &id, POLICY, "", json!({})).unwrap();
    world.say(alice, &id, "free");
}

#[test]
fn what_is_made_again_is_known_by_what_it_says() {
    let world = World::new();
    let alice = world.user("alice");
    let id = world.public(alice);
    let (one, again) = (message(&world, alice, &id, "a"), message(&world, alice, &id, "a"));
    assert_ne!(one.event_id, again.event_id);
    assert_eq!(super::said(&one), super::said(&again));
    assert_ne!(super::said(&one), super::said(&message(&world, alice, &id, "b")));
    let (name, word): (&ServerName, _) = (server_name!("x.org"), "no signature");
    let mut pdu = one.clone();
    pdu.take_policy_signature(&RoomVersionId::V12, name, word).unwrap();
    assert_eq!(pdu.event_id, one.event_id);
    assert!(pdu.is_signed_by("x.org"), "the other signature stays");
    assert!(matches!(store::Tx::patience(), Error::Refused(_)));
}
