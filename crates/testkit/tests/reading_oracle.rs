//! Reading a room by other ways than `/sync`: paging gives each event exactly once and in order, and no way shows what
//! the model calls invisible (spec: Client-Server API, "Room history visibility"), over random histories.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an oracle: failing loudly is its purpose"
)]

mod deeds;

use std::collections::{BTreeMap, BTreeSet};

use base::{Error, Event, Reply, Seq};
use deeds::{ROOMS, USERS, cases, op, ops};
use proptest::prelude::*;
use ruma::{OwnedEventId, RoomId, api::client::filter::RoomEventFilter};
use serde_json::Value;
use store::{Direction, View, schema::Standing};
use sync::{
    Token, context::context, filter::RoomEvents, gate::Gate, messages, messages::Reader, relations,
    threads::threads,
};
use testkit::{Naive, World, naive};

/// A user, a room, and what the model says the one may see of the other.
struct Looking<'a> {
    view: &'a View,
    reader: Reader<'a>,
    room_id: &'a RoomId,
    events: Vec<Naive>,
    /// The last position that `/messages` and `/threads` may tell of; `None`: nothing.
    upto: Option<Seq>,
}

impl<'a> Looking<'a> {
    fn new(world: &'a World, view: &'a View, user: usize, room: usize) -> Reply<Looking<'a>> {
        let (number, id) = &world.users[user % USERS];
        let (room, room_id) = &world.rooms[room % ROOMS];
        let (mut events, _) = naive(view, *room, id)?;
        let history = ("m.room.history_visibility".to_owned(), String::new());
        let history = events.last().and_then(|e| e.after().get(&history).cloned());
        let history = history.and_then(|id| events.iter().find(|e| e.id == id));
        let open = history.is_some_and(|e| e.content["history_visibility"] == "world_readable");
        let membership = store::room::membership(view, *number, *room)?;
        let upto = match membership {
            _ if open => Some(Seq::MAX),
            Some(m) if m.standing == Standing::Join => Some(Seq::MAX),
            Some(m) if m.forgotten => None,
            Some(m) if matches!(m.standing, Standing::Leave | Standing::Ban) || m.was_joined => {
                store::event::order(view, m.event)?
            }
            _ => None,
        };
        let mine = store::room::membership(view, *number, *room)?;
        // Who was never there, or has forgotten it, sees what anyone sees, and what an invite shows.
        let joined = mine.as_ref().is_some_and(|m| m.standing == Standing::Join);
        let forgotten = mine.as_ref().is_some_and(|m| m.forgotten);
        let was_there = mine.is_some_and(|m| m.was_joined && !m.forgotten);
        if !joined && !was_there {
            for event in &mut events {
                event.visible = event.open || (event.by_invite && !forgotten);
            }
        }
        let reader = Reader { user: *number, id, device: "D" };
        Ok(Looking { view, reader, room_id, events, upto })
    }

    fn of(&self, id: &str) -> &Naive {
        self.events.iter().find(|e| e.id == id).unwrap()
    }

    /// The visible events, oldest first.
    fn visible(&self) -> impl DoubleEndedIterator<Item = &Naive> {
        self.events.iter().filter(|e| e.visible)
    }

    /// Every event that an answer shows, however deep, is one that the user may see.
    fn check_shown(&self, body: &Value) {
        let mut shown = Vec::new();
        collect(body, &mut shown);
        for id in shown {
            let event = self.of(&id);
            assert!(event.visible, "{} sees {} {id} in {body:#}", self.reader.id, event.kind);
        }
        self.check_replaced(body);
    }

    /// Content that was replaced is shown to whoever may see the event that had it, and to nobody else.
    fn check_replaced(&self, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(replaced) = object.get("replaces_state") {
                    let replaced = self.of(replaced.as_str().unwrap());
                    let shown = object.get("prev_content");
                    assert_eq!(shown, replaced.visible.then_some(&replaced.content));
                }
                for (key, inner) in object {
                    if !["content", "prev_content"].contains(&key.as_str()) {
                        self.check_replaced(inner);
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|inner| self.check_replaced(inner)),
            _ => {}
        }
    }

    /// All pages from a token on.
    fn pages(
        &self,
        direction: Direction,
        from: Token,
        to: Option<Token>,
        limit: usize,
    ) -> Vec<String> {
        let filter = RoomEvents::compile(&RoomEventFilter::default());
        let mut read = Vec::new();
        let mut at = from;
        for _ in 0..=self.events.len() {
            let (room_id, filter) = (self.room_id, &filter);
            let page = messages::Page { room_id, from: Some(at), to, direction, limit, filter };
            let body = messages::messages(self.view, &self.reader, &page).unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            self.check_shown(&body);
            assert_eq!(body["start"], at.to_string());
            let chunk = ids(&body["chunk"]);
            assert!(chunk.len() <= limit);
            let done = chunk.len() < limit;
            read.extend(chunk);
            let Some(end) = body["end"].as_str() else { return read };
            if done {
                assert_eq!(direction, Direction::Forward, "backward, the end has no token");
                return read;
            }
            at = Token::parse(end).unwrap();
        }
        panic!("paging does not end")
    }

    /// What paging must give.
    fn wanted(&self, direction: Direction, from: Seq, to: Option<Seq>) -> Vec<String> {
        let upto = self.upto.unwrap();
        let visible = self.visible().filter(|e| e.seq <= upto);
        let ids = |e: &Naive| e.id.clone();
        match direction {
            Direction::Forward => {
                let inside = |e: &&Naive| e.seq > from && to.is_none_or(|to| e.seq <= to);
                visible.filter(inside).map(ids).collect()
            }
            Direction::Backward => {
                let inside = |e: &&Naive| e.seq <= from && to.is_none_or(|to| e.seq > to);
                visible.rev().filter(inside).map(ids).collect()
            }
        }
    }

    fn check_paging(&self, probe: &Probe) {
        let direction = probe.direction();
        let head = self.view.head().0 + 3;
        let (from, to) = (Seq(probe.from % head), probe.to.map(|to| Seq(to % head)));
        if self.upto.is_none() {
            let filter = RoomEvents::compile(&RoomEventFilter::default());
            let (room_id, filter) = (self.room_id, &filter);
            let page =
                messages::Page { room_id, from: None, to: None, direction, limit: 1, filter };
            let answer = messages::messages(self.view, &self.reader, &page);
            assert!(matches!(answer, Err(Error::Refused(r)) if r.errcode == "M_FORBIDDEN"));
            return;
        }
        let read = self.pages(direction, Token::at(from), to.map(Token::at), probe.limit);
        assert_eq!(read, self.wanted(direction, from, to), "{direction:?} {from} {to:?}");
    }

    /// Gate, `/event` and `/context` of one event.
    fn check_event(&self, gate: &Gate<'_>, event: &Naive, probe: &Probe) -> Reply<()> {
        let stored = store::event::load(self.view, event.event)?;
        let by_hand = event.membership.clone();
        assert_eq!(gate.sees(&stored, event.seq)?, event.visible, "{} {}", event.kind, event.id);
        let own = event.kind == "m.room.member"
            && event.state_key.as_deref() == Some(self.reader.id.as_str());
        let membership = if own { by_hand.1 } else { by_hand.0 };
        assert_eq!(gate.membership_at(&stored)?, membership);

        let id = OwnedEventId::try_from(event.id.as_str()).unwrap();
        let one = messages::event(self.view, &self.reader, self.room_id, &id);
        let filter = RoomEvents::compile(&RoomEventFilter::default());
        let around = context(self.view, &self.reader, self.room_id, &id, probe.limit, &filter);
        if !event.visible {
            assert!(is_missing(one) && is_missing(around), "{} is shown", event.id);
            return Ok(());
        }
        let one: Value = serde_json::from_str(&one?).unwrap();
        assert_eq!(one["event_id"], event.id);
        assert_eq!(one["unsigned"]["membership"], membership);
        self.check_shown(&one);
        self.check_bundle(event, &one["unsigned"]["m.relations"]);
        let around: Value = serde_json::from_str(&around?).unwrap();
        self.check_context(event, &around, probe.limit);
        Ok(())
    }

    fn check_context(&self, event: &Naive, body: &Value, limit: usize) {
        self.check_shown(body);
        assert_eq!(body["event"]["event_id"], event.id);
        let before = self.visible().rev().filter(|e| e.seq < event.seq).map(|e| e.id.clone());
        let before: Vec<String> = before.take(limit.div_ceil(2)).collect();
        let after = self.visible().filter(|e| e.seq > event.seq).map(|e| e.id.clone());
        let after: Vec<String> = after.take(limit / 2).collect();
        assert_eq!(ids(&body["events_before"]), before);
        assert_eq!(ids(&body["events_after"]), after);
        // From its ends one can go on.
        if self.upto == Some(Seq::MAX) {
            let token = |key: &str| Token::parse(body[key].as_str().unwrap()).unwrap();
            let seq = |id: Option<&String>| id.map_or(event.seq, |id| self.of(id).seq);
            let older = self.pages(Direction::Backward, token("start"), None, 5);
            let first = Seq(seq(before.last()).0 - 1);
            assert_eq!(older, self.wanted(Direction::Backward, first, None));
            let newer = self.pages(Direction::Forward, token("end"), None, 5);
            assert_eq!(newer, self.wanted(Direction::Forward, seq(after.last()), None));
        }
        // The state is that of a moment when the user was there, or holds only what they may see.
        let last = after.last().map_or(event, |id| self.of(id));
        let state: BTreeSet<String> = ids(&body["state"]).into_iter().collect();
        let all: BTreeSet<String> = last.after().into_values().collect();
        if last.membership.0 == "join" || last.membership.1 == "join" {
            assert_eq!(state, all);
        } else if !last.open {
            let seen: BTreeSet<String> = all.into_iter().filter(|id| self.of(id).visible).collect();
            assert_eq!(state, seen, "{} is shown the state at {}", self.reader.id, last.id);
        }
    }

    /// A thread's newest reply, and whether there is an edit.
    fn check_bundle(&self, event: &Naive, bundle: &Value) {
        let children = || self.visible().filter(|e| !e.redacted && is_child(e, event));
        let newest = children().rfind(|e| how(e) == "m.thread").map(|e| e.id.as_str());
        assert_eq!(bundle["m.thread"]["latest_event"]["event_id"].as_str(), newest);
        let replies = children().filter(|e| how(e) == "m.thread").count() as u64;
        assert_eq!(bundle["m.thread"]["count"].as_u64().unwrap_or(0), replies);
        let can = event.state_key.is_none() && !event.redacted && how(event) != "m.replace";
        let edited = children()
            .any(|e| how(e) == "m.replace" && e.sender == event.sender && e.kind == event.kind);
        assert_eq!(bundle.get("m.replace").is_some(), can && edited, "{}", event.id);
        let references: BTreeSet<&str> =
            children().filter(|e| how(e) == "m.reference").map(|e| e.id.as_str()).collect();
        let told = bundle["m.reference"]["chunk"].as_array();
        let told = told.into_iter().flatten().map(|e| e["event_id"].as_str().unwrap());
        assert_eq!(told.collect::<BTreeSet<&str>>(), references);
    }

    fn check_relations(&self, parent: &Naive, probe: &Probe) {
        let rel_type = probe.to.and_then(|to| (to % 2 == 0).then_some("m.thread"));
        let recurse = probe.from.is_multiple_of(2);
        let id = OwnedEventId::try_from(parent.id.as_str()).unwrap();
        let mut read = Vec::new();
        let mut from = None;
        loop {
            let ask = relations::Ask {
                room_id: self.room_id,
                event_id: &id,
                rel_type,
                event_type: None,
                from,
                to: None,
                direction: probe.direction(),
                limit: probe.limit,
                recurse,
            };
            let body = relations::relations(self.view, &self.reader, &ask);
            if !parent.visible {
                assert!(is_missing(body), "children of {} are shown", parent.id);
                return;
            }
            let body: Value = serde_json::from_str(&body.unwrap()).unwrap();
            self.check_shown(&body);
            let chunk = ids(&body["chunk"]);
            assert!(chunk.len() <= probe.limit);
            read.extend(chunk);
            match body["next_batch"].as_str() {
                Some(next) => from = Some(Token::parse(next).unwrap()),
                None => break,
            }
        }
        let mut generation: BTreeSet<Event> = [parent.event].into();
        let mut wanted = BTreeMap::new();
        for _ in 0..if recurse { 3 } else { 1 } {
            let of = |e: &&Naive| e.relates.as_ref().is_some_and(|(of, _)| generation.contains(of));
            let children: Vec<&Naive> = self.events.iter().filter(of).collect();
            generation = children.iter().map(|e| e.event).collect();
            for e in children {
                if e.visible && !e.redacted && rel_type.is_none_or(|t| t == how(e)) {
                    wanted.insert(e.seq, e.id.clone());
                }
            }
        }
        let mut wanted: Vec<String> = wanted.into_values().collect();
        if probe.direction() == Direction::Backward {
            wanted.reverse();
        }
        assert_eq!(read, wanted, "children of {}", parent.id);
    }

    /// Roots that the user may see, the one with the newest reply first.
    fn check_threads(&self, limit: usize) -> Reply<()> {
        let Some(upto) = self.upto else {
            assert!(threads(self.view, &self.reader, self.room_id, false, None, 1).is_err());
            return Ok(());
        };
        let mut wanted: Vec<(Seq, &str)> = Vec::new();
        for root in self.visible() {
            let reply = |e: &&Naive| is_child(e, root) && how(e) == "m.thread" && !e.redacted;
            let newest = self.events.iter().rfind(reply);
            wanted.extend(newest.filter(|e| e.seq <= upto).map(|e| (e.seq, root.id.as_str())));
        }
        wanted.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        let mut read = Vec::new();
        let mut from = None;
        loop {
            let body = threads(self.view, &self.reader, self.room_id, false, from, limit)?;
            let body: Value = serde_json::from_str(&body).unwrap();
            self.check_shown(&body);
            read.extend(ids(&body["chunk"]));
            match body["next_batch"].as_str() {
                Some(next) => from = Some(Token::parse(next).unwrap()),
                None => break,
            }
        }
        let wanted: Vec<&str> = wanted.into_iter().map(|(_, id)| id).collect();
        assert_eq!(read, wanted, "threads");
        Ok(())
    }
}

