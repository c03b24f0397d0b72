//! What those who run a server are told, and what they decide: reports, suspension and locks, server notices.

use base::{Room, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{MISC_TREE, ROOM_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// Accounts that may not do everything. No row: they may.
pub static RESTRAINTS: Keyspace<(User,), Restraint> =
    Keyspace::new(USER_TREE, 50, "restraints", Owned::First(Kind::Account));
/// The room in which a user gets the server's notices.
pub static NOTICE_ROOMS: Keyspace<(User,), Room> =
    Keyspace::new(USER_TREE, 51, "notice_rooms", Owned::Each);

/// Rooms that an application service lists under a network of its own: (network, room).
pub static NETWORK_ROOMS: Keyspace<(String, Room), ()> =
    Keyspace::new(ROOM_TREE, 50, "network_rooms", Owned::Each);

/// What users reported, by when and a number. Swept by whoever adds one.
pub static REPORTS: Keyspace<(UnixMs, u64), Report> =
    Keyspace::new(MISC_TREE, 50, "reports", Owned::Nobody);
/// Notices that are on their way to users.
pub static NOTICES: Keyspace<(u64,), Notice> = Keyspace::new(MISC_TREE, 51, "notices", Owned::Each);
/// Who sends the server's notices (under 0).
pub static NOTICE_SENDER: Keyspace<(u8,), User> =
    Keyspace::new(MISC_TREE, 52, "notice_sender", Owned::Each);

/// See [`RESTRAINTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restraint {
    /// May read, leave and log out, but not write.
    pub suspended: bool,
    /// May only log out.
    pub locked: bool,
}

/// See [`REPORTS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who reported.
    pub reporter: User,
    /// The room: the one that is reported, or the one of the event.
    pub room: Option<Room>,
    /// The id of the event that is reported.
    pub event: Option<String>,
    /// The user who is reported, or who sent the event.
    pub user: Option<User>,
    /// Why, in the reporter's words.
    pub reason: String,
}

/// See [`NOTICES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// To whom; `None`: to everyone who has an account.
    pub to: Option<User>,
    /// Whom it has reached already, if it goes to everyone: users up to and with this one.
    pub reached: Option<User>,
    /// What it says.
    pub text: String,
}

stored!(Restraint, Report, Notice);
