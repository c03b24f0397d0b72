use ruma::user_id;

use super::*;
use crate::testing::World;

#[test]
fn rooms_shared_with_another_are_those_that_both_have_joined() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let rooms: Vec<_> = (0..4).map(|_| world.public(alice)).collect();
    assert_eq!(world.read(|view| joined_rooms(view, alice)), Ok(rooms.clone()));
    for room in &rooms[..3] {
        world.join(bob, room).unwrap();
    }
    world.leave(alice, &rooms[0]).unwrap();
    world.public(bob);
    let shared =
        |from: Option<&str>| world.read(|view| mutual(view, alice, user_id!("@bob:x.org"), from));
    let page = shared(None).unwrap();
    assert_eq!((page.joined, page.count, page.next), (rooms[1..3].to_vec(), 2, None));
    let first = world.room(&rooms[1]).0;
    let rest = shared(Some(&format!("m{first}"))).unwrap();
    assert_eq!((rest.joined, rest.count), (rooms[2..3].to_vec(), 2));
    assert_eq!(shared(Some("s1")), Err((400, "M_INVALID_PARAM")));
}

#[test]
fn with_the_unknown_one_shares_nothing_and_of_oneself_one_does_not_ask() {
    let world = World::new();
    let alice = world.user("alice");
    let unknown = user_id!("@nobody:far.org");
    assert_eq!(world.read(|view| mutual(view, alice, unknown, None)), Ok(Mutual::default()));
    let own = world.read(|view| mutual(view, alice, user_id!("@alice:x.org"), None));
    assert_eq!(own, Err((400, "M_INVALID_PARAM")));
}
