use serde_json::{Value, json};
use store::schema::DELAYED;

use super::*;
use crate::{
    delayed_list::{self, Form, Wanted},
    testing::{FORBIDDEN, Outcome as Result, World, raw, refusal},
};

struct Scene {
    world: World,
    alice: User,
    room: OwnedRoomId,
}

fn scene() -> Scene {
    let world = World::new();
    let alice = world.user("alice");
    let room = world.public(alice);
    Scene { world, alice, room }
}

impl Scene {
    fn later(&self, user: User, body: &str, delay_ms: u64, txn: Option<&str>) -> Result<String> {
        self.put(user, ("m.room.message", None), json!({ "body": body }), delay_ms, txn)
    }

    fn put(
        &self,
        user: User,
        (kind, key): (&str, Option<&str>),
        content: Value,
        delay_ms: u64,
        txn: Option<&str>,
    ) -> Result<String> {
        let (room, kind, content) = (self.room.clone(), kind.to_owned(), raw(&content));
        let (key, txn) = (key.map(str::to_owned), txn.map(str::to_owned));
        self.world.write(move |tx| {
            let txn = txn.as_deref().map(|id| Txn { device: "D", path: "send", id });
            let state_key = key.as_deref();
            let (kind, content) = (kind.as_str(), &*content);
            let later = Later { kind, state_key, content, delay_ms, sticky_ms: None };
            schedule(tx, user, &room, later, txn)
        })
    }

    fn act(&self, id: &str, action: Action, owner: Option<User>) -> Result<()> {
        let id = id.to_owned();
        self.world.write(move |tx| act(tx, &id, action, owner))
    }

    /// What whoever watches the clock does.
    fn tick(&self) {
        for (id, _) in self.world.read(|view| due(view, 1_000)).unwrap() {
            let again = id.clone();
            if let Err(Error::Refused(no)) = self.world.store.write_here(move |tx| fire(tx, &id)) {
                self.world.write(move |tx| fail(tx, &again, no.errcode, &no.message)).unwrap();
            }
        }
    }

    fn bodies(&self) -> Vec<String> {
        let events = self.world.timeline(&self.room);
        let body = |e: &std::sync::Arc<store::event::Stored>| {
            Some(e.content_as::<Value>()?.get("body")?.as_str()?.to_owned())
        };
        events.iter().filter_map(body).collect()
    }

    fn get(&self, id: &str) -> Result<Value> {
        self.world.read(|view| delayed_list::get(view, self.alice, id, Form::Accepted))
    }

    fn list(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let form = Form::Deployed;
        let list = self.world.read(|view| delayed_list::list(view, self.alice, wanted, form));
        let list = list.unwrap();
        let ids = list["delayed_events"].as_array().unwrap().iter();
        ids.map(|e| e["delay_id"].as_str().unwrap().to_owned()).collect()
    }
}

const CONFLICT: (u16, &str) = (409, "M_UNKNOWN");
const NONE: (u16, &str) = (404, "M_NOT_FOUND");

#[test]
fn an_event_is_sent_once_when_its_time_has_come_and_not_before() {
    let s = scene();
    let id = s.later(s.alice, "later", 10_000, None).unwrap();
    s.world.wait(9_000);
    s.tick();
    assert!(s.bodies().is_empty());
    assert!(s.get(&id).unwrap().get("finalised").is_none());
    s.world.wait(1_000);
    s.tick();
    s.tick();
    assert_eq!(s.bodies(), ["later"]);
    let sent = s.world.timeline(&s.room).pop().unwrap();
    assert_eq!(s.get(&id).unwrap()["finalised"]["event_id"], sent.id.as_str());
    let row = s.world.read(|view| view.get(&SENT_DELAYED, (sent.event,))).unwrap();
    assert_eq!(row, Some(id));
}

#[test]
fn what_came_due_while_nobody_looked_is_sent_in_order() {
    let s = scene();
    for (body, delay_ms) in [("third", 30_000), ("first", 10_000), ("second", 20_000)] {
        s.later(s.alice, body, delay_ms, None).unwrap();
    }
    s.world.wait(100_000);
    s.tick();
    assert_eq!(s.bodies(), ["first", "second", "third"]);
}

#[test]
fn a_restart_begins_the_delay_anew() {
    let s = scene();
    let id = s.later(s.alice, "x", 10_000, None).unwrap();
    s.world.wait(9_000);
    s.act(&id, Action::Restart, None).unwrap();
    s.world.wait(9_000);
    s.tick();
    assert!(s.bodies().is_empty());
    s.world.wait(1_000);
    s.tick();
    assert_eq!(s.bodies(), ["x"]);
}

