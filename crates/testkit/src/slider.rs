//! A client of sliding sync as simple as can be: it asks in either shape, applies answers as the proposal tells clients
//! to, fills gaps through `/messages`, and may lose an answer and ask again.

use std::collections::{BTreeMap, BTreeSet};

use base::{Reply, Seq, UnixMs, User};
use ruma::OwnedUserId;
use serde_json::{Value, json};
use store::{Direction, Store};
use sync::{
    Token,
    filter::RoomEvents,
    messages::{Page, Reader, messages},
    sliding::{self, Connections, Turn, wire_unstable, wire_v4},
};

use crate::client::State;

/// How a client wants a room.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Events of a timeline.
    pub limit: u64,
    /// State: type and key, a star for any.
    pub state: Vec<(String, String)>,
    /// Members as the timeline needs them.
    pub lazy: bool,
}

/// One list.
#[derive(Clone, Debug)]
pub struct Window {
    /// First and last place.
    pub range: (u64, u64),
    /// What of its rooms.
    pub wanted: Wanted,
    /// Only direct chats, or none.
    pub is_dm: Option<bool>,
    /// Only invites, or none.
    pub is_invited: Option<bool>,
    /// Only encrypted rooms, or none.
    pub is_encrypted: Option<bool>,
    /// Only rooms with this tag.
    pub tag: Option<String>,
    /// No rooms with this tag.
    pub not_tag: Option<String>,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// In the accepted shape, not the older one.
    pub v4: bool,
    /// The lists.
    pub windows: Vec<Window>,
    /// Subscriptions: the number of a room, and what of it.
    pub rooms: Vec<(usize, Wanted)>,
}

/// What a client knows of a room.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Told as an invite or a knock: the stripped state.
    pub stripped: Option<Vec<Value>>,
    /// In the accepted shape.
    pub membership: Option<String>,
    /// State.
    pub state: State,
    /// The timeline as shown, without gaps.
    pub timeline: Vec<String>,
    /// Of the last answer's timeline: the events and who sent them.
    pub introduced: Vec<(String, String)>,
    /// The last answer told it whole.
    pub initial: bool,
    /// The last answer's timeline was cut.
    pub limited: bool,
    /// How many are joined and invited.
    pub members: (u64, u64),
    /// Unread notifications and highlights.
    pub unread: (u64, u64),
    /// A direct chat.
    pub dm: bool,
    /// Ids of those who stand for a room without a name.
    pub heroes: Vec<String>,
    /// Name as told; an empty one is gone.
    pub name: Option<String>,
    /// Account data by type.
    pub data: BTreeMap<String, Value>,
    /// Receipts: (user, type, thread) → the newest event told.
    pub receipts: BTreeMap<(String, String, String), String>,
    /// Who is typing.
    pub typing: BTreeSet<String>,
    /// Receipts that moved later than this are known.
    pub receipts_since: Seq,
}

/// A connection of one user.
pub struct Slider {
    user: User,
    id: OwnedUserId,
    conn_id: String,
    connections: Connections,
    /// As of the last answer that was processed.
    pub pos: Option<String>,
    /// The one before that.
    pub old_pos: Option<String>,
    /// Rooms it was told of.
    pub rooms: BTreeMap<String, Seen>,
    /// Those that the last answer told something of.
    pub told: BTreeSet<String>,
    /// How many rooms each list has.
    pub counts: BTreeMap<String, u64>,
    /// Global account data by type, but for push rules.
    pub data: BTreeMap<String, Value>,
    /// It has never asked for members otherwise than lazily.
    pub lazily: bool,
    /// For whoever holds it against the world: how the user stood to rooms when they were told, and since when rooms were
    /// in sight without a pause.
    pub stood: BTreeMap<String, String>,
    /// See there.
    pub in_sight: BTreeMap<String, Seq>,
    /// By room, what is wanted by the lists and subscriptions that hold it now; of others, all that is wanted counts.
    pub wanted: BTreeMap<String, Vec<Wanted>>,
}

