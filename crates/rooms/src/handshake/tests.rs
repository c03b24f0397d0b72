use protocol::{Draft, Pdu, SigningKey, pdu::parse};
use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId, owned_server_name, server_name,
};
use serde_json::{Value, json, value::RawValue};
use store::{event, schema::ROOMS_OF, user};

use super::*;
use crate::testing::{FORBIDDEN, Outcome as Answer, World, raw};

const V12: RoomVersionId = RoomVersionId::V12;

/// Another server with its key.
struct Peer {
    name: OwnedServerName,
    key: SigningKey,
}

impl Peer {
    fn there() -> Peer {
        let key = SigningKey::generate([3; 32], "k").unwrap();
        Peer { name: owned_server_name!("there.org"), key }
    }

    fn user(&self, name: &str) -> OwnedUserId {
        OwnedUserId::try_from(format!("@{name}:{}", self.name)).unwrap()
    }

    /// Makes an event of a template.
    fn complete(&self, template: &Template) -> Pdu {
        let event: Value = serde_json::from_str(&template.event).unwrap();
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        let draft = Draft {
            room_id: Some(text("room_id").try_into().unwrap()),
            sender: text("sender").try_into().unwrap(),
            kind: text("type"),
            state_key: Some(text("state_key")),
            content: raw(&event["content"]),
            redacts: None,
            prev_events: serde_json::from_value(event["prev_events"].clone()).unwrap(),
            auth_events: serde_json::from_value(event["auth_events"].clone()).unwrap(),
            depth: event["depth"].as_u64().unwrap(),
            origin_server_ts: event["origin_server_ts"].as_u64().unwrap(),
        };
        draft.sign(&template.version, &self.name, &self.key).unwrap()
    }

    fn proposed(&self, world: &World, room: &OwnedRoomId, user: &UserId) -> Answer<Template> {
        let known = [RoomVersionId::V11, V12];
        let room = world.room(room);
        world.read(|view| join::propose(view, room, user, &self.name, &known))
    }

    /// Both steps of a join.
    fn join(&self, world: &World, room: &OwnedRoomId, user: &UserId) -> Answer<join::Accepted> {
        let template = self.proposed(world, room, user)?;
        let mut pdu = self.complete(&template);
        let room = world.room(room);
        world.write(move |tx| {
            if join::is_ours_to_sign(&pdu, tx.server_name()) {
                let own = tx.server_name().to_owned();
                pdu.sign_also(&V12, &own, tx.signing_key())?;
            }
            join::accept(tx, room, &pdu)
        })
    }
}

fn answer(world: &World, accepted: &join::Accepted, omit: bool) -> Value {
    let text = world.read(|view| join::answer(view, accepted, omit)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Reads events as the other server does; each has the hash that it says.
fn events(list: &Value) -> Vec<Pdu> {
    let read = |event: &Value| {
        let pdu = parse(&V12, &event.to_string()).unwrap();
        assert!(pdu.content_hash_holds(&V12), "{event}");
        pdu
    };
    list.as_array().unwrap().iter().map(read).collect()
}

fn kinds(events: &[Pdu], kind: &str) -> usize {
    events.iter().filter(|pdu| pdu.kind == kind).count()
}

#[test]
fn who_joins_from_elsewhere_is_in_the_room_and_told_what_it_was() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let room = world.public(alice);
    let bob = peer.user("bob");
    let accepted = peer.join(&world, &room, &bob).unwrap();
    assert_eq!(accepted.servers, ["x.org"]);
    let member = world.content(&room, "m.room.member", bob.as_str()).unwrap();
    assert_eq!(member["membership"], "join");
    let number = world.room(&room);
    let servers = world.read(|view| store::room::servers(view, number)).unwrap();
    assert!(servers.contains("there.org"));

    let told = answer(&world, &accepted, false);
    let (state, chain) = (events(&told["state"]), events(&told["auth_chain"]));
    assert_eq!(kinds(&state, "m.room.create"), 1);
    assert_eq!(kinds(&state, "m.room.member"), 1, "the join is not in the state before it");
    assert!(chain.iter().any(|pdu| pdu.kind == "m.room.join_rules"));
    let ids: Vec<_> = chain.iter().chain(&state).map(|pdu| &pdu.event_id).collect();
    let event = parse(&V12, &told["event"].to_string()).unwrap();
    for pdu in chain.iter().chain(&state).chain([&event]) {
        assert!(pdu.auth_events.iter().all(|id| ids.contains(&id)), "the chain has a hole");
    }
    assert_eq!((&told["members_omitted"], &told["origin"]), (&json!(false), &json!("x.org")));
    assert!(told.get("servers_in_room").is_none());
}

#[test]
fn an_answer_without_members_names_the_servers_and_keeps_heroes_and_nothing_twice() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let room = world.public(alice);
    for n in 0..8 {
        world.join(world.user(&format!("u{n}")), &room).unwrap();
    }
    let accepted = peer.join(&world, &room, &peer.user("bob")).unwrap();
    let told = answer(&world, &accepted, true);
    let (state, chain) = (events(&told["state"]), events(&told["auth_chain"]));
    assert_eq!(
        (&told["members_omitted"], &told["servers_in_room"]),
        (&json!(true), &json!(["x.org"]))
    );
    assert_eq!(kinds(&state, "m.room.member"), 5, "the heroes");
    assert!(chain.iter().all(|pdu| state.iter().all(|other| other.event_id != pdu.event_id)));

    // A room with a name needs no heroes.
    world.set(alice, &room, "m.room.name", "", json!({"name": "N"})).unwrap();
    let accepted = peer.join(&world, &room, &peer.user("carol")).unwrap();
    let told = answer(&world, &accepted, true);
    assert_eq!(kinds(&events(&told["state"]), "m.room.member"), 0);
    let all = answer(&world, &accepted, false);
    assert_eq!(kinds(&events(&all["state"]), "m.room.member"), 10);
}

