//! The shape that today's clients speak: `POST /unstable/org.matrix.simplified_msc3575/sync`, with `pos` and `timeout`
//! in the query, `ranges`, and `required_state` as pairs with `*`, `$LAZY` and `$ME`.

use std::collections::BTreeMap;

use base::{Reply, User};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ask::{Ask, Config, List, Shape},
    filter::Filter,
    required::{Element, Part, Required},
    room::Part as Room,
    wire,
};

/// The body. What we do not know is passed over.
#[derive(Deserialize)]
pub struct Body {
    /// Which of the client's connections this is.
    #[serde(default)]
    pub conn_id: Option<String>,
    #[serde(default)]
    txn_id: Option<String>,
    #[serde(default)]
    lists: BTreeMap<String, AskedList>,
    #[serde(default)]
    room_subscriptions: BTreeMap<String, AskedRoom>,
    #[serde(default)]
    extensions: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct AskedRoom {
    #[serde(default)]
    timeline_limit: u64,
    #[serde(default)]
    required_state: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct AskedList {
    #[serde(default)]
    ranges: Option<Vec<(u64, u64)>>,
    #[serde(flatten)]
    room: AskedRoom,
    #[serde(default)]
    filters: Option<Filters>,
}

#[derive(Default, Deserialize)]
struct Filters {
    is_dm: Option<bool>,
    spaces: Option<Vec<String>>,
    is_encrypted: Option<bool>,
    is_invite: Option<bool>,
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
        let config = |room: &AskedRoom| {
            Config::new(room.timeline_limit, required(&room.required_state, &user_id))
        };
        let lists = self.lists.into_iter().map(|(name, list)| List {
            name,
            config: config(&list.room),
            // No ranges: the proposal's first form knew no such list. It names the rooms and counts them.
            ranges: Some(list.ranges.unwrap_or_default()),
            filter: filter(list.filters.unwrap_or_default()),
        });
        let lists = lists.collect();
        let rooms = self.room_subscriptions.iter();
        let subscriptions = rooms.map(|(id, room)| (id.clone(), config(room))).collect();
        let extensions = wire::extensions(&self.extensions)?;
        let (shape, txn_id) = (Shape::Unstable, self.txn_id);
        Ask { user, user_id, device, lists, subscriptions, extensions, shape, txn_id }.checked()
    }
}

fn required(pairs: &[(String, String)], me: &UserId) -> Required {
    let mut part = Part::default();
    for (kind, key) in pairs {
        if kind == "m.room.member" && key == "$LAZY" {
            part.lazy = true;
            continue;
        }
        let any = |text: &str| (text != "*").then(|| text.to_owned());
        let key = if key == "$ME" { Some(me.to_string()) } else { any(key) };
        part.include.push(Element { kind: any(kind), key });
    }
    Required::new(part)
}

fn filter(asked: Filters) -> Filter {
    Filter {
        is_dm: asked.is_dm,
        spaces: asked.spaces,
        is_encrypted: asked.is_encrypted,
        is_invited: asked.is_invite,
        room_types: asked.room_types,
        not_room_types: asked.not_room_types.unwrap_or_default(),
        tags: asked.tags,
        not_tags: asked.not_tags.unwrap_or_default(),
    }
}

pub(super) fn write(
    ask: &Ask,
    pos: &str,
    counts: &BTreeMap<String, u64>,
    rooms: &[Room],
    extensions: &str,
) -> String {
    let mut out = wire::begin(pos, counts);
    if let Some(txn_id) = &ask.txn_id {
        out.key("txn_id").text(txn_id);
    }
    out.key("rooms").open();
    for part in rooms {
        out.key(&part.id).open();
        wire::common(&mut out, part);
        if part.expanded {
            out.key("unstable_expanded_timeline").flag(true);
        }
        wire::field(&mut out, "name", &part.name);
        wire::field(&mut out, "avatar", &part.avatar);
        wire::array(&mut out, "timeline", part.timeline.as_ref());
        wire::array(&mut out, "required_state", part.state.as_ref());
        wire::array(&mut out, "invite_state", part.stripped.as_ref());
        if let Some((notifications, highlights)) = part.unread {
            out.key("notification_count").number(notifications);
            out.key("highlight_count").number(highlights);
        }
        out.close();
    }
    out.close().key("extensions").raw(extensions).close();
    out.finish()
}
