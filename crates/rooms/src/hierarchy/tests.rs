use serde_json::json;

use super::*;
use crate::testing::{FORBIDDEN, Outcome, World};

fn space(world: &World, user: User) -> OwnedRoomId {
    let request = json!({"preset": "public_chat", "creation_content": {"type": "m.space"}});
    world.create(user, request).unwrap()
}

fn put(world: &World, user: User, parent: &RoomId, child: &RoomId, more: Value) {
    let mut content = json!({"via": ["x.org"]});
    content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.set(user, parent, "m.space.child", child.as_str(), content).unwrap();
}

fn walk(world: &World, user: User, space: &RoomId, ask: Ask<'_>) -> Outcome<Value> {
    let text = world.read(|view| page(view, user, space, &ask))?;
    Ok(serde_json::from_str(&text).unwrap())
}

fn ids(page: &Value) -> Vec<&str> {
    page["rooms"].as_array().unwrap().iter().map(|r| r["room_id"].as_str().unwrap()).collect()
}

/// A space with a space below it, and rooms in both; in the order of the walk.
fn tree(world: &World, alice: User) -> Vec<OwnedRoomId> {
    let (top, below) = (space(world, alice), space(world, alice));
    let rooms: Vec<_> = (0..4).map(|_| world.public(alice)).collect();
    put(world, alice, &top, &rooms[3], json!({"order": "zz"}));
    put(world, alice, &top, &rooms[2], json!({}));
    put(world, alice, &top, &below, json!({"order": "b", "suggested": true}));
    put(world, alice, &top, &rooms[0], json!({"order": "a", "suggested": true}));
    put(world, alice, &below, &rooms[1], json!({"order": "bad\n"}));
    // A loop.
    put(world, alice, &below, &top, json!({}));
    vec![top, rooms[0].clone(), below, rooms[1].clone(), rooms[3].clone(), rooms[2].clone()]
}

#[test]
fn the_tree_is_walked_depth_first_in_the_order_of_the_children_and_loops_end() {
    let world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let wanted = tree(&world, alice);
    let all = walk(&world, eve, &wanted[0], Ask::default()).unwrap();
    assert_eq!(ids(&all), wanted);
    assert!(all.get("next_batch").is_none());
    let top = &all["rooms"][0];
    assert_eq!((&top["room_type"], &top["room_version"]), (&json!("m.space"), &json!("12")));
    let first = &top["children_state"][0];
    assert_eq!(
        (&first["state_key"], &first["sender"]),
        (&json!(wanted[1]), &json!("@alice:x.org"))
    );
    assert_eq!(first["content"], json!({"via": ["x.org"], "order": "a", "suggested": true}));
    assert!(first["origin_server_ts"].is_u64() && first["type"] == "m.space.child");
    assert_eq!(first.as_object().unwrap().len(), 5, "stripped");
    assert_eq!(all["rooms"][1]["children_state"], json!([]));
}

