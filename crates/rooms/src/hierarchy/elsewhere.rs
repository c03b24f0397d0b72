//! Rooms of a hierarchy that this server is not in, as other servers tell of them (spec: Server-Server API,
//! `GET /hierarchy/{roomId}`). What they tell is their word: it is shown within one answer, and goes nowhere else.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::child::{self, Child, Said};
use crate::summary;

/// Rooms of one answer that are read.
const ROOMS_MAX: usize = 1_000;

/// What a server says of a room and of those below it.
pub struct Answer {
    room: Arc<Map<String, Value>>,
    children: Vec<Child>,
    below: Vec<(OwnedRoomId, Arc<Map<String, Value>>)>,
    closed: Vec<OwnedRoomId>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    room: &'a RawValue,
    #[serde(default)]
    children: Vec<Value>,
    #[serde(default)]
    inaccessible_children: Vec<String>,
}

#[derive(Deserialize)]
struct Below<'a> {
    #[serde(borrow, default)]
    children_state: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    state_key: Cow<'a, str>,
    #[serde(borrow)]
    sender: Cow<'a, str>,
    #[serde(default)]
    origin_server_ts: u64,
    #[serde(borrow)]
    content: &'a RawValue,
}

impl Answer {
    /// Reads the body of an answer about a room; `None` if it is none. What is odd in it is left out.
    #[must_use]
    pub fn read(id: &RoomId, body: &[u8]) -> Option<Answer> {
        let body: Body<'_> = serde_json::from_slice(body).ok()?;
        let room = serde_json::from_str(body.room.get()).ok()?;
        let (_, room) = summary::elsewhere::read(room).filter(|(of, _)| of == id)?;
        let state = serde_json::from_str::<Below<'_>>(body.room.get()).ok()?.children_state;
        let children = match room.get("room_type").and_then(Value::as_str) {
            Some("m.space") => state.into_iter().take(ROOMS_MAX).filter_map(child_of).collect(),
            _ => Vec::new(),
        };
        let below = body.children.into_iter().take(ROOMS_MAX);
        let below = below.filter_map(summary::elsewhere::read);
        let closed = body.inaccessible_children.into_iter().take(ROOMS_MAX);
        Some(Answer {
            room: Arc::new(room),
            children: child::in_order(children),
            below: below.map(|(id, summary)| (id, Arc::new(summary))).collect(),
            closed: closed.filter_map(|id| OwnedRoomId::try_from(id).ok()).collect(),
        })
    }

    /// The room itself, as the spec's `RoomSummary`.
    #[must_use]
    pub fn summary(&self) -> &Map<String, Value> {
        &self.room
    }
}

fn child_of(raw: &RawValue) -> Option<(child::Rank, Child)> {
    let event: Event<'_> = serde_json::from_str(raw.get()).ok()?;
    let said = Said {
        state_key: &event.state_key,
        content: event.content.get(),
        sender: &event.sender,
        sent_at: event.origin_server_ts,
    };
    (event.kind == "m.space.child").then(|| child::read(&said)).flatten()
}

/// What is known of one room.
#[derive(Default)]
struct Word {
    /// Nobody has to be asked any more.
    asked: bool,
    summary: Option<Arc<Map<String, Value>>>,
    whole: Option<Arc<Answer>>,
}

/// What other servers said, room by room.
#[derive(Default)]
pub struct Told(HashMap<OwnedRoomId, Word>);

/// A room, as far as others told of it.
pub(super) enum Look<'a> {
    /// Somebody should be asked.
    Unknown,
    /// There is nothing to be known.
    Nothing,
    Shown(&'a Map<String, Value>, &'a [Child]),
}

impl Told {
    /// Takes what came of asking about a room.
    pub fn add(&mut self, id: OwnedRoomId, answer: Option<Arc<Answer>>) {
        if let Some(answer) = &answer {
            for (id, summary) in &answer.below {
                // Who was asked about a room itself knows better.
                let word = self.0.entry(id.clone()).or_default();
                if !word.asked {
                    word.summary = Some(summary.clone());
                }
            }
            for id in &answer.closed {
                self.0.entry(id.clone()).or_insert_with(|| Word { asked: true, ..Word::default() });
            }
        }
        let word = self.0.entry(id).or_default();
        word.asked = true;
        if let Some(answer) = answer {
            word.summary = Some(answer.room.clone());
            word.whole = Some(answer);
        }
    }

    pub(super) fn look(&self, id: &RoomId) -> Look<'_> {
        let Some(word) = self.0.get(id) else { return Look::Unknown };
        let Some(summary) = &word.summary else {
            return if word.asked { Look::Nothing } else { Look::Unknown };
        };
        let is_space = summary.get("room_type").and_then(Value::as_str) == Some("m.space");
        if is_space && !word.asked {
            return Look::Unknown;
        }
        Look::Shown(summary, word.whole.as_ref().map_or(&[], |answer| &answer.children))
    }
}

#[cfg(test)]
mod tests {
    use ruma::room_id;
    use serde_json::json;

    use super::*;

    fn answer() -> Answer {
        let child = |key: &str, via: Value| {
            json!({"type": "m.space.child", "state_key": key,
            "sender": "@a:b", "origin_server_ts": 1, "content": {"via": via}})
        };
        let summary = |id: &str, kind: Value| {
            json!({"room_id": id, "num_joined_members": 2,
            "guest_can_join": false, "world_readable": false, "room_type": kind, "name": 7})
        };
        let mut room = summary("!s:b", json!("m.space"));
        room["children_state"] =
            json!([child("!x:b", json!(["b"])), child("!gone:b", json!([])), 3]);
        let below = json!([summary("!x:b", Value::Null), summary("!t:b", json!("m.space")), 1]);
        let body =
            json!({"room": room, "children": below, "inaccessible_children": ["!no:b", "x"]});
        Answer::read(room_id!("!s:b"), body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_is_odd_in_an_answer_is_left_out_and_one_about_another_room_is_none() {
        let answer = answer();
        assert_eq!(answer.children.len(), 1);
        assert_eq!(answer.children[0].via, ["b"]);
        assert!(answer.summary().get("name").is_none());
        assert_eq!((answer.below.len(), answer.closed.len()), (2, 1));
        let body = json!({"room": {"room_id": "!other:b"}}).to_string();
        assert!(Answer::read(room_id!("!s:b"), body.as_bytes()).is_none());
        assert!(Answer::read(room_id!("!s:b"), b"{}").is_none());
    }

    #[test]
    fn what_was_told_of_a_room_need_not_be_asked_again() {
        let mut told = Told::default();
        let answer = Arc::new(answer());
        assert!(matches!(told.look(room_id!("!s:b")), Look::Unknown));
        told.add(OwnedRoomId::try_from("!s:b").unwrap(), Some(answer));
        assert!(matches!(told.look(room_id!("!s:b")), Look::Shown(_, [_])));
        assert!(matches!(told.look(room_id!("!x:b")), Look::Shown(_, [])));
        assert!(matches!(told.look(room_id!("!no:b")), Look::Nothing));
        // Of a space below, its children are to be asked for; if nobody tells, it has none.
        let space = room_id!("!t:b");
        assert!(matches!(told.look(space), Look::Unknown));
        told.add(space.to_owned(), None);
        assert!(matches!(told.look(space), Look::Shown(_, [])));
        told.add(OwnedRoomId::try_from("!q:b").unwrap(), None);
        assert!(matches!(told.look(room_id!("!q:b")), Look::Nothing));
    }
}
