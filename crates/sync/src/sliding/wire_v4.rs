//! The shape that was accepted (MSC4186): `POST /v4/sync`, everything in the body.

use std::collections::BTreeMap;

use base::{Reply, User};
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ask::{Ask, Config, List, Shape},
    filter::Filter,
    required::{Element, Part, Required},
    room::Part as Room,
    wire,
};
use crate::json::Out;

/// The body. What we do not know is passed over.
#[derive(Deserialize)]
pub struct Body {
    /// Which of the client's connections this is.
    #[serde(default)]
    pub conn_id: Option<String>,
    /// Where the client stands.
    #[serde(default)]
    pub pos: Option<String>,
    /// How long to wait, in milliseconds.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// Whether the user is online by asking.
    #[serde(default)]
    pub set_presence: Option<String>,
    #[serde(default)]
    lists: BTreeMap<String, AskedList>,
    #[serde(default)]
    room_subscriptions: BTreeMap<String, AskedRoom>,
    #[serde(default)]
    extensions: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct AskedRoom {
    timeline_limit: u64,
    required_state: AskedState,
}

#[derive(Deserialize)]
struct AskedList {
    timeline_limit: u64,
    required_state: AskedState,
    #[serde(default)]
    range: Option<(u64, u64)>,
    #[serde(default)]
    filters: Option<Filters>,
}

#[derive(Clone, Deserialize)]
struct AskedState {
    #[serde(default)]
    include: Vec<AskedElement>,
    #[serde(default)]
    exclude: Vec<AskedElement>,
    #[serde(default)]
    lazy_members: bool,
}

#[derive(Clone, Deserialize)]
struct AskedElement {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    state_key: Option<String>,
}

#[derive(Default, Deserialize)]
struct Filters {
    is_dm: Option<bool>,
    spaces: Option<Vec<String>>,
    is_encrypted: Option<bool>,
    is_invited: Option<bool>,
    room_types: Option<Vec<Option<String>>>,
    not_room_types: Option<Vec<Option<String>>>,
    tags: Option<Vec<String>>,
    not_tags: Option<Vec<String>>,
}

impl Body {
    /// What the caller asks.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for what is out of bounds; 400 `M_BAD_JSON` for a malformed extension.
    pub fn ask(self, user: User, user_id: OwnedUserId, device: String) -> Reply<Ask> {
        let lists = self.lists.into_iter().map(|(name, list)| List {
            name,
            ranges: list.range.map(|range| vec![range]),
            config: Config::new(list.timeline_limit, required(list.required_state)),
            filter: filter(list.filters.unwrap_or_default()),
        });
        let subscriptions = self.room_subscriptions.into_iter().map(|(id, room)| {
            (id, Config::new(room.timeline_limit, required(room.required_state)))
        });
        let ask = Ask {
            user,
            user_id,
            device,
            lists: lists.collect(),
            subscriptions: subscriptions.collect(),
            extensions: wire::extensions(&self.extensions)?,
            shape: Shape::V4,
            txn_id: None,
        };
        ask.checked()
    }
}

fn required(asked: AskedState) -> Required {
    let elements = |all: Vec<AskedElement>| {
        all.into_iter().map(|e| Element { kind: e.kind, key: e.state_key }).collect()
    };
    Required::new(Part {
        include: elements(asked.include),
        exclude: elements(asked.exclude),
        lazy: asked.lazy_members,
    })
}

fn filter(asked: Filters) -> Filter {
    Filter {
        is_dm: asked.is_dm,
        spaces: asked.spaces,
        is_encrypted: asked.is_encrypted,
        is_invited: asked.is_invited,
        room_types: asked.room_types,
        not_room_types: asked.not_room_types.unwrap_or_default(),
        tags: asked.tags,
        not_tags: asked.not_tags.unwrap_or_default(),
    }
}

pub(super) fn write(
    pos: &str,
    counts: &BTreeMap<String, u64>,
    rooms: &[Room],
    extensions: &str,
) -> String {
    let mut out = wire::begin(pos, counts);
    out.key("rooms").open();
    for part in rooms {
        out.key(&part.id).open();
        room(&mut out, part);
        out.close();
    }
    out.close().key("extensions").raw(extensions).close();
    out.finish()
}

fn room(out: &mut Out, part: &Room) {
    wire::common(out, part);
    out.key("membership").text(part.membership);
    if !part.lists.is_empty() {
        out.key("lists").open_array();
        for list in &part.lists {
            out.text(list);
        }
        out.close_array();
    }
    if part.expanded {
        out.key("expanded_timeline").flag(true);
    }
    wire::field(out, "name", &part.name);
    wire::field(out, "avatar", &part.avatar);
    wire::array(out, "timeline_events", part.timeline.as_ref());
    if part.state.is_some() || !part.stubs.is_empty() {
        out.key("required_state").open_array();
        let state = part.state.as_deref().and_then(|s| s.strip_prefix('[')?.strip_suffix(']'));
        if let Some(events) = state.filter(|events| !events.is_empty()) {
            out.raw(events);
        }
        for (kind, key) in &part.stubs {
            out.open().key("type").text(kind).key("state_key").text(key).close();
        }
        out.close_array();
    }
    wire::array(out, "stripped_state", part.stripped.as_ref());
}