#[test]
fn a_join_is_proposed_only_where_it_would_be_allowed() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let (open, closed) = (world.public(alice), world.create(alice, json!({})).unwrap());
    let bob = peer.user("bob");
    assert_eq!(peer.proposed(&world, &closed, &bob).unwrap_err(), FORBIDDEN);
    let foreign = OwnedUserId::try_from("@eve:elsewhere.org").unwrap();
    assert_eq!(peer.proposed(&world, &open, &foreign).unwrap_err(), FORBIDDEN);
    let room = world.room(&open);
    let old = [RoomVersionId::V1, RoomVersionId::V11];
    let no = world.store.read_here(|view| join::propose(view, room, &bob, &peer.name, &old));
    let Err(Error::Refused(no)) = no else { panic!("{no:?}") };
    assert_eq!((no.status, no.errcode), (400, "M_INCOMPATIBLE_ROOM_VERSION"));
    assert_eq!(no.extra["room_version"], "12");
    peer.join(&world, &open, &bob).unwrap();
    let banned = bob.clone();
    let id = open.clone();
    world.write(move |tx| crate::ban::ban(tx, alice, &id, &banned, None, false)).unwrap();
    assert_eq!(peer.proposed(&world, &open, &bob).unwrap_err(), FORBIDDEN);
}

#[test]
fn a_join_that_the_rules_forbid_by_now_is_not_taken() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let room = world.public(alice);
    let bob = peer.user("bob");
    let pdu = peer.complete(&peer.proposed(&world, &room, &bob).unwrap());
    world.set(alice, &room, "m.room.join_rules", "", json!({"join_rule": "invite"})).unwrap();
    let (number, id) = (world.room(&room), pdu.event_id.clone());
    let no = world.write(move |tx| join::accept(tx, number, &pdu));
    assert_eq!(no.unwrap_err(), FORBIDDEN);
    assert!(world.read(|view| event::find(view, &id)).unwrap().is_none(), "and not kept");
}

/// A room whose members of `other` may join.
fn restricted(world: &World, alice: base::User, other: &RoomId) -> OwnedRoomId {
    let room = world.create(alice, json!({})).unwrap();
    let allow = json!([{"type": "m.room_membership", "room_id": other}]);
    let rules = json!({"join_rule": "restricted", "allow": allow});
    world.set(alice, &room, "m.room.join_rules", "", rules).unwrap();
    room
}

