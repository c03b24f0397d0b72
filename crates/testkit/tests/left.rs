//! What `/sync` tells of rooms that were left, where random histories seldom go.
#![expect(clippy::indexing_slicing, reason = "an oracle: failing loudly is its purpose")]

use testkit::{Client, Left, Op, Sent, Taste, World};

/// The public room and who made it.
const ROOM: usize = 0;
const OWNER: usize = 0;
/// Who leaves.
const GUEST: usize = 1;

fn client(world: &World, after: bool) -> Client {
    let taste =
        Taste { limit: 5, threads: false, after, patient: true, lazy: false, archive: false };
    Client::new(world.users[GUEST].clone(), taste)
}

/// Deeds one after the other; the id of the newest event behind each.
fn done(world: &mut World, deeds: &[Op]) -> Vec<String> {
    let mut newest = Vec::new();
    for deed in deeds {
        assert!(world.perform(deed), "{deed:?}");
        newest.extend(world.events(world.rooms[ROOM].0).last().map(ToString::to_string));
    }
    newest
}

fn left(world: &World, client: &mut Client) -> Left {
    assert!(client.sync(&world.store));
    client.left[world.rooms[ROOM].1.as_str()].clone()
}

#[test]
fn who_is_banned_after_leaving_is_told_of_the_ban_and_of_nothing_else() {
    for after in [false, true] {
        let mut world = World::new(4);
        let mut client = client(&world, after);
        done(&mut world, &[Op::Join(GUEST, ROOM)]);
        client.sync(&world.store);
        done(&mut world, &[Op::Leave(GUEST, ROOM)]);
        assert_eq!(left(&world, &mut client).timeline.len(), 1);
        let deeds = [
            Op::Topic(OWNER, ROOM, 1),
            Op::Send(OWNER, ROOM, Sent::Text),
            Op::Ban(OWNER, GUEST, ROOM, false),
        ];
        let events = done(&mut world, &deeds);
        let left = left(&world, &mut client);
        assert_eq!(left.timeline, events[2..]);
        assert_eq!(left.state.is_empty(), !after, "{:?}", left.state);
        assert!(left.state.iter().all(|id| *id == events[2]));
    }
}

#[test]
fn what_happened_between_leaving_and_a_ban_is_not_told() {
    for after in [false, true] {
        let mut world = World::new(4);
        let mut client = client(&world, after);
        done(&mut world, &[Op::Join(GUEST, ROOM)]);
        client.sync(&world.store);
        let deeds = [
            Op::Send(OWNER, ROOM, Sent::Text),
            Op::Leave(GUEST, ROOM),
            Op::Topic(OWNER, ROOM, 1),
            Op::Ban(OWNER, GUEST, ROOM, false),
        ];
        let events = done(&mut world, &deeds);
        let left = left(&world, &mut client);
        assert_eq!(left.timeline, [&*events[0], &events[1], &events[3]]);
        assert!(!left.state.contains(&events[2]), "the topic was set when they were gone");
    }
}

#[test]
fn who_leaves_and_forgets_at_once_is_told_that_they_left() {
    let mut world = World::new(4);
    let mut client = client(&world, false);
    done(&mut world, &[Op::Join(GUEST, ROOM)]);
    client.sync(&world.store);
    let events = done(&mut world, &[Op::Leave(GUEST, ROOM), Op::Forget(GUEST, ROOM)]);
    assert_eq!(left(&world, &mut client).timeline, [&*events[0]]);
    assert!(!client.rooms.contains_key(world.rooms[ROOM].1.as_str()));
    assert!(!client.sync(&world.store), "once");
}
