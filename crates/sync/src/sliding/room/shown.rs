//! What a room is shown as in a list: name, avatar, who stands for it, how many there are.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use base::{Reply, Room};
use serde::Deserialize;
use store::{View, event::Stored, room, state::Root};

use super::{super::ask::Shape, Scene};
use crate::heroes;

/// A field that can be told, told to be gone, or left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Field<T> {
    /// It has not changed.
    #[default]
    Same,
    /// It is not set (any more).
    Gone,
    /// It is this now.
    Is(T),
}

/// Somebody who stands for a room without a name.
#[derive(Clone, Debug, Hash)]
pub(in super::super) struct Hero {
    /// Their id.
    pub(in super::super) id: String,
    /// How they are called in the room.
    pub(in super::super) name: Option<String>,
    /// Their avatar in the room.
    pub(in super::super) avatar: Option<String>,
}

/// What a client was shown, as far as is needed to tell whether it has changed: hashes of texts, and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Shown {
    pub(super) name: u64,
    pub(super) avatar: u64,
    pub(super) heroes: u64,
    pub(super) dm: bool,
    pub(super) joined: u64,
    pub(super) invited: u64,
    pub(super) unread: (u64, u64),
}

/// How a room presents itself in a version of its state.
pub(super) struct Face {
    pub(super) name: Option<String>,
    pub(super) avatar: Option<String>,
    pub(super) heroes: Vec<Hero>,
}

/// Zero stands for what is not set.
pub(super) fn mark(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish().max(1)
}

/// A room as it is now. Heroes are found for rooms without a name. In the older shape a name and an avatar are made up
/// from them, too (spec: "Calculating the display name for a room"): clients of that shape show what they are told.
pub(super) fn face(
    scene: &Scene<'_>,
    room: Room,
    root: Root,
    (joined, invited): (u64, u64),
) -> Reply<Face> {
    let view = scene.view;
    let Face { name, avatar, .. } = face_of_state(scene, root)?;
    let named = heroes::name(view, root)?.is_some();
    let mut heroes = Vec::new();
    if !named {
        for id in heroes::whatever_its_name(view, room, scene.ask.user)? {
            let member = room::state(view, root, "m.room.member", id.as_str())?;
            heroes.extend(member.and_then(|member| hero(&member)));
        }
    }
    if scene.ask.shape == Shape::V4 {
        return Ok(Face { name, avatar, heroes });
    }
    let others = (joined + invited).saturating_sub(1);
    let name = name.or_else(|| made_up(&heroes, others));
    let avatar = match (avatar, heroes.as_slice()) {
        (None, [one]) if others == 1 => one.avatar.clone(),
        (avatar, _) => avatar,
    };
    Ok(Face { name, avatar, heroes })
}

/// What a version of the state says by itself.
pub(super) fn face_of_state(scene: &Scene<'_>, root: Root) -> Reply<Face> {
    let mut name = heroes::name(scene.view, root)?;
    if name.is_none() && scene.ask.shape == Shape::Unstable {
        name = heroes::alias(scene.view, root)?;
    }
    Ok(Face { name, avatar: avatar(scene.view, root)?, heroes: Vec::new() })
}

fn avatar(view: &View, root: Root) -> Reply<Option<String>> {
    #[derive(Deserialize)]
    struct Content {
        url: Option<String>,
    }
    let content: Option<Content> =
        room::state(view, root, "m.room.avatar", "")?.and_then(|e| e.content_as());
    Ok(content.and_then(|c| c.url).filter(|url| !url.is_empty()))
}

fn hero(member: &Stored) -> Option<Hero> {
    #[derive(Deserialize)]
    struct Content {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    let content: Option<Content> = member.content_as();
    let (name, avatar) = content.map_or((None, None), |c| (c.displayname, c.avatar_url));
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    Some(Hero { id: member.row.state_key.clone()?, name: set(name), avatar: set(avatar) })
}

fn made_up(heroes: &[Hero], others: u64) -> Option<String> {
    let names: Vec<&str> = heroes.iter().map(|h| h.name.as_deref().unwrap_or(&h.id)).collect();
    let (last, rest) = names.split_last()?;
    if others == 0 {
        return Some(format!("Empty Room (was {})", names.join(", ")));
    }
    let unnamed = others.saturating_sub(names.len() as u64);
    Some(match unnamed {
        0 if rest.is_empty() => (*last).to_owned(),
        0 => format!("{} and {last}", rest.join(", ")),
        _ => format!("{} and {unnamed} others", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_without_a_name_is_called_by_those_in_it() {
        let hero = |name: &str| Hero {
            id: format!("@{name}:x"),
            name: Some(name.to_owned()).filter(|n| n != "d"),
            avatar: None,
        };
        let heroes = [hero("a"), hero("b"), hero("d")];
        let called = |n: usize, joined| made_up(&heroes[..n], joined - 1);
        assert_eq!(called(0, 1), None);
        assert_eq!(called(1, 2).unwrap(), "a");
        assert_eq!(called(3, 4).unwrap(), "a, b and @d:x");
        assert_eq!(called(2, 9).unwrap(), "a, b and 6 others");
        assert_eq!(called(1, 1).unwrap(), "Empty Room (was a)");
    }
}
