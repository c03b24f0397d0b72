//! Which rooms belong to a list (MSC4186, "SlidingRoomFilter").

use std::collections::BTreeSet;

use base::{Reply, Room, User};
use ruma::RoomId;
use serde::Deserialize;
use store::{
    CacheSpace, View, event, room,
    schema::Standing,
    state::{self, Part},
};

use super::index::{Row, need};

static CHILDREN: CacheSpace = CacheSpace { tag: 71, owned: None };

/// A filter. What is not set lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// In `m.direct`, or not.
    pub is_dm: Option<bool>,
    /// Children of any of these spaces.
    pub spaces: Option<Vec<String>>,
    /// Encrypted, or not.
    pub is_encrypted: Option<bool>,
    /// Invited to, or not.
    pub is_invited: Option<bool>,
    /// Of one of these types; none stands for rooms without a type.
    pub room_types: Option<Vec<Option<String>>>,
    /// Of none of these types.
    pub not_room_types: Vec<Option<String>>,
    /// With any of these tags.
    pub tags: Option<Vec<String>>,
    /// With none of these tags.
    pub not_tags: Vec<String>,
}

/// A filter with what it needs to know of spaces.
pub(super) struct Ready<'a> {
    filter: &'a Filter,
    children: Option<BTreeSet<Room>>,
}

impl Filter {
    /// What the index has to know of rooms for this filter.
    pub(super) fn needs(&self) -> u8 {
        let mut needs = 0;
        if self.is_encrypted.is_some() {
            needs |= need::ENCRYPTION;
        }
        if self.room_types.is_some() || !self.not_room_types.is_empty() {
            needs |= need::TYPE;
        }
        if self.tags.is_some() || !self.not_tags.is_empty() {
            needs |= need::TAGS;
        }
        needs
    }

    pub(super) fn ready(&self, view: &View, user: User) -> Reply<Ready<'_>> {
        let children = match &self.spaces {
            Some(spaces) => Some(children(view, user, spaces)?),
            None => None,
        };
        Ok(Ready { filter: self, children })
    }
}

impl Ready<'_> {
    pub(super) fn passes(&self, row: &Row) -> bool {
        let filter = self.filter;
        let is = |asked: Option<bool>, really: bool| asked.is_none_or(|asked| asked == really);
        let one_of = |types: &[Option<String>]| types.iter().any(|t| t.as_deref() == row.kind());
        let tagged = |tags: &[String]| tags.iter().any(|tag| row.tags().contains(tag));
        is(filter.is_dm, row.dm)
            && is(filter.is_encrypted, row.encrypted)
            && is(filter.is_invited, row.standing == Standing::Invite)
            && filter.room_types.as_deref().is_none_or(one_of)
            && !one_of(&filter.not_room_types)
            && filter.tags.as_deref().is_none_or(tagged)
            && !tagged(&filter.not_tags)
            && self.children.as_ref().is_none_or(|children| children.contains(&row.room))
    }
}

/// The rooms that these spaces name as children, as far as the user is in the spaces. Subspaces are not walked.
fn children(view: &View, user: User, spaces: &[String]) -> Reply<BTreeSet<Room>> {
    let mut found = BTreeSet::new();
    for space in spaces {
        let Ok(id) = <&RoomId>::try_from(space.as_str()) else { continue };
        let Some(space) = room::find(view, id)? else { continue };
        if room::is_joined(view, space, user)? {
            found.extend(children_of(view, space)?);
        }
    }
    Ok(found)
}

fn children_of(view: &View, space: Room) -> Reply<Vec<Room>> {
    #[derive(Deserialize)]
    struct Content {
        // An event without it takes the child away (spec: `m.space.child`).
        #[serde(default)]
        via: Option<Vec<serde::de::IgnoredAny>>,
    }
    let root = room::head(view, space)?.state;
    let ids = view.cached(&CHILDREN, root.number(), |view| {
        let mut ids: Vec<String> = Vec::new();
        for child in state::list(view, root, Part::Only("m.space.child"))? {
            let child = event::load(view, child)?;
            let content: Option<Content> = child.content_as();
            let named = content.is_some_and(|c| c.via.is_some());
            if child.row.kind == "m.space.child" && named {
                ids.extend(child.row.state_key.clone());
            }
        }
        let bytes = ids.iter().map(|id| id.len() + 24).sum();
        Ok((ids, bytes))
    })?;
    let mut rooms = Vec::with_capacity(ids.len());
    for id in ids.iter() {
        let Ok(id) = <&RoomId>::try_from(id.as_str()) else { continue };
        rooms.extend(room::find(view, id)?);
    }
    Ok(rooms)
}
