use crate::testing::{FORBIDDEN, World};

#[test]
fn one_types_only_for_oneself_and_only_inside() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.public(alice);
    let permit = |user, whom| {
        let typist = world.id(whom);
        world.read(|view| super::permit(view, user, &room, &typist, 1_000_000))
    };
    let now = world.store.now();
    let (number, until) = permit(alice, alice).unwrap();
    assert_eq!(number, world.room(&room));
    assert!(until.0 > now.0 && until.0 <= now.0 + super::TYPING_MS_MAX + 10);
    assert_eq!(permit(alice, bob), Err(FORBIDDEN));
    assert_eq!(permit(bob, bob), Err(FORBIDDEN));
}