impl Slider {
    /// A client that knows nothing yet.
    pub fn new(user: (User, OwnedUserId), conn_id: &str, connections: &Connections) -> Slider {
        Slider {
            user: user.0,
            id: user.1,
            conn_id: conn_id.to_owned(),
            connections: connections.clone(),
            pos: None,
            old_pos: None,
            rooms: BTreeMap::new(),
            told: BTreeSet::new(),
            counts: BTreeMap::new(),
            data: BTreeMap::new(),
            lazily: true,
            stood: BTreeMap::new(),
            in_sight: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Asks once; an answer and whether there is anything in it.
    pub fn ask(&self, store: &Store, wish: &Wish, ids: &[String]) -> Reply<(Value, bool)> {
        self.ask_from(store, wish, ids, self.pos.as_deref())
    }

    /// Asks from some position.
    pub fn ask_from(
        &self,
        store: &Store,
        wish: &Wish,
        ids: &[String],
        pos: Option<&str>,
    ) -> Reply<(Value, bool)> {
        let body = wish.body(ids, self.id.as_str());
        let ask = if wish.v4 {
            let body: wire_v4::Body = serde_json::from_value(body).unwrap();
            body.ask(self.user, self.id.clone(), "D".to_owned())?
        } else {
            let body: wire_unstable::Body = serde_json::from_value(body).unwrap();
            body.ask(self.user, self.id.clone(), "D".to_owned())?
        };
        let turn: Turn = self.connections.turn(self.user, "D", &self.conn_id, pos, UnixMs(1))?;
        let answer = store.read_here(|view| sliding::sync(view, &ask, &turn))?;
        Ok((serde_json::from_str(&answer.body).unwrap(), answer.empty))
    }

    /// Applies an answer.
    pub fn apply(&mut self, store: &Store, wish: &Wish, answer: &Value) {
        let pos = answer["pos"].as_str().unwrap().to_owned();
        let seq = Token::parse(&pos).unwrap().seq;
        self.old_pos = self.pos.replace(pos);
        self.counts = objects(&answer["lists"])
            .map(|(name, list)| (name.clone(), list["count"].as_u64().unwrap()))
            .collect();
        self.lazily &= wish.all().all(|wanted| wanted.lazy);
        self.told.clear();
        for (id, room) in objects(&answer["rooms"]) {
            self.told.insert(id.clone());
            let seen = self.rooms.remove(id).unwrap_or_default();
            let seen = self.room(store, wish, id, room, seen, seq);
            self.rooms.insert(id.clone(), seen);
        }
        let extensions = &answer["extensions"];
        for event in list(&extensions["account_data"]["global"]) {
            self.data.insert(text(event, "type"), event["content"].clone());
        }
        self.data.remove("m.push_rules");
        for (id, events) in objects(&extensions["account_data"]["rooms"]) {
            let seen = self.rooms.get_mut(id).unwrap();
            for event in list(events) {
                seen.data.insert(text(event, "type"), event["content"].clone());
            }
        }
        for (id, event) in objects(&extensions["receipts"]["rooms"]) {
            let seen = self.rooms.get_mut(id).unwrap();
            for (event_id, kinds) in objects(&event["content"]) {
                for (kind, users) in objects(kinds) {
                    for (user, data) in objects(users) {
                        let thread = data["thread_id"].as_str().unwrap_or_default().to_owned();
                        let key = (user.clone(), kind.clone(), thread);
                        seen.receipts.insert(key, event_id.clone());
                    }
                }
            }
        }
        for (id, event) in objects(&extensions["typing"]["rooms"]) {
            let users = list(&event["content"]["user_ids"]);
            self.rooms.get_mut(id).unwrap().typing =
                users.map(|u| u.as_str().unwrap().to_owned()).collect();
        }
    }

    fn room(
        &mut self,
        store: &Store,
        wish: &Wish,
        id: &str,
        room: &Value,
        mut seen: Seen,
        seq: Seq,
    ) -> Seen {
        let (timeline, stripped, expanded) = if wish.v4 {
            ("timeline_events", "stripped_state", "expanded_timeline")
        } else {
            ("timeline", "invite_state", "unstable_expanded_timeline")
        };
        let initial = room["initial"] == true;
        if initial {
            let Seen { data, receipts, typing, .. } = seen;
            seen = Seen { data, receipts, typing, ..Seen::default() };
        }
        seen.initial = initial;
        seen.limited = room["limited"] == true;
        seen.membership = room["membership"].as_str().map(str::to_owned).or(seen.membership);
        seen.stripped = room.get(stripped).map(|events| list(events).cloned().collect());
        let expanded = room[expanded] == true;
        if initial || seen.limited || expanded {
            seen.receipts_since = seq;
        }
        if seen.limited {
            // What was cached of members may be stale.
            let me = self.id.as_str();
            let named = |member: &str| match self.wanted.get(id) {
                Some(all) => all.iter().any(|one| one.wants("m.room.member", member, me)),
                None => wish.names_member(member, me),
            };
            seen.state.retain(|key, _| key.0 != "m.room.member" || named(&key.1));
        }
        for event in list(&room["required_state"]) {
            let key = (text(event, "type"), text(event, "state_key"));
            match event["event_id"].as_str() {
                Some(event_id) => drop(seen.state.insert(key, event_id.to_owned())),
                None => drop(seen.state.remove(&key)),
            }
        }
        let events: Vec<&Value> = list(&room[timeline]).collect();
        seen.introduced = events.iter().map(|e| (text(e, "event_id"), text(e, "sender"))).collect();
        let ids: Vec<String> = events.iter().map(|e| text(e, "event_id")).collect();
        self.add_timeline(store, id, room, &mut seen, ids, expanded);
        seen.facts(room);
        seen
    }

    fn add_timeline(
        &self,
        store: &Store,
        id: &str,
        room: &Value,
        seen: &mut Seen,
        ids: Vec<String>,
        expanded: bool,
    ) {
        if expanded {
            // The newest events, some of which were told before.
            let known = ids.first().and_then(|first| seen.timeline.iter().position(|e| e == first));
            match known {
                Some(at) => seen.timeline.truncate(at),
                None => seen.timeline.clear(),
            }
        } else if seen.limited && !seen.timeline.is_empty() {
            let prev = room["prev_batch"].as_str().unwrap();
            let gap = self.fill(store, id, prev, seen.timeline.last().unwrap());
            match gap {
                Some(gap) => seen.timeline.extend(gap),
                None => seen.timeline.clear(),
            }
        }
        seen.timeline.extend(ids);
    }

    /// Pages backward from a gap to the last event known; the events in between, oldest first. None: it is not there,
    /// because it was hidden since.
    fn fill(&self, store: &Store, room: &str, from: &str, last: &str) -> Option<Vec<String>> {
        let room_id = ruma::OwnedRoomId::try_from(room).unwrap();
        let reader = Reader { user: self.user, id: &self.id, device: "D" };
        let filter = RoomEvents::compile(&serde_json::from_value(json!({})).unwrap());
        let mut gap = Vec::new();
        let mut from = Token::parse(from).unwrap();
        loop {
            let page = Page {
                room_id: &room_id,
                from: Some(from),
                to: None,
                direction: Direction::Backward,
                limit: 3,
                filter: &filter,
            };
            let body = store.read_here(|view| messages(view, &reader, &page)).unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            for event in list(&body["chunk"]) {
                let id = text(event, "event_id");
                if id == last {
                    gap.reverse();
                    return Some(gap);
                }
                gap.push(id);
            }
            from = Token::parse(body["end"].as_str()?).unwrap();
        }
    }

    /// Begins anew, as after `M_UNKNOWN_POS`.
    pub fn reset(&mut self) {
        let (user, id, conn) = (self.user, self.id.clone(), self.conn_id.clone());
        *self = Slider::new((user, id), &conn, &self.connections.clone());
    }
}

impl Seen {
    /// What it is shown as.
    fn facts(&mut self, room: &Value) {
        let set = |key: &str, to: &mut u64| {
            if let Some(n) = room[key].as_u64() {
                *to = n;
            }
        };
        set("joined_count", &mut self.members.0);
        set("invited_count", &mut self.members.1);
        set("notification_count", &mut self.unread.0);
        set("highlight_count", &mut self.unread.1);
        self.dm = room["is_dm"].as_bool().unwrap_or(self.dm);
        if let Some(heroes) = room["heroes"].as_array() {
            self.heroes = heroes.iter().map(|hero| text(hero, "user_id")).collect();
        }
        if let Some(name) = room.get("name") {
            self.name = name.as_str().map(str::to_owned);
        }
    }
}

impl Wish {
    fn body(&self, ids: &[String], me: &str) -> Value {
        let on = json!({"enabled": true});
        let mut lists = serde_json::Map::new();
        for (n, window) in self.windows.iter().enumerate() {
            let mut list = self.wanted(&window.wanted, me);
            let key = if self.v4 { "range" } else { "ranges" };
            let (from, to) = window.range;
            list[key] = if self.v4 { json!([from, to]) } else { json!([[from, to]]) };
            let invited = if self.v4 { "is_invited" } else { "is_invite" };
            let mut filters = json!({});
            if let Some(is) = window.is_dm {
                filters["is_dm"] = is.into();
            }
            if let Some(is) = window.is_invited {
                filters[invited] = is.into();
            }
            if let Some(is) = window.is_encrypted {
                filters["is_encrypted"] = is.into();
            }
            if let Some(tag) = &window.tag {
                filters["tags"] = json!([tag]);
            }
            if let Some(tag) = &window.not_tag {
                filters["not_tags"] = json!([tag]);
            }
            list["filters"] = filters;
            lists.insert(format!("list{n}"), list);
        }
        let rooms = self.rooms.iter().map(|(n, wanted)| (ids[*n].clone(), self.wanted(wanted, me)));
        json!({
            "lists": lists,
            "room_subscriptions": rooms.collect::<serde_json::Map<_, _>>(),
            "extensions": {"account_data": on, "receipts": on, "typing": on, "x.unknown": on},
        })
    }

    fn wanted(&self, wanted: &Wanted, me: &str) -> Value {
        let state = if self.v4 {
            let element = |(kind, key): &(String, String)| {
                let mut element = json!({});
                if kind != "*" {
                    element["type"] = kind.clone().into();
                }
                if key != "*" {
                    element["state_key"] = if key == "$ME" { me } else { key.as_str() }.into();
                }
                element
            };
            let include: Vec<Value> = wanted.state.iter().map(element).collect();
            json!({"include": include, "lazy_members": wanted.lazy})
        } else {
            let lazy = ("m.room.member".to_owned(), "$LAZY".to_owned());
            json!(wanted.state.iter().chain(wanted.lazy.then_some(&lazy)).collect::<Vec<_>>())
        };
        json!({"timeline_limit": wanted.limit, "required_state": state})
    }

    /// Is this member's event wanted, whatever the timeline? (Of whoever asks, in the older shape: `$ME`.)
    fn names_member(&self, member: &str, me: &str) -> bool {
        self.all().any(|wanted| wanted.wants("m.room.member", member, me))
    }

    fn all(&self) -> impl Iterator<Item = &Wanted> {
        self.windows.iter().map(|w| &w.wanted).chain(self.rooms.iter().map(|r| &r.1))
    }
}

impl Wanted {
    /// Is this state wanted, whatever the timeline?
    pub fn wants(&self, kind: &str, key: &str, me: &str) -> bool {
        self.state.iter().any(|(k, s)| {
            let everything = k == "*" && s == "*";
            let hidden = everything && self.lazy && kind == "m.room.member";
            let key_matches = s == "*" || s == key || (s == "$ME" && key == me);
            !hidden && (k == "*" || k == kind) && key_matches
        })
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