#[test]
fn a_restricted_room_lets_in_who_meets_a_condition_by_a_user_of_this_server_who_signs() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let other = world.public(alice);
    let room = restricted(&world, alice, &other);
    let bob = peer.user("bob");
    assert_eq!(peer.proposed(&world, &room, &bob).unwrap_err(), FORBIDDEN);
    peer.join(&world, &other, &bob).unwrap();
    let template = peer.proposed(&world, &room, &bob).unwrap();
    let event: Value = serde_json::from_str(&template.event).unwrap();
    assert_eq!(event["content"]["join_authorised_via_users_server"], "@alice:x.org");
    // Without this server's signature the rules do not let it pass.
    let pdu = peer.complete(&template);
    let number = world.room(&room);
    assert_eq!(world.write(move |tx| join::accept(tx, number, &pdu)).unwrap_err(), FORBIDDEN);
    let accepted = peer.join(&world, &room, &bob).unwrap();
    let told = answer(&world, &accepted, false);
    assert!(told["event"]["signatures"]["x.org"].is_object(), "{told}");
    assert!(told["event"]["signatures"]["there.org"].is_object());
}

#[test]
fn conditions_count_again_when_the_join_arrives() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let other = world.public(alice);
    let room = restricted(&world, alice, &other);
    let bob = peer.user("bob");
    peer.join(&world, &other, &bob).unwrap();
    let mut pdu = peer.complete(&peer.proposed(&world, &room, &bob).unwrap());
    let (id, kicked) = (other.clone(), bob.clone());
    world.write(move |tx| crate::kick::kick(tx, alice, &id, &kicked, None, false)).unwrap();
    let number = world.room(&room);
    let no = world.write(move |tx| {
        let own = tx.server_name().to_owned();
        pdu.sign_also(&V12, &own, tx.signing_key())?;
        join::accept(tx, number, &pdu)
    });
    assert_eq!(no.unwrap_err(), FORBIDDEN);
}

#[test]
fn a_server_that_cannot_tell_or_cannot_let_in_says_so() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let elsewhere = OwnedRoomId::try_from("!room:elsewhere.org").unwrap();
    let bob = peer.user("bob");
    let unknown = restricted(&world, alice, &elsewhere);
    let no = peer.proposed(&world, &unknown, &bob).unwrap_err();
    assert_eq!(no, (400, "M_UNABLE_TO_AUTHORISE_JOIN"));

    let other = world.public(alice);
    peer.join(&world, &other, &bob).unwrap();
    let room = restricted(&world, alice, &other);
    let carol = world.user("carol");
    world.invite(alice, &room, carol).unwrap();
    world.join(carol, &room).unwrap();
    world.set(alice, &room, "m.room.power_levels", "", json!({"invite": 50, "users": {}})).unwrap();
    world.leave(alice, &room).unwrap();
    let no = peer.proposed(&world, &room, &bob).unwrap_err();
    assert_eq!(no, (400, "M_UNABLE_TO_GRANT_JOIN"));
}

#[test]
fn who_came_from_elsewhere_leaves_and_who_never_came_cannot() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let room = world.public(alice);
    let bob = peer.user("bob");
    let number = world.room(&room);
    let propose = |user: &UserId| world.read(|view| leave::propose(view, number, user, &peer.name));
    assert_eq!(propose(&bob).unwrap_err(), FORBIDDEN);
    peer.join(&world, &room, &bob).unwrap();
    let pdu = peer.complete(&propose(&bob).unwrap());
    let expected = Expected {
        room: &room,
        event: &pdu.event_id,
        origin: &peer.name,
        standing: Standing::Leave,
    };
    expected.check_own(&pdu).unwrap();
    let taken = pdu.clone();
    world.write(move |tx| leave::accept(tx, number, &taken)).unwrap();
    let member = world.content(&room, "m.room.member", bob.as_str()).unwrap();
    assert_eq!(member["membership"], "leave");
    let servers = world.read(|view| store::room::servers(view, number)).unwrap();
    assert!(!servers.contains("there.org"));
    // The answer got lost: the same event again is the same again.
    world.write(move |tx| leave::accept(tx, number, &pdu)).unwrap();
}

#[test]
fn who_knocks_is_shown_whole_events_that_describe_the_room() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let room = world.create(alice, json!({"name": "N"})).unwrap();
    let number = world.room(&room);
    let bob = peer.user("bob");
    let propose =
        || world.read(|view| knock::propose(view, number, &bob, &peer.name, &[RoomVersionId::V12]));
    assert_eq!(propose().unwrap_err(), FORBIDDEN);
    world.set(alice, &room, "m.room.join_rules", "", json!({"join_rule": "knock"})).unwrap();
    let pdu = peer.complete(&propose().unwrap());
    let event = world.write(move |tx| knock::accept(tx, number, &pdu)).unwrap();
    let text = world.read(|view| knock::answer(view, number, event)).unwrap();
    let shown: Value = serde_json::from_str(&text).unwrap();
    let shown = events(&shown["knock_room_state"]);
    for kind in ["m.room.create", "m.room.name", "m.room.join_rules"] {
        assert_eq!(kinds(&shown, kind), 1, "{kind}");
    }
    assert!(shown.iter().all(|pdu| pdu.room_id == room));
    assert_eq!(world.content(&room, "m.room.member", bob.as_str()).unwrap()["membership"], "knock");
}