fn how(e: &Naive) -> &str {
    e.relates.as_ref().map_or("", |(_, how)| how)
}

fn is_child(e: &Naive, parent: &Naive) -> bool {
    e.relates.as_ref().is_some_and(|(of, _)| *of == parent.event)
}

fn is_missing<T>(answer: Reply<T>) -> bool {
    matches!(answer, Err(Error::Refused(r)) if r.errcode == "M_NOT_FOUND")
}

fn ids(list: &Value) -> Vec<String> {
    let id = |e: &Value| e["event_id"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(id).collect()
}

/// The ids of all events in an answer, also those inside others. Not what users wrote themselves, nor the state, for
/// which another rule holds.
fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("event_id").and_then(Value::as_str).map(str::to_owned));
            for (key, inner) in object {
                if !["content", "prev_content", "state"].contains(&key.as_str()) {
                    collect(inner, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| collect(inner, found)),
        _ => {}
    }
}

/// One way to read.
#[derive(Clone, Debug)]
struct Probe {
    user: usize,
    room: usize,
    from: u64,
    to: Option<u64>,
    backward: bool,
    limit: usize,
}

impl Probe {
    fn direction(&self) -> Direction {
        if self.backward { Direction::Backward } else { Direction::Forward }
    }
}

fn probe() -> impl Strategy<Value = Probe> {
    let to = proptest::option::weighted(0.3, any::<u64>());
    (0..USERS, 0..ROOMS, any::<u64>(), to, any::<bool>(), 1..9usize).prop_map(
        |(user, room, from, to, backward, limit)| Probe { user, room, from, to, backward, limit },
    )
}

proptest! {
    #![proptest_config(cases("SYNC_ORACLE_CASES", 120))]

    #[test]
    fn no_way_of_reading_shows_too_much_or_too_little(
        ops in ops(op(), 110), probes in proptest::collection::vec(probe(), 12),
    ) {
        let mut world = World::new(USERS);
        for op in &ops {
            world.perform(op);
        }
        let read = |view: &View| {
            for (n, probe) in probes.iter().enumerate() {
                let looking = Looking::new(&world, view, probe.user, probe.room)?;
                looking.check_paging(probe);
                // The rest looks at every event: for a few users and rooms only.
                if n > 2 {
                    continue;
                }
                let (room, _) = world.rooms[probe.room];
                let gate = Gate::new(view, room, looking.reader.user, looking.reader.id)?;
                assert_eq!(gate.viewer(), looking.reader.user);
                for event in &looking.events {
                    looking.check_event(&gate, event, probe)?;
                    looking.check_relations(event, probe);
                }
                looking.check_threads(probe.limit)?;
            }
            Ok(())
        };
        world.store.read_here(read).unwrap();
    }
}
