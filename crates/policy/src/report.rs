//! Reports of rooms, events and users (spec: Client-Server API, "Reporting Content"). They are kept for whoever runs the
//! server, for a year.
//!
//! Who reports a room or a user is not told whether there is one; an event is reported by who is in its room.

use base::{Error, Reply, Room, UnixMs, User};
use ruma::{EventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use store::{
    Direction, Tx, View, event, room,
    schema::{REPORTS, Report},
    user,
};

/// Bytes of a reason: some pages of text.
const REASON_BYTES_MAX: usize = 4_096;
/// A report is about people; after this it is removed.
const KEPT_MS: u64 = 365 * 24 * 60 * 60 * 1_000;
/// Reports whose time is over that are removed when one is added: more than one, so that sweeping catches up.
const SWEEP: usize = 8;
/// Reports of a page at most.
pub const PAGE_MAX: usize = 100;

/// Reports a room. The user need not be in it; what this server does not know is passed over.
///
/// # Errors
/// 413 `M_TOO_LARGE` for a reason that is too long.
pub fn room(tx: &mut Tx, reporter: User, id: &RoomId, reason: &str) -> Reply<()> {
    check(reason)?;
    match room::find(tx, id)? {
        Some(found) => add(tx, reporter, Some(found), None, None, reason),
        None => Ok(()),
    }
}

/// Reports a user. What this server does not know is passed over.
///
/// # Errors
/// 413 `M_TOO_LARGE` for a reason that is too long.
pub fn user(tx: &mut Tx, reporter: User, id: &UserId, reason: &str) -> Reply<()> {
    check(reason)?;
    match user::find(tx, id)? {
        Some(found) => add(tx, reporter, None, None, Some(found), reason),
        None => Ok(()),
    }
}

/// Reports an event.
///
/// # Errors
/// 404 `M_NOT_FOUND` if there is no such event in the room, or the user is not joined to it; 413 `M_TOO_LARGE`.
pub fn event(
    tx: &mut Tx,
    reporter: User,
    room_id: &RoomId,
    id: &EventId,
    reason: &str,
) -> Reply<()> {
    check(reason)?;
    let none = || Error::not_found("There is no such event in a room that you are in.");
    let room = room::find(tx, room_id)?.ok_or_else(none)?;
    if !room::is_joined(tx, room, reporter)? {
        return Err(none());
    }
    let event = event::load_id(tx, id)?.filter(|event| event.row.room == room).ok_or_else(none)?;
    add(tx, reporter, Some(room), Some(id.to_string()), Some(event.row.sender), reason)
}

fn check(reason: &str) -> Reply<()> {
    match reason.len() {
        0..=REASON_BYTES_MAX => Ok(()),
        _ => Err(Error::too_large(format!("A reason may have at most {REASON_BYTES_MAX} bytes."))),
    }
}

fn add(
    tx: &mut Tx,
    reporter: User,
    room: Option<Room>,
    event: Option<String>,
    user: Option<User>,
    reason: &str,
) -> Reply<()> {
    let over = UnixMs(tx.now().0.saturating_sub(KEPT_MS));
    let old: Vec<((UnixMs, u64), Report)> =
        tx.range(&REPORTS, (UnixMs(0), 0), (over, 0), Direction::Forward, SWEEP)?;
    for (key, _) in old {
        tx.delete(&REPORTS, key);
    }
    let report = Report { reporter, room, event, user, reason: reason.to_owned() };
    let key = (tx.now(), tx.fresh()?);
    tx.put_new(&REPORTS, key, &report);
    Ok(())
}

/// A report as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Where it is in the list: what [`list`] takes for `before`.
    pub place: (UnixMs, u64),
    /// Who reported.
    pub reporter: OwnedUserId,
    /// The room: the one that is reported, or the one of the event.
    pub room: Option<OwnedRoomId>,
    /// The event that is reported.
    pub event: Option<String>,
    /// The user who is reported, or who sent the event.
    pub user: Option<OwnedUserId>,
    /// Why.
    pub reason: String,
}

/// Reports, newest first: at most `most` of those before a place in the list.
///
/// # Errors
/// Faults of the store.
pub fn list(view: &View, before: Option<(UnixMs, u64)>, most: usize) -> Reply<Vec<Listed>> {
    let to = before.unwrap_or((UnixMs(u64::MAX), u64::MAX));
    let rows: Vec<((UnixMs, u64), Report)> =
        view.range(&REPORTS, (UnixMs(0), 0), to, Direction::Backward, most.min(PAGE_MAX))?;
    let listed = rows.into_iter().map(|(place, report)| {
        Ok(Listed {
            place,
            reporter: user::id(view, report.reporter)?,
            room: report.room.map(|room| room::id(view, room)).transpose()?,
            event: report.event,
            user: report.user.map(|user| user::id(view, user)).transpose()?,
            reason: report.reason,
        })
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, refusal};

    #[test]
    fn reports_are_listed_newest_first_by_page_and_end_after_a_year() {
        let world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let id = world.id(bob);
        let report = |reason: String| {
            let id = id.clone();
            world.store.write_here(move |tx| user(tx, alice, &id, &reason))
        };
        for n in 0..5 {
            report(n.to_string()).unwrap();
        }
        let page = |before, most| {
            let listed = world.store.read_here(|view| list(view, before, most)).unwrap();
            let reasons: Vec<_> = listed.iter().map(|report| report.reason.clone()).collect();
            (reasons.join(" "), listed.last().map(|report| report.place))
        };
        let (first, place) = page(None, 2);
        assert_eq!(first, "4 3");
        assert_eq!(page(place, 10).0, "2 1 0");
        world.pass(KEPT_MS + 1_000);
        report("late".into()).unwrap();
        assert_eq!(page(None, 10).0, "late");
        let long = "x".repeat(REASON_BYTES_MAX + 1);
        assert_eq!(refusal(report(long)), Some((413, "M_TOO_LARGE")));
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let world = World::new();
        let alice = world.user("alice");
        let reported = world.store.write_here(move |tx| {
            user(tx, alice, ruma::user_id!("@nobody:x.org"), "")?;
            room(tx, alice, ruma::room_id!("!nowhere:x.org"), "")
        });
        reported.unwrap();
        let none = world.store.write_here(move |tx| {
            let (room, id) = (ruma::room_id!("!nowhere:x.org"), ruma::event_id!("$e"));
            event(tx, alice, room, id, "")
        });
        assert_eq!(refusal(none), Some((404, "M_NOT_FOUND")));
        assert_eq!(world.store.read_here(|view| list(view, None, 10)).unwrap(), []);
    }
}
