//! A client as simple as can be: it applies `/sync` answers as the spec tells clients to, and fills gaps through
//! `/messages`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::User;
use ruma::{OwnedUserId, api::client::filter::RoomEventFilter};
use serde_json::{Value, json};
use store::{Direction, Store};
use sync::{
    Token,
    filter::RoomEvents,
    messages::{Page, Reader, messages},
    v3::{Ask, Compiled, LOG_SCAN_MAX, StateAfter, sync},
};

/// What a client knows of a room.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// State: (type, state key) → event id.
    pub state: BTreeMap<(String, String), String>,
    /// The timeline as shown, without gaps, since the client got to know the room.
    pub timeline: Vec<String>,
    /// Notifications and highlights of the main timeline, or of everything.
    pub unread: (u64, u64),
    /// By thread.
    pub threads: BTreeMap<String, (u64, u64)>,
    /// Receipts shown: (user, type) → the newest event told.
    pub receipts: BTreeMap<(String, String, String), String>,
}

/// A client of one user.
pub struct Client {
    user: User,
    id: OwnedUserId,
    since: Option<Token>,
    filter: Arc<Compiled>,
    state_after: StateAfter,
    log_scan_max: usize,
    /// Joined rooms.
    pub rooms: BTreeMap<String, Known>,
    /// Rooms to which the user is invited.
    pub invites: BTreeSet<String>,
}

impl Client {
    /// A client that wants timelines of `limit` events, counts threads apart or not, and state after the timeline or
    /// before. `patient`: the server reads the log for it, however much has happened.
    pub fn new(user: (User, OwnedUserId), limit: u8, threads: bool, after: bool, patient: bool) -> Client {
        let filter = json!({"room": {"timeline": {
            "limit": limit, "unread_thread_notifications": threads,
        }}});
        let filter = serde_json::from_value(filter).unwrap();
        Client {
            user: user.0,
            id: user.1,
            since: None,
            filter: Arc::new(Compiled::new(&filter)),
            state_after: if after { StateAfter::Stable } else { StateAfter::No },
            log_scan_max: if patient { LOG_SCAN_MAX } else { 2 },
            rooms: BTreeMap::new(),
            invites: BTreeSet::new(),
        }
    }

    /// Syncs once; says whether the server had anything to tell.
    pub fn sync(&mut self, store: &Store) -> bool {
        let ask = Ask {
            user: self.user,
            user_id: self.id.clone(),
            device: "D".to_owned(),
            since: self.since,
            full_state: false,
            state_after: self.state_after,
            filter: self.filter.clone(),
            log_scan_max: self.log_scan_max,
        };
        let answer = store.read_here(|view| sync(view, &ask)).unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        self.since = Some(Token::parse(body["next_batch"].as_str().unwrap()).unwrap());
        let rooms = &body["rooms"];
        for (id, room) in objects(&rooms["invite"]) {
            assert!(room["invite_state"]["events"].is_array());
            self.invites.insert(id.clone());
        }
        for (id, _) in objects(&rooms["leave"]) {
            self.rooms.remove(id);
            self.invites.remove(id);
        }
        for (id, room) in objects(&rooms["join"]) {
            self.invites.remove(id);
            self.joined(store, id, room);
        }
        !answer.empty
    }

    fn joined(&mut self, store: &Store, id: &str, room: &Value) {
        let after = self.state_after == StateAfter::Stable;
        let mut known = self.rooms.remove(id).unwrap_or_default();
        let state_key = if after { "state_after" } else { "state" };
        for event in list(&room[state_key]["events"]) {
            apply(&mut known.state, event);
        }
        let timeline = &room["timeline"];
        let events: Vec<&Value> = list(&timeline["events"]).collect();
        if timeline["limited"] == true && !known.timeline.is_empty() {
            let prev = timeline["prev_batch"].as_str().unwrap();
            let gap = self.fill(store, id, prev, known.timeline.last().unwrap());
            known.timeline.extend(gap);
        }
        for event in events {
            known.timeline.push(event["event_id"].as_str().unwrap().to_owned());
            if !after && event.get("state_key").is_some() {
                apply(&mut known.state, event);
            }
        }
        let count = |value: &Value| {
            let number = |key: &str| value[key].as_u64().unwrap();
            (number("notification_count"), number("highlight_count"))
        };
        known.unread = count(&room["unread_notifications"]);
        known.threads = objects(&room["unread_thread_notifications"])
            .map(|(root, value)| (root.clone(), count(value)))
            .collect();
        for event in list(&room["ephemeral"]["events"]).filter(|e| e["type"] == "m.receipt") {
            for (event_id, kinds) in objects(&event["content"]) {
                for (kind, users) in objects(kinds) {
                    for (user, data) in objects(users) {
                        let thread = data["thread_id"].as_str().unwrap_or_default().to_owned();
                        let key = (user.clone(), kind.clone(), thread);
                        known.receipts.insert(key, event_id.clone());
                    }
                }
            }
        }
        self.rooms.insert(id.to_owned(), known);
    }

    /// Pages backward from a gap to the last event known; the events in between, oldest first.
    fn fill(&self, store: &Store, room: &str, from: &str, last: &str) -> Vec<String> {
        let room = ruma::OwnedRoomId::try_from(room).unwrap();
        let filter = RoomEvents::compile(&RoomEventFilter::default());
        let reader = Reader { user: self.user, id: &self.id, device: "D" };
        let mut gap = Vec::new();
        let mut from = Token::parse(from).unwrap();
        loop {
            let page = Page {
                room_id: &room,
                from: Some(from),
                to: None,
                direction: Direction::Backward,
                limit: 3,
                filter: &filter,
            };
            let body = store.read_here(|view| messages(view, &reader, &page)).unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            for event in list(&body["chunk"]) {
                let id = event["event_id"].as_str().unwrap();
                if id == last {
                    gap.reverse();
                    return gap;
                }
                gap.push(id.to_owned());
            }
            match body["end"].as_str() {
                Some(end) => from = Token::parse(end).unwrap(),
                None => panic!("the gap does not end at what the client knows"),
            }
        }
    }
}

fn apply(state: &mut BTreeMap<(String, String), String>, event: &Value) {
    let text = |key: &str| event[key].as_str().unwrap().to_owned();
    state.insert((text("type"), text("state_key")), text("event_id"));
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn objects(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
