use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::json;

use super::*;
use crate::testing::{Outcome, World};

struct Scene {
    world: World,
    alice: User,
    room: OwnedRoomId,
    root: OwnedEventId,
}

fn scene() -> Scene {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    let root = world.say(alice, &room, "root");
    Scene { world, alice, room, root }
}

const NONE: (u16, &str) = (404, "M_NOT_FOUND");

impl Scene {
    fn reply(&self) -> OwnedEventId {
        let relation = json!({"rel_type": "m.thread", "event_id": self.root});
        let content = json!({"body": "reply", "m.relates_to": relation});
        self.world.send(self.alice, &self.room, "m.room.message", content).unwrap()
    }

    fn subscribe(&self, cause: Option<&OwnedEventId>) -> Outcome<()> {
        let (user, room, root) = (self.alice, self.room.clone(), self.root.clone());
        let cause = cause.cloned();
        self.world.write(move |tx| subscribe(tx, user, &room, &root, cause.as_deref()))
    }

    fn unsubscribe(&self) -> Outcome<()> {
        let (user, room, root) = (self.alice, self.room.clone(), self.root.clone());
        self.world.write(move |tx| unsubscribe(tx, user, &room, &root))
    }

    fn get(&self) -> Outcome<bool> {
        self.world.read(|view| get(view, self.alice, &self.room, &self.root))
    }

    fn changes(&self) -> usize {
        let rows = self.world.read(|v| v.everything(&THREAD_SUBSCRIPTION_CHANGES, None, 100));
        rows.unwrap().len()
    }
}

#[test]
fn what_the_user_asks_for_outlasts_what_a_client_does_on_its_own() {
    let s = scene();
    let reply = s.reply();
    assert_eq!(s.get(), Err(NONE));
    s.subscribe(Some(&reply)).unwrap();
    assert_eq!(s.get(), Ok(true));
    s.subscribe(None).unwrap();
    assert_eq!(s.get(), Ok(false));
    s.subscribe(Some(&reply)).unwrap();
    assert_eq!(s.get(), Ok(false));
    assert_eq!(s.changes(), 1, "only the last change of a thread is kept");
}

#[test]
fn a_cause_before_the_user_unsubscribed_is_a_conflict_and_one_after_it_is_not() {
    let s = scene();
    let before = s.reply();
    s.subscribe(None).unwrap();
    s.unsubscribe().unwrap();
    s.unsubscribe().unwrap();
    assert_eq!(s.get(), Err(NONE));
    assert_eq!(s.subscribe(Some(&before)), Err((409, CONFLICTING)));
    let after = s.reply();
    s.subscribe(Some(&after)).unwrap();
    assert_eq!(s.get(), Ok(true));
}

#[test]
fn a_cause_is_a_reply_in_the_thread() {
    let s = scene();
    let other = s.world.say(s.alice, &s.room, "elsewhere");
    for cause in [&other, &s.root.clone()] {
        assert_eq!(s.subscribe(Some(cause)), Err((400, NOT_IN_THREAD)));
    }
}

#[test]
fn who_is_not_in_the_room_has_no_threads_there() {
    let mut s = scene();
    s.alice = s.world.user("bob");
    assert_eq!(s.subscribe(None), Err(NONE));
    assert_eq!(s.unsubscribe(), Err(NONE));
}