#[test]
fn an_action_may_be_repeated_and_one_that_contradicts_is_a_conflict() {
    let s = scene();
    let sent = s.later(s.alice, "sent", 10_000, None).unwrap();
    let cancelled = s.later(s.alice, "cancelled", 10_000, None).unwrap();
    for _ in 0..2 {
        s.act(&sent, Action::Send, None).unwrap();
        s.act(&cancelled, Action::Cancel, Some(s.alice)).unwrap();
    }
    for action in [Action::Cancel, Action::Restart] {
        assert_eq!(s.act(&sent, action, None), Err(CONFLICT));
    }
    for action in [Action::Send, Action::Restart] {
        assert_eq!(s.act(&cancelled, action, None), Err(CONFLICT));
    }
    s.world.wait(20_000);
    s.tick();
    assert_eq!(s.bodies(), ["sent"]);
    assert_eq!(s.act("nothing", Action::Send, None), Err(NONE));
}

#[test]
fn with_a_token_only_the_owner_may_act() {
    let s = scene();
    let bob = s.world.user("bob");
    let id = s.later(s.alice, "x", 10_000, None).unwrap();
    assert_eq!(s.act(&id, Action::Cancel, Some(bob)), Err(NONE));
    let foreign = s.world.read(|view| delayed_list::get(view, bob, &id, Form::Accepted));
    assert_eq!(foreign, Err(NONE));
    s.act(&id, Action::Cancel, Some(s.alice)).unwrap();
}

#[test]
fn a_repeated_request_schedules_once() {
    let s = scene();
    let first = s.later(s.alice, "x", 10_000, Some("1")).unwrap();
    assert_eq!(s.later(s.alice, "x", 10_000, Some("1")).unwrap(), first);
    assert_ne!(s.later(s.alice, "x", 10_000, Some("2")).unwrap(), first);
    s.world.wait(10_000);
    s.tick();
    assert_eq!(s.bodies().len(), 2);
}

#[test]
fn what_the_room_forbids_when_it_is_due_is_kept_as_a_failure() {
    let s = scene();
    let bob = s.world.user("bob");
    s.world.join(bob, &s.room).unwrap();
    let id = s.later(bob, "x", 10_000, None).unwrap();
    s.world.leave(bob, &s.room).unwrap();
    assert_eq!(s.act(&id, Action::Send, None), Err(FORBIDDEN));
    let shown = |id: &str| s.world.read(|v| delayed_list::get(v, bob, id, Form::Accepted)).unwrap();
    assert!(shown(&id).get("finalised").is_none(), "a refused action changes nothing");
    s.world.wait(10_000);
    s.tick();
    assert_eq!(shown(&id)["finalised"]["error"]["errcode"], "M_FORBIDDEN");
    assert_eq!(s.act(&id, Action::Cancel, None), Ok(()));
    assert_eq!(s.act(&id, Action::Send, None), Err(CONFLICT));
    assert!(s.bodies().is_empty());
}

#[test]
fn state_set_by_another_cancels_what_was_scheduled_for_it_and_ones_own_does_not() {
    let s = scene();
    let bob = s.world.user("bob");
    s.world.join(bob, &s.room).unwrap();
    let levels = json!({"users_default": 50, "state_default": 50, "events": {}});
    s.world.set(s.alice, &s.room, "m.room.power_levels", "", levels).unwrap();
    let place = ("x.call", Some("k"));
    let id = s.put(s.alice, place, json!({"n": 1}), 10_000, None).unwrap();
    let elsewhere = s.put(s.alice, ("x.call", Some("other")), json!({}), 50_000, None).unwrap();
    s.world.set(s.alice, &s.room, "x.call", "k", json!({"n": 2})).unwrap();
    assert!(s.get(&id).unwrap().get("finalised").is_none());
    s.world.set(bob, &s.room, "x.call", "k", json!({"n": 3})).unwrap();
    assert!(s.get(&id).unwrap().get("finalised").is_some());
    assert!(s.get(&elsewhere).unwrap().get("finalised").is_none());
    s.world.wait(10_000);
    s.tick();
    assert_eq!(s.world.content(&s.room, "x.call", "k"), Some(json!({"n": 3})));
}

#[test]
fn the_longest_names_that_the_spec_allows_can_be_delayed() {
    let s = scene();
    let (kind, key) = ("k".repeat(ID_BYTES_MAX), "s".repeat(ID_BYTES_MAX));
    s.put(s.alice, (&kind, Some(&key)), json!({"n": 1}), 10_000, None).unwrap();
    s.world.wait(10_000);
    s.tick();
    assert_eq!(s.world.content(&s.room, &kind, &key), Some(json!({"n": 1})));
}