#[test]
fn only_what_the_endpoint_is_for_passes() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let room = world.public(alice);
    let pdu = peer.complete(&peer.proposed(&world, &room, &peer.user("bob")).unwrap());
    let right = Expected {
        room: &room,
        event: &pdu.event_id,
        origin: &peer.name,
        standing: Standing::Join,
    };
    right.check_own(&pdu).unwrap();
    let other_room = RoomId::parse("!other:x.org").unwrap();
    let other_event = EventId::parse("$other").unwrap();
    let mut other_kind = pdu.clone();
    other_kind.kind = "m.room.name".to_owned();
    let mut other_key = pdu.clone();
    other_key.state_key = Some("@eve:there.org".to_owned());
    for (expected, pdu) in [
        (Expected { room: &other_room, ..right }, &pdu),
        (Expected { event: &other_event, ..right }, &pdu),
        (Expected { origin: server_name!("x.org"), ..right }, &pdu),
        (Expected { standing: Standing::Leave, ..right }, &pdu),
        (right, &other_kind),
        (right, &other_key),
    ] {
        let Err(Error::Refused(no)) = expected.check_own(pdu) else { panic!("{expected:?}") };
        assert_eq!(no.errcode, "M_INVALID_PARAM");
    }
}

/// A room of the other server, by its create event, and an invite to it.
fn invitation(peer: &Peer, by: &UserId, whom: &str) -> (Pdu, Pdu) {
    let draft = |room_id, kind: &str, key: &str, content: Value| Draft {
        room_id,
        sender: by.to_owned(),
        kind: kind.to_owned(),
        state_key: Some(key.to_owned()),
        content: raw(&content),
        redacts: None,
        prev_events: Vec::new(),
        auth_events: Vec::new(),
        depth: 1,
        origin_server_ts: 1,
    };
    let create = draft(None, "m.room.create", "", json!({"room_version": "12"}));
    let create = create.sign(&V12, &peer.name, &peer.key).unwrap();
    let room = Some(create.room_id.clone());
    let invite = draft(room, "m.room.member", whom, json!({"membership": "invite"}));
    (create, invite.sign(&V12, &peer.name, &peer.key).unwrap())
}

fn invited(world: &World, (create, pdu): &(Pdu, Pdu), show_create: bool) -> Answer<()> {
    let (create, pdu) = (create.clone(), pdu.clone());
    world.write(move |tx| {
        let shown: Box<RawValue> =
            serde_json::value::RawValue::from_string(create.to_federation(&V12)).unwrap();
        let stripped = stripped([&*shown], Some(&pdu))?;
        let create = show_create.then_some(&create);
        let invite = invite::Invite { version: &V12, pdu: &pdu, stripped: &stripped, create };
        invite::accept(tx, &invite)
    })
}

#[test]
fn an_invite_from_elsewhere_is_shown_with_what_describes_the_room() {
    let (world, peer) = (World::new(), Peer::there());
    let alice = world.user("alice");
    let invite = invitation(&peer, &peer.user("bob"), "@alice:x.org");
    let other = invitation(&peer, &peer.user("carol"), "@alice:x.org");
    let mixed = (other.0, invite.1.clone());
    assert_eq!(invited(&world, &mixed, true).unwrap_err(), (400, "M_INVALID_PARAM"));
    invited(&world, &invite, true).unwrap();
    let room = world.room(&invite.1.room_id);
    let row = world.read(|view| view.get(&ROOMS_OF, (alice, room))).unwrap().unwrap();
    assert_eq!(row.standing, Standing::Invite);
    let shown: Vec<Value> = serde_json::from_str(row.stripped.as_deref().unwrap()).unwrap();
    let kinds: Vec<&str> = shown.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["m.room.create", "m.room.member"]);
    for event in &shown {
        let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["content", "sender", "state_key", "type"], "clients get no more");
    }
    assert_eq!(world.read(|view| resident(view, &invite.1.room_id)).unwrap_err().0, 404);
}

