use base::Seq;
use serde_json::{Value, json};
use store::log::Entry;

use super::*;
use crate::testing::{FORBIDDEN, Outcome, World};

struct Room1 {
    world: World,
    alice: User,
    room: ruma::OwnedRoomId,
}

fn room1() -> Room1 {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    Room1 { world, alice, room }
}

impl Room1 {
    fn say(&self) -> OwnedEventId {
        self.world.say(self.alice, &self.room, "x")
    }

    fn relate(&self, rel_type: &str, to: &EventId) -> OwnedEventId {
        let content = json!({"m.relates_to": {"rel_type": rel_type, "event_id": to}});
        self.world.send(self.alice, &self.room, "m.room.message", content).unwrap()
    }

    fn set(&self, mark: Mark, event: &EventId, thread: Option<&str>) -> Outcome<()> {
        let (user, room) = (self.alice, self.room.clone());
        let (event, thread) = (event.to_owned(), thread.map(str::to_owned));
        self.world.write(move |tx| super::set(tx, user, &room, mark, &event, thread.as_deref()))
    }

    fn get(&self, thread: &str, private: bool) -> Option<Receipt> {
        let key = (self.world.room(&self.room), self.alice, thread.to_owned(), u8::from(private));
        self.world.read(|view| view.get(&RECEIPTS, key.clone())).unwrap()
    }

    fn fully_read(&self) -> Option<Value> {
        let key = (self.alice, self.world.room(&self.room), FULLY_READ.to_owned());
        let data = self.world.read(|view| view.get(&ACCOUNT_DATA, key.clone())).unwrap();
        data.map(|data| serde_json::from_str(&data.content).unwrap())
    }
}

const INVALID: (u16, &str) = (400, "M_INVALID_PARAM");

#[test]
fn a_receipt_moves_forward_only_and_knows_its_place() {
    let it = room1();
    let (first, second) = (it.say(), it.say());
    it.set(Mark::Read, &second, None).unwrap();
    let at = it.get("", false).unwrap();
    assert_eq!(at.event_id, second.as_str());
    assert_eq!(at.event, it.world.number(&second));
    assert_eq!(Some(at.order), it.world.read(|v| event::order(v, at.event)).unwrap());
    let head = it.world.read(|view| Ok(view.head())).unwrap();
    assert_eq!(at.moved, head);
    let room = it.world.room(&it.room);
    let last = it.world.log().pop();
    assert_eq!(last, Some(Entry::Receipt { room, user: it.alice, private: false }));
    for event in [&first, &second] {
        it.set(Mark::Read, event, None).unwrap();
        assert_eq!(it.get("", false), Some(at.clone()));
    }
    assert_eq!(it.world.read(|view| Ok(view.head())).unwrap(), head, "nothing moved");
}

#[test]
fn receipts_of_one_transaction_move_forward_only_too() {
    let it = room1();
    let (first, second) = (it.say(), it.say());
    let (user, room, ids) = (it.alice, it.room.clone(), [second.clone(), first]);
    it.world
        .write(move |tx| ids.iter().try_for_each(|id| set(tx, user, &room, Mark::Read, id, None)))
        .unwrap();
    let at = it.get("", false).unwrap();
    assert_eq!(at.event_id, second.as_str());
    assert_ne!(at.moved, Seq::ZERO);
}

#[test]
fn threads_and_kinds_have_receipts_of_their_own() {
    let it = room1();
    let root = it.say();
    let (reply, main) = (it.relate("m.thread", &root), it.say());
    let reaction = it.relate("m.reference", &reply);
    it.set(Mark::Read, &main, Some("main")).unwrap();
    it.set(Mark::Read, &reply, Some(root.as_str())).unwrap();
    it.set(Mark::ReadPrivate, &main, None).unwrap();
    let of = |thread: &str, private| it.get(thread, private).map(|r| r.event_id);
    assert_eq!(of("main", false).as_deref(), Some(main.as_str()));
    assert_eq!(of(root.as_str(), false).as_deref(), Some(reply.as_str()));
    assert_eq!(of("", true).as_deref(), Some(main.as_str()));
    assert_eq!(of("", false), None);
    let last = it.world.log().pop();
    assert!(matches!(last, Some(Entry::Receipt { private: true, .. })));
    it.set(Mark::Read, &reaction, Some(root.as_str())).unwrap();
    assert_eq!(of(root.as_str(), false).as_deref(), Some(reaction.as_str()));
}

#[test]
fn an_event_is_only_read_in_its_own_thread() {
    let it = room1();
    let root = it.say();
    let (reply, main) = (it.relate("m.thread", &root), it.say());
    assert_eq!(it.set(Mark::Read, &reply, Some("main")), Err(INVALID));
    assert_eq!(it.set(Mark::Read, &main, Some(root.as_str())), Err(INVALID));
    assert_eq!(it.set(Mark::Read, &reply, Some(reply.as_str())), Err(INVALID));
    for thread in ["main", root.as_str()] {
        assert_eq!(it.set(Mark::Read, &root, Some(thread)), Ok(()));
    }
    assert_eq!(it.set(Mark::FullyRead, &main, Some("main")), Err(INVALID));
}

#[test]
fn receipts_are_for_events_of_a_room_one_is_in() {
    let it = room1();
    let (event, bob) = (it.say(), it.world.user("bob"));
    let elsewhere = it.world.say(it.alice, &it.world.public(it.alice), "x");
    assert_eq!(it.set(Mark::Read, &elsewhere, None), Err((404, "M_NOT_FOUND")));
    let room = it.room.clone();
    let theirs = it.world.write(move |tx| set(tx, bob, &room, Mark::Read, &event, None));
    assert_eq!(theirs, Err(FORBIDDEN));
}

#[test]
fn fully_read_is_account_data_of_the_room_and_moves_forward_only() {
    let it = room1();
    let (first, second) = (it.say(), it.say());
    it.set(Mark::FullyRead, &second, None).unwrap();
    assert_eq!(it.fully_read(), Some(json!({ "event_id": second })));
    let room = Some(it.world.room(&it.room));
    let entry = Entry::AccountData { user: it.alice, room, kind: FULLY_READ.to_owned() };
    assert_eq!(it.world.log().pop(), Some(entry));
    it.set(Mark::FullyRead, &first, None).unwrap();
    assert_eq!(it.fully_read(), Some(json!({ "event_id": second })));
}

#[test]
fn all_marks_are_set_at_once() {
    let it = room1();
    let (first, second) = (it.say(), it.say());
    let (user, room, ids) = (it.alice, it.room.clone(), (first.clone(), second.clone()));
    it.world
        .write(move |tx| {
            let marks =
                [(Mark::FullyRead, &*ids.0), (Mark::Read, &*ids.1), (Mark::ReadPrivate, &*ids.0)];
            set_all(tx, user, &room, &marks)
        })
        .unwrap();
    assert_eq!(it.fully_read(), Some(json!({ "event_id": first })));
    assert_eq!(it.get("", false).unwrap().event_id, second.as_str());
    assert_eq!(it.get("", true).unwrap().event_id, first.as_str());
}
