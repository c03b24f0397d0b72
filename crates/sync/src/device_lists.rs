//! Whose devices a client has to look at again, and whose no longer (spec: "End-to-End Encryption", `device_lists`).

use std::collections::BTreeSet;

use base::{Reply, Room, Seq, User};
use ruma::{OwnedUserId, UserId};
use store::{View, event, room, schema::Standing, state, user};

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
        Self::since_within(view, viewer, since, LOG_SCAN_MAX)
    }

    /// The same, for which at most so many entries of the log are read.
    ///
    /// # Errors
    /// Faults only.
    pub fn since_within(
        view: &View,
        viewer: User,
        since: Seq,
        scan_max: usize,
    ) -> Reply<DeviceLists> {
        let since = since.min(view.head());
        let changes = Changes::gather(view, viewer, Some(since), scan_max)?;
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
                // Who went before the caller came is not theirs to know.
                (false, true, false) if was_joined(view, *at, since, viewer)? => {
                    left.insert(*who);
                }
                // What changed while nothing was shared was told to nobody here.
                (false, true, true) if !stayed(view, *at, since, *who)? => {
                    changed.insert(*who);
                }
                (true, false, true) => changed.extend(members(view, *at)?),
                (true, true, true) if !stayed(view, *at, since, *who)? => {
                    changed.extend(members(view, *at)?);
                }
                (true, true, false) => left.extend(members_then(view, *at, since)?),
                _ => {}
            }
        }
        if changes.rooms().is_none() {
            for at in &mine {
                changed.extend(members(view, *at)?);
            }
            left.extend(gone(view, viewer, since)?);
        }
        // The caller has always been with themselves, and is told of what changed only.
        if changes.rooms().is_none() || changes.devices.contains(&viewer) {
            changed.insert(viewer);
        } else {
            changed.remove(&viewer);
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

/// Has somebody who is in a room been there ever since?
fn stayed(view: &View, at: Room, since: Seq, who: User) -> Reply<bool> {
    let Some(member) = room::member(view, at, who)? else { return Ok(false) };
    let began = room::stay_began(view, member.event)?;
    Ok(event::order(view, began)?.is_some_and(|began| began <= since))
}

/// Those who were in a room at a position, and may be gone themselves; none if it is a large one without encryption.
fn members_then(view: &View, at: Room, since: Seq) -> Reply<Vec<User>> {
    if is_open(view, at)? {
        return Ok(Vec::new());
    }
    let mut then = Vec::new();
    for (who, _) in room::members(view, at)? {
        // Who came after the caller left is not theirs to know.
        if was_joined(view, at, since, who)? {
            then.push(who);
        }
    }
    Ok(then)
}

/// Those who were in a room with somebody at a position, as far as one of the two is not there any more.
fn gone(view: &View, viewer: User, since: Seq) -> Reply<BTreeSet<User>> {
    let mut gone = BTreeSet::new();
    for (at, membership) in room::rooms_of(view, viewer)?.iter() {
        if !membership.was_joined || !was_joined(view, *at, since, viewer)? {
            continue;
        }
        if membership.standing != Standing::Join {
            gone.extend(members_then(view, *at, since)?);
            continue;
        }
        let (then, now) = (room::state_at(view, *at, since)?, room::head(view, *at)?.state);
        for change in state::diff(view, then, now)? {
            let Some(old) = change.before else { continue };
            let old = event::load(view, old)?;
            if !old.is_state("m.room.member") || room::standing(&old) != Some(Standing::Join) {
                continue;
            }
            let id = old.row.state_key.as_deref().and_then(|id| UserId::parse(id).ok());
            if let Some(id) = id {
                gone.extend(user::find(view, &id)?);
            }
        }
    }
    gone.remove(&viewer);
    Ok(gone)
}

/// Is a room a large one without encryption?
fn is_open(view: &View, at: Room) -> Reply<bool> {
    let head = room::head(view, at)?;
    Ok(head.joined > OPEN_ROOM_MEMBERS_MAX
        && room::state(view, head.state, "m.room.encryption", "")?.is_none())
}

/// Those in a room; none if it is a large one without encryption.
fn members(view: &View, at: Room) -> Reply<Vec<User>> {
    if is_open(view, at)? {
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
