//! A client as simple as can be: it applies `/sync` answers as the spec tells clients to, and fills gaps through
//! `/messages`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{Seq, User};
use ruma::OwnedUserId;
use serde_json::{Value, json};
use store::{Direction, Store, inbox};
use sync::{
    Token,
    filter::RoomEvents,
    messages::{Page, Reader, messages},
    v3::{Answer, Ask, Compiled, LOG_SCAN_MAX, StateAfter, sync},
};

/// The device that everybody has.
pub(crate) const DEVICE: &str = "D";

/// State as a client has it: (type, state key) → event id.
pub type State = BTreeMap<(String, String), String>;

/// What a client knows of a room.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// State.
    pub state: State,
    /// The timeline as shown, without gaps, since the client got to know the room.
    pub timeline: Vec<String>,
    /// Of the last answer's timeline: each event, and its sender's member event as known when it was shown.
    pub introduced: Vec<(String, Option<String>)>,
    /// Notifications and highlights of the main timeline, or of everything.
    pub unread: (u64, u64),
    /// By thread.
    pub threads: BTreeMap<String, (u64, u64)>,
    /// Receipts shown: (user, type) → the newest event told.
    pub receipts: BTreeMap<(String, String, String), String>,
    /// Account data by type.
    pub data: BTreeMap<String, Value>,
}

/// What an answer said of a room that the user is no longer in.
#[derive(Clone, Debug)]
pub struct Left {
    /// The room as the client knew it, and with what it was told; none if it did not know it.
    pub known: Option<Known>,
    /// The timeline told, and the gap before it.
    pub timeline: Vec<String>,
    /// The state told.
    pub state: Vec<String>,
    /// Up to where the client had been told before.
    pub since: Option<Seq>,
}

/// A page of history with which a gap was filled.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Event and sender, newest first.
    pub chunk: Vec<(String, String)>,
    /// Member events that came with it, by user.
    pub members: BTreeMap<String, String>,
    /// Member events that came with the pages that this one follows.
    pub before: BTreeSet<String>,
}

/// How a client wants things.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    /// Events of a timeline.
    pub limit: u8,
    /// Count threads apart.
    pub threads: bool,
    /// State after the timeline, not before.
    pub after: bool,
    /// The server reads the log for it, however much has happened.
    pub patient: bool,
    /// Member events only of those who speak.
    pub lazy: bool,
    /// Rooms left long ago, too.
    pub archive: bool,
}

/// A client of one user.
pub struct Client {
    user: User,
    id: OwnedUserId,
    /// Which of the user's devices it is.
    pub device: String,
    since: Option<Token>,
    filter: Arc<Compiled>,
    page: RoomEvents,
    /// As it was made.
    pub taste: Taste,
    /// Joined rooms.
    pub rooms: BTreeMap<String, Known>,
    /// Rooms to which the user is invited, and the stripped state.
    pub invites: BTreeMap<String, Vec<Value>>,
    /// Rooms that the last answer says were left.
    pub left: BTreeMap<String, Left>,
    /// Pages read after the last answer, by room.
    pub filled: Vec<(String, Filled)>,
    /// Member events that came with pages before those.
    pub paged: BTreeSet<String>,
    /// Global account data by type, but for push rules.
    pub data: BTreeMap<String, Value>,
    /// What was sent to the device, in the order in which it was told.
    pub whispers: Vec<u64>,
}

impl Client {
    /// A client that knows nothing yet.
    pub fn new(user: (User, OwnedUserId), taste: Taste) -> Client {
        let lazy = taste.lazy;
        let filter = json!({"room": {
            "timeline": {"limit": taste.limit, "unread_thread_notifications": taste.threads},
            "state": {"lazy_load_members": lazy},
            "include_leave": taste.archive,
        }});
        let filter = serde_json::from_value(filter).unwrap();
        let page = serde_json::from_value(json!({"lazy_load_members": lazy})).unwrap();
        Client {
            user: user.0,
            id: user.1,
            device: DEVICE.to_owned(),
            since: None,
            filter: Arc::new(Compiled::new(&filter)),
            page: RoomEvents::compile(&page),
            taste,
            rooms: BTreeMap::new(),
            invites: BTreeMap::new(),
            left: BTreeMap::new(),
            filled: Vec::new(),
            paged: BTreeSet::new(),
            data: BTreeMap::new(),
            whispers: Vec::new(),
        }
    }

    /// Syncs, and never gets the answer.
    pub fn lose(&self, store: &Store) {
        self.answer(store);
    }

    /// What the server does: takes note of what the client has, and answers.
    fn answer(&self, store: &Store) -> Answer {
        if let Some(token) = self.since {
            let (user, device, upto) = (self.user, self.device.clone(), token.inbox());
            let had = store.read_here(|view| inbox::acknowledged(view, user, &device, upto));
            let had = had.unwrap();
            store.write_here(move |tx| inbox::forget(tx, user, &device, &had)).unwrap();
        }
        let ask = Ask {
            user: self.user,
            user_id: self.id.clone(),
            device: self.device.clone(),
            since: self.since,
            full_state: false,
            state_after: if self.taste.after { StateAfter::Stable } else { StateAfter::No },
            filter: self.filter.clone(),
            log_scan_max: if self.taste.patient { LOG_SCAN_MAX } else { 2 },
        };
        store.read_here(|view| sync(view, &ask)).unwrap()
    }

