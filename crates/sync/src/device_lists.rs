//! Whose devices a client has to look at again, and whose no longer (spec: "End-to-End Encryption", `device_lists`).

use std::collections::BTreeSet;

use base::{Reply, Room, Seq, User};
use ruma::OwnedUserId;
use store::{View, room, schema::Standing, user};

use crate::{changes::Changes, json::Out};

/// Log entries that are read for a client that was away, which may miss no change. Behind it, everybody counts as changed.
const LOG_SCAN_MAX: usize = 65_536;
/// Members of a room without encryption that are told of when the caller comes into it, or leaves. Clients follow the
/// devices of those with whom they share an encrypted room; those of a large open one would be told for nothing.
const OPEN_ROOM_MEMBERS_MAX: u64 = 1_000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceLists {
    /// Those who changed a device or a key, or with whom a room is shared that was not.
    pub changed: Vec<OwnedUserId>,
    /// Those with whom no room is shared any more.
    pub left: Vec<OwnedUserId>,
}

impl DeviceLists {
    /// What happened since a position. For clients that ask for it by itself (`GET /keys/changes`).
    ///
    /// # Errors
    /// Faults only.
    pub fn since(view: &View, viewer: User, since: Seq) -> Reply<DeviceLists> {
        let since = since.min(view.head());
        let changes = Changes::gather(view, viewer, Some(since), LOG_SCAN_MAX)?;
        Self::read(view, viewer, since, &changes)
    }

    /// What happened since a position, for which the log may have been read already.
    pub(crate) fn of(
        view: &View,
        viewer: User,
        since: Seq,
        changes: &Changes,
    ) -> Reply<DeviceLists> {
        match changes.rooms() {
            Some(_) => Self::read(view, viewer, since, changes),
            None => Self::since(view, viewer, since),
        }
    }

    fn read(view: &View, viewer: User, since: Seq, changes: &Changes) -> Reply<DeviceLists> {
        if changes.rooms().is_some()
            && changes.devices.is_empty()
            && changes.moved.is_empty()
            && changes.signed.is_empty()
        {
            return Ok(DeviceLists::default());
        }
        let mine: BTreeSet<Room> = room::joined_rooms(view, viewer)?.iter().copied().collect();
        let shares = |other: User| -> Reply<bool> {
            Ok(other == viewer || room::joined_rooms(view, other)?.iter().any(|r| mine.contains(r)))
        };
        let (mut changed, mut left) = (changes.signed.clone(), BTreeSet::new());
        for other in &changes.devices {
            if shares(*other)? {
                changed.insert(*other);
            }
        }
        for (at, who) in &changes.moved {
            let before = was_joined(view, *at, since, *who)?;
            let now = room::is_joined(view, *at, *who)?;
            match (*who == viewer, before, now) {
                (false, false, true) => drop(changed.insert(*who)),
                (false, true, false) => drop(left.insert(*who)),
                (true, false, true) => changed.extend(members(view, *at)?),
                (true, true, false) => {
                    // Who came after the caller left is not theirs to know.
                    for member in members(view, *at)? {
                        if was_joined(view, *at, since, member)? {
                            left.insert(member);
                        }
                    }
                }
                _ => {}
            }
        }
        if changes.rooms().is_none() {
            for at in &mine {
                changed.extend(members(view, *at)?);
            }
        }
        let mut lists = DeviceLists::default();
        for who in &changed {
            lists.changed.push(user::id(view, *who)?);
        }
        for who in &left {
            if !changed.contains(who) && !shares(*who)? {
                lists.left.push(user::id(view, *who)?);
            }
        }
        Ok(lists)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }

    /// Writes the section.
    pub(crate) fn write(&self, out: &mut Out) {
        out.key("device_lists").open();
        for (name, users) in [("changed", &self.changed), ("left", &self.left)] {
            out.key(name).open_array();
            for id in users {
                out.text(id.as_str());
            }
            out.close_array();
        }
        out.close();
    }
}

fn was_joined(view: &View, at: Room, since: Seq, who: User) -> Reply<bool> {
    let root = room::state_at(view, at, since)?;
    let id = user::id(view, who)?;
    let event = room::state(view, root, "m.room.member", id.as_str())?;
    Ok(event.and_then(|event| room::standing(&event)) == Some(Standing::Join))
}

/// Those in a room; none if it is a large one without encryption.
fn members(view: &View, at: Room) -> Reply<Vec<User>> {
    let head = room::head(view, at)?;
    if head.joined > OPEN_ROOM_MEMBERS_MAX
        && room::state(view, head.state, "m.room.encryption", "")?.is_none()
    {
        return Ok(Vec::new());
    }
    let members = room::members(view, at)?.into_iter();
    Ok(members.filter(|(_, m)| m.standing == Standing::Join).map(|(user, _)| user).collect())
}

/// What a device has left for others to claim (`device_one_time_keys_count`, `device_unused_fallback_key_types`).
pub(crate) fn write_supply(view: &View, out: &mut Out, user: User, device: &str) -> Reply<()> {
    let supply = store::device_keys::supply(view, user, device)?;
    out.key("device_one_time_keys_count").open();
    for (algorithm, count) in &supply.counts {
        out.key(algorithm).number(*count);
    }
    out.close().key("device_unused_fallback_key_types").open_array();
    for algorithm in &supply.unused_fallbacks {
        out.text(algorithm);
    }
    out.close_array();
    Ok(())
}
