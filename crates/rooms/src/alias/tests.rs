use serde_json::json;

use super::*;
use crate::testing::{FORBIDDEN, Outcome, World};

fn remove(world: &World, user: User, admin: bool, alias: &str) -> Outcome<()> {
    let alias = OwnedRoomAliasId::try_from(alias).unwrap();
    world.write(move |tx| delete(tx, user, admin, &alias))
}

fn find(world: &World, alias: &str) -> Outcome<OwnedRoomId> {
    let alias = OwnedRoomAliasId::try_from(alias).unwrap();
    world.read(|view| lookup(view, &alias))
}

#[test]
fn an_alias_points_to_one_room_and_is_listed_there() {
    let world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let (room, other) = (world.public(alice), world.public(alice));
    world.alias(alice, "#a:x.org", &room).unwrap();
    world.alias(alice, "#b:x.org", &room).unwrap();
    assert_eq!(find(&world, "#a:x.org"), Ok(room.clone()));
    assert_eq!(world.alias(alice, "#a:x.org", &other), Err((409, "M_UNKNOWN")));
    assert_eq!(find(&world, "#none:x.org"), Err((404, "M_NOT_FOUND")));
    assert_eq!(world.alias(alice, "#a:y.org", &room), Err((400, "M_INVALID_PARAM")));
    assert_eq!(world.alias(eve, "#c:x.org", &room), Err(FORBIDDEN));
    let listed = world.read(|view| list(view, alice, &room)).unwrap();
    assert_eq!(listed, ["#a:x.org", "#b:x.org"]);
    assert_eq!(world.read(|view| list(view, eve, &room)), Err(FORBIDDEN));
    let readable = json!({"history_visibility": "world_readable"});
    world.set(alice, &room, "m.room.history_visibility", "", readable).unwrap();
    assert_eq!(world.read(|view| list(view, eve, &room)).unwrap().len(), 2);
}

#[test]
fn a_room_is_joined_by_its_alias() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    world.alias(alice, "#a:x.org", &room).unwrap();
    let join = |alias: &str| {
        let alias = ruma::OwnedRoomOrAliasId::try_from(alias).unwrap();
        world.write(move |tx| crate::join::join(tx, bob, false, &alias, None))
    };
    assert_eq!(join("#a:x.org"), Ok(room));
    assert_eq!(join("#a:y.org"), Err((404, "M_NOT_FOUND")));
}

#[test]
fn an_alias_is_deleted_by_its_creator_a_moderator_or_an_administrator() {
    let world = World::new();
    let (alice, bob, eve) = (world.user("alice"), world.user("bob"), world.user("eve"));
    let room = world.public(alice);
    for user in [bob, eve] {
        world.join(user, &room).unwrap();
    }
    for (by, admin, outcome) in [
        (eve, false, Err(FORBIDDEN)),
        (bob, false, Ok(())),
        (alice, false, Ok(())),
        (eve, true, Ok(())),
    ] {
        world.alias(bob, "#a:x.org", &room).unwrap();
        assert_eq!(remove(&world, by, admin, "#a:x.org"), outcome);
        if outcome.is_err() {
            remove(&world, bob, false, "#a:x.org").unwrap();
        }
        assert_eq!(find(&world, "#a:x.org"), Err((404, "M_NOT_FOUND")));
    }
    assert_eq!(remove(&world, alice, false, "#a:x.org"), Err((404, "M_NOT_FOUND")));
    assert!(world.read(|view| list(view, alice, &room)).unwrap().is_empty());
}

#[test]
fn a_deleted_alias_is_no_longer_canonical() {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    for alias in ["#a:x.org", "#b:x.org", "#c:x.org"] {
        world.alias(alice, alias, &room).unwrap();
    }
    let content = json!({"alias": "#a:x.org", "alt_aliases": ["#b:x.org", "#c:x.org"]});
    world.set(alice, &room, CANONICAL, "", content).unwrap();
    let now = || world.content(&room, CANONICAL, "").unwrap();
    remove(&world, alice, false, "#b:x.org").unwrap();
    assert_eq!(now(), json!({"alias": "#a:x.org", "alt_aliases": ["#c:x.org"]}));
    remove(&world, alice, false, "#a:x.org").unwrap();
    assert_eq!(now(), json!({"alt_aliases": ["#c:x.org"]}));
}

#[test]
fn new_canonical_aliases_must_point_to_the_room() {
    let world = World::new();
    let alice = world.user("alice");
    let (room, other) = (world.public(alice), world.public(alice));
    world.alias(alice, "#here:x.org", &room).unwrap();
    world.alias(alice, "#there:x.org", &other).unwrap();
    let set = |content: Value| world.set(alice, &room, CANONICAL, "", content).map(drop);
    let bad = Err((400, "M_BAD_ALIAS"));
    let invalid = Err((400, "M_INVALID_PARAM"));
    for (content, outcome) in [
        (json!({"alias": "#there:x.org"}), bad),
        (json!({"alias": "#none:x.org"}), bad),
        (json!({"alt_aliases": ["#here:x.org", "#far:y.org"]}), bad),
        (json!({"alias": "here"}), invalid),
        (json!({"alt_aliases": "here"}), invalid),
        (json!({"alias": "#here:x.org", "alt_aliases": ["#here:x.org"]}), Ok(())),
    ] {
        assert_eq!(set(content.clone()), outcome, "{content}");
    }
    let id = OwnedRoomAliasId::try_from("#here:x.org").unwrap();
    let number = world.room(&room);
    world
        .write(move |tx| {
            tx.delete(&ALIASES, (id.to_string(),));
            tx.delete(&ALIASES_OF, (number, id.to_string()));
            Ok(())
        })
        .unwrap();
    let kept = json!({"alias": "#here:x.org"});
    assert_eq!(set(kept), Ok(()), "what is there already is not asked about");
    assert_eq!(set(json!({"alias": ""})), Ok(()), "an empty alias is none");
}