#[test]
fn depth_and_suggestions_narrow_the_walk() {
    let world = World::new();
    let alice = world.user("alice");
    let rooms = tree(&world, alice);
    let of = |max_depth, suggested_only| {
        let ask = Ask { max_depth, suggested_only, ..Ask::default() };
        let page = walk(&world, alice, &rooms[0], ask).unwrap();
        ids(&page).iter().map(|id| rooms.iter().position(|r| r == id).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of(Some(0), false), [0]);
    assert_eq!(of(Some(1), false), [0, 1, 2, 4, 5]);
    assert_eq!(of(None, true), [0, 1, 2]);
}

#[test]
fn pages_together_are_the_whole_and_the_question_stays_the_same() {
    let world = World::new();
    let alice = world.user("alice");
    let rooms = tree(&world, alice);
    let mut read = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let ask = Ask { from: token.as_deref().map(Into::into), limit: Some(2), ..Ask::default() };
        let page = walk(&world, alice, &rooms[0], ask).unwrap();
        read.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next_batch"].as_str() {
            Some(next) => token = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(read, rooms);
    let invalid = Err((400, "M_INVALID_PARAM"));
    let from: Option<Cow<'_, str>> = Some("h2_-_0".into());
    for ask in [
        Ask { from: from.clone(), suggested_only: true, ..Ask::default() },
        Ask { from, max_depth: Some(1), ..Ask::default() },
        Ask { from: Some("s1".into()), ..Ask::default() },
        Ask { limit: Some(0), ..Ask::default() },
    ] {
        assert_eq!(walk(&world, alice, &rooms[0], ask.clone()), invalid, "{ask:?}");
    }
}

#[test]
fn what_one_may_not_know_of_is_left_out_with_all_below_it() {
    let world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let rooms = tree(&world, alice);
    world.set(alice, &rooms[2], "m.room.join_rules", "", json!({"join_rule": "invite"})).unwrap();
    let page = walk(&world, eve, &rooms[0], Ask::default()).unwrap();
    assert_eq!(ids(&page), [&rooms[0], &rooms[1], &rooms[4], &rooms[5]]);
    assert_eq!(walk(&world, eve, &rooms[2], Ask::default()), Err(FORBIDDEN));
    let none = ruma::owned_room_id!("!none:x.org");
    assert_eq!(walk(&world, eve, &none, Ask::default()), Err(FORBIDDEN));
}

#[test]
fn a_child_without_servers_is_none_and_a_plain_room_has_none() {
    let world = World::new();
    let alice = world.user("alice");
    let rooms = tree(&world, alice);
    for bad in [json!({}), json!({"via": []}), json!({"via": "x.org"}), json!({"via": [1]})] {
        world.set(alice, &rooms[0], "m.space.child", rooms[2].as_str(), bad).unwrap();
        let page = walk(&world, alice, &rooms[0], Ask::default()).unwrap();
        assert_eq!(ids(&page), [&rooms[0], &rooms[1], &rooms[4], &rooms[5]]);
    }
    put(&world, alice, &rooms[1], &rooms[0], json!({}));
    let page = walk(&world, alice, &rooms[1], Ask::default()).unwrap();
    assert_eq!(ids(&page), [&rooms[1]]);
    assert_eq!(page["rooms"][0]["children_state"], json!([]));
}

#[test]
fn children_that_this_server_is_not_in_are_given_to_be_asked_for_and_shown_when_told() {
    let world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let top = space(&world, alice);
    let far = ["!open:away.org", "!closed:away.org", "!dead:away.org"];
    for id in far {
        put(&world, alice, &top, id.try_into().unwrap(), json!({"via": ["away.org", "no way"]}));
    }
    let mut told = Told::default();
    let walked = |told: &Told| {
        let walked = world.read(|v| super::walk(v, eve, &top, &Ask::default(), told)).unwrap();
        let body: Value = serde_json::from_str(&walked.body.unwrap()).unwrap();
        (ids(&body).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), walked.unknown)
    };
    let (shown, unknown) = walked(&told);
    assert_eq!(shown, [top.as_str()]);
    assert_eq!(unknown.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), far);
    assert!(unknown.iter().all(|(_, via)| *via == ["away.org"]));
    for (id, rule) in [(far[0], "public"), (far[1], "invite")] {
        let id = OwnedRoomId::try_from(id).unwrap();
        let body = json!({"room": {"room_id": id, "join_rule": rule, "num_joined_members": 1}});
        let answer = elsewhere::Answer::read(&id, body.to_string().as_bytes()).unwrap();
        told.add(id, Some(Arc::new(answer)));
    }
    told.add(OwnedRoomId::try_from(far[2]).unwrap(), None);
    let (shown, unknown) = walked(&told);
    assert_eq!(shown, [top.as_str(), far[0]]);
    assert!(unknown.is_empty());
}