#[test]
fn invites_to_who_is_not_here_or_wants_none_are_refused() {
    let (world, peer) = (World::new(), Peer::there());
    let bob = peer.user("bob");
    let to = |whom: &str| invited(&world, &invitation(&peer, &bob, whom), true).unwrap_err();
    assert_eq!(to("@alice:x.org"), (404, "M_NOT_FOUND"));
    assert_eq!(to("@carol:there.org"), (400, "M_INVALID_PARAM"));
    let alice = world.user("alice");
    world
        .write(move |tx| {
            let row = store::schema::AccountData {
                content: json!({"default_action": "block"}).to_string(),
                changed: base::UnixMs(0),
            };
            let kind = "m.invite_permission_config".to_owned();
            tx.put(&store::schema::ACCOUNT_DATA, (alice, Room(0), kind), &row);
            Ok(())
        })
        .unwrap();
    assert_eq!(to("@alice:x.org"), (403, "M_INVITE_BLOCKED"));
    assert!(world.read(|view| user::find(view, &bob)).unwrap().is_none(), "nothing is left");
}

/// An invite by mail address in a room, and the exchange for a user whom the identity server's key vouches for.
fn exchanged(world: &World, vouches: &SigningKey) -> Answer<Pdu> {
    let alice = world.user("alice");
    let room = world.create(alice, json!({})).unwrap();
    let identity = SigningKey::generate([5; 32], "0").unwrap();
    let first = json!({
        "display_name": "b…@…", "public_key": identity.public_key(),
        "key_validity_url": "https://id/valid",
    });
    world.set(alice, &room, "m.room.third_party_invite", "token", first).unwrap();
    let bob = Peer::there().user("bob");
    let signed = json!({"mxid": bob, "token": "token"}).to_string();
    let mut signed = protocol::json::canonical_object(&signed).unwrap();
    vouches.sign_json("id", &mut signed).unwrap();
    let signed: Value = serde_json::from_str(&protocol::json::canonical_text(&signed)).unwrap();
    let content = json!({
        "membership": "invite",
        "third_party_invite": {"display_name": "b…@…", "signed": signed},
    });
    let exchange =
        third_party::Exchange { sender: world.id(alice), invitee: bob, content: raw(&content) };
    third_party::check(&exchange, server_name!("x.org"), server_name!("there.org")).unwrap();
    for (own, origin) in [("x.org", "elsewhere.org"), ("elsewhere.org", "there.org")] {
        let (own, origin) = (<&ServerName>::try_from(own), <&ServerName>::try_from(origin));
        assert!(third_party::check(&exchange, own.unwrap(), origin.unwrap()).is_err());
    }
    let number = world.room(&room);
    world.write(move |tx| third_party::issue(tx, number, &exchange))
}

#[test]
fn an_invite_by_mail_address_is_exchanged_for_whom_its_key_vouches() {
    let right = SigningKey::generate([5; 32], "0").unwrap();
    let pdu = exchanged(&World::new(), &right).unwrap();
    assert_eq!(pdu.state_key.as_deref(), Some("@bob:there.org"));
    let wrong = SigningKey::generate([6; 32], "0").unwrap();
    assert_eq!(exchanged(&World::new(), &wrong).unwrap_err(), FORBIDDEN);
}

#[test]
fn a_newcomer_is_told_what_happened_between_the_two_steps_of_its_join() {
    let (world, peer) = (World::new(), Peer::there());
    let (alice, carol) = (world.user("alice"), world.user("carol"));
    let room = world.public(alice);
    let beside = |world: &World| -> Vec<Event> {
        let log = world.read(|view| view.log(base::Seq::ZERO, base::Seq::MAX, 10_000)).unwrap();
        let of = |entry| match entry {
            store::log::Entry::Beside { event, server, .. } => {
                assert_eq!(server, "there.org");
                Some(event)
            }
            _ => None,
        };
        log.into_iter().filter_map(|(_, entry)| of(entry)).collect()
    };
    let number = world.room(&room);
    let template = peer.proposed(&world, &room, &peer.user("bob")).unwrap();
    world.join(carol, &room).unwrap();
    let carols = world.read(|view| Ok(room::head(view, number)?.extremities)).unwrap();
    let pdu = peer.complete(&template);
    world.write(move |tx| join::accept(tx, number, &pdu)).unwrap();
    assert_eq!(beside(&world), carols);
    // Those who come after the first are told what others are told.
    peer.join(&world, &room, &peer.user("dora")).unwrap();
    assert_eq!(beside(&world), carols);
}