    /// Syncs once; says whether the server had anything to tell.
    pub fn sync(&mut self, store: &Store) -> bool {
        let answer = self.answer(store);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let since = self.since.map(|token| token.seq);
        self.since = Some(Token::parse(body["next_batch"].as_str().unwrap()).unwrap());
        let read = self.filled.drain(..).flat_map(|(_, page)| page.members.into_values());
        self.paged.extend(read);
        self.left.clear();
        keep(&mut self.data, &body["account_data"]);
        let told = list(&body["to_device"]["events"]);
        self.whispers.extend(told.filter_map(|event| event["content"]["n"].as_u64()));
        self.data.remove("m.push_rules");
        let rooms = &body["rooms"];
        for (id, room) in objects(&rooms["invite"]) {
            let stripped = list(&room["invite_state"]["events"]).cloned().collect();
            // Put out and invited again since the last answer: a room is in one section only.
            self.rooms.remove(id);
            self.invites.insert(id.clone(), stripped);
        }
        for (id, room) in objects(&rooms["leave"]) {
            self.invites.remove(id);
            self.leave(store, id, room, since);
        }
        for (id, room) in objects(&rooms["join"]) {
            self.invites.remove(id);
            self.joined(store, id, room);
        }
        !answer.empty
    }

    fn joined(&mut self, store: &Store, id: &str, room: &Value) {
        let known = self.rooms.remove(id).unwrap_or_default();
        let mut known = self.timeline(store, id, room, known);
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
        keep(&mut known.data, &room["account_data"]);
        self.rooms.insert(id.to_owned(), known);
    }

    /// State and timeline of an answer.
    fn timeline(&mut self, store: &Store, id: &str, room: &Value, mut known: Known) -> Known {
        let after = self.taste.after;
        let state_key = if after { "state_after" } else { "state" };
        for event in list(&room[state_key]["events"]) {
            apply(&mut known.state, event);
        }
        let timeline = &room["timeline"];
        if timeline["limited"] == true && !known.timeline.is_empty() {
            let prev = timeline["prev_batch"].as_str().unwrap();
            let gap = self.fill(store, id, prev, known.timeline.last().unwrap());
            known.timeline.extend(gap);
        }
        known.introduced.clear();
        for event in list(&timeline["events"]) {
            let member = ("m.room.member".to_owned(), text(event, "sender"));
            let member = known.state.get(&member).cloned();
            known.introduced.push((text(event, "event_id"), member));
            known.timeline.push(text(event, "event_id"));
            if !after && event.get("state_key").is_some() {
                apply(&mut known.state, event);
            }
        }
        known
    }

    fn leave(&mut self, store: &Store, id: &str, room: &Value, since: Option<Seq>) {
        let known = self.rooms.remove(id);
        let state_key = if self.taste.after { "state_after" } else { "state" };
        let state = list(&room[state_key]["events"]).map(|e| text(e, "event_id")).collect();
        let told = list(&room["timeline"]["events"]).map(|e| text(e, "event_id")).collect();
        let had = known.as_ref().map(|k| k.timeline.len());
        let known = known.map(|known| self.timeline(store, id, room, known));
        let timeline = match (&known, had) {
            (Some(known), Some(had)) => known.timeline[had..].to_vec(),
            _ => told,
        };
        self.left.insert(id.to_owned(), Left { known, timeline, state, since });
    }

    /// Pages backward from a gap to the last event known; the events in between, oldest first.
    fn fill(&mut self, store: &Store, room: &str, from: &str, last: &str) -> Vec<String> {
        let room_id = ruma::OwnedRoomId::try_from(room).unwrap();
        let reader = Reader { user: self.user, id: &self.id, device: &self.device };
        let mut gap = Vec::new();
        let mut before = BTreeSet::new();
        let mut from = Token::parse(from).unwrap();
        loop {
            let page = Page {
                room_id: &room_id,
                from: Some(from),
                to: None,
                direction: Direction::Backward,
                limit: 3,
                filter: &self.page,
            };
            let body = store.read_here(|view| messages(view, &reader, &page)).unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            let chunk: Vec<_> =
                list(&body["chunk"]).map(|e| (text(e, "event_id"), text(e, "sender"))).collect();
            let members = list(&body["state"]).map(|e| (text(e, "state_key"), text(e, "event_id")));
            let members: BTreeMap<String, String> = members.collect();
            let told: Vec<String> = members.values().cloned().collect();
            let page = Filled { chunk: chunk.clone(), members, before: before.clone() };
            self.filled.push((room.to_owned(), page));
            before.extend(told);
            for (id, _) in chunk {
                if id == last {
                    gap.reverse();
                    return gap;
                }
                gap.push(id);
            }
            match body["end"].as_str() {
                Some(end) => from = Token::parse(end).unwrap(),
                None => panic!("the gap does not end at what the client knows"),
            }
        }
    }
}

fn apply(state: &mut State, event: &Value) {
    state.insert((text(event, "type"), text(event, "state_key")), text(event, "event_id"));
}

/// Account data of an answer.
fn keep(data: &mut BTreeMap<String, Value>, section: &Value) {
    for event in list(&section["events"]) {
        data.insert(text(event, "type"), event["content"].clone());
    }
}

fn text(event: &Value, key: &str) -> String {
    event[key].as_str().unwrap().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn objects(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
