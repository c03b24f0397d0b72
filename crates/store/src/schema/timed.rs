//! What waits: for a device, for its time.

use base::{Seq, User};

use super::USER_TREE;
use crate::keyspace::{Keyspace, Kind, Owned};

/// Messages that wait for a device, by the log position of their arrival; the value is JSON text.
pub static INBOX: Keyspace<(User, String, Seq), String> =
    Keyspace::new(USER_TREE, 60, "inbox", Owned::First(Kind::Inbox));