#[test]
fn a_delayed_state_event_sets_state() {
    let s = scene();
    s.put(s.alice, ("x.call", Some("")), json!({"n": 1}), 10_000, None).unwrap();
    s.world.wait(10_000);
    s.tick();
    assert_eq!(s.world.content(&s.room, "x.call", ""), Some(json!({"n": 1})));
}

#[test]
fn limits_of_number_delay_and_place() {
    let s = scene();
    let bob = s.world.user("bob");
    assert_eq!(s.later(bob, "x", 1_000, None), Err(FORBIDDEN));
    let too_long = s.later(s.alice, "x", DELAY_MS_MAX + 1, None);
    assert_eq!(too_long, Err((400, "M_MAX_DELAY_EXCEEDED")));
    assert_eq!(s.later(s.alice, "x", 0, None), Err((400, "M_INVALID_PARAM")));
    let array = s.put(s.alice, ("m.x", None), json!([]), 1_000, None);
    assert_eq!(array, Err((400, "M_BAD_JSON")));
    for _ in 0..SCHEDULED_MAX {
        s.later(s.alice, "x", 10_000, None).unwrap();
    }
    assert_eq!(s.later(s.alice, "x", 10_000, None), Err((429, "M_LIMIT_EXCEEDED")));
    s.world.wait(10_000);
    s.tick();
    s.later(s.alice, "x", 10_000, None).unwrap();
}

#[test]
fn finalised_events_are_forgotten_after_a_week() {
    let s = scene();
    let id = s.later(s.alice, "x", 1_000, Some("1")).unwrap();
    s.act(&id, Action::Cancel, None).unwrap();
    s.world.wait(7 * 24 * 60 * 60 * 1_000);
    assert_eq!(s.get(&id), Err(NONE));
    s.tick();
    let rows = s.world.read(|view| view.everything(&DELAYED, None, 10)).unwrap();
    assert!(rows.is_empty());
    let due = s.world.read(|view| view.everything(&DELAYED_DUE, None, 10)).unwrap();
    assert!(due.is_empty());
    let of = s.world.read(|view| view.everything(&DELAYED_OF, None, 10)).unwrap();
    assert!(of.is_empty());
    let txns = s.world.read(|view| view.everything(&DELAYED_TXNS, None, 10)).unwrap();
    assert!(txns.is_empty());
}

#[test]
fn lists_are_filtered_and_paged() {
    let s = scene();
    let ids: Vec<String> =
        (0..4).map(|n| s.later(s.alice, "x", 10_000 * (n + 1), None).unwrap()).collect();
    s.act(&ids[0], Action::Send, None).unwrap();
    s.act(&ids[1], Action::Cancel, None).unwrap();
    let wanted = |scheduled, outcome| Wanted { scheduled, outcome, ..Wanted::default() };
    assert_eq!(s.list(&wanted(None, None)), [&*ids[2], &ids[3], &ids[0], &ids[1]]);
    assert_eq!(s.list(&wanted(Some(true), None)), ids[2..]);
    assert_eq!(s.list(&wanted(Some(false), None)), ids[..2]);
    assert_eq!(s.list(&wanted(None, Some("cancel"))), ids[1..2]);
    let backward = Wanted { backward: true, scheduled: Some(true), ..Wanted::default() };
    assert_eq!(s.list(&backward), [&*ids[3], &ids[2]]);
    let bad = wanted(None, Some("odd"));
    let bad = s.world.store.read_here(|v| delayed_list::list(v, s.alice, &bad, Form::Accepted));
    assert_eq!(refusal(bad), Err((400, "M_INVALID_PARAM")));
}

#[test]
fn every_page_of_a_long_list_is_told_once_in_both_directions() {
    let s = scene();
    let mut all = Vec::new();
    for n in 0..230 {
        let id = s.later(s.alice, "x", 10_000, None).unwrap();
        if n < 150 {
            s.act(&id, Action::Cancel, None).unwrap();
        }
        all.push(id);
    }
    all.sort();
    for backward in [false, true] {
        let mut from: Option<String> = None;
        let mut told = Vec::new();
        loop {
            let wanted = Wanted { backward, from: from.as_deref(), ..Wanted::default() };
            let form = Form::Accepted;
            let page = s.world.read(|v| delayed_list::list(v, s.alice, &wanted, form)).unwrap();
            let events = page["delayed_events"].as_array().unwrap();
            told.extend(events.iter().map(|e| e["delay_id"].as_str().unwrap().to_owned()));
            let next = if backward { "prev_batch" } else { "next_batch" };
            match page.get(next).and_then(Value::as_str) {
                Some(next) => from = Some(next.to_owned()),
                None => break,
            }
        }
        told.sort();
        assert_eq!(told, all, "backward: {backward}");
    }
}
