//! The whole database as a readable catalogue: every keyspace with its key, value, owner, and one sentence.
//!
//! A tree is a physical B-tree, chosen by access pattern; a tag separates keyspaces within it. Both are fixed on disk:
//! never change one, never reuse a dropped tag. Adding a keyspace = one constant here and a line in the golden test.

mod account;
mod appservice;
mod authority;
mod destinations;
mod encryption;
mod federation;
#[cfg(test)]
mod golden;
mod key_backup;
mod media;
mod moderation;
mod peers;
mod push;
mod room;
mod threepid;
mod timed;

pub use account::*;
pub use appservice::*;
pub use authority::*;
pub use destinations::*;
pub use encryption::*;
pub use federation::*;
pub use key_backup::*;
pub use media::*;
pub use moderation::*;
pub use peers::*;
pub use push::*;
pub use room::*;
pub use threepid::*;
pub use timed::*;

use base::Seq;
use kv::Tree;

use crate::keyspace::{Keyspace, Owned};

/// Event bodies, appended in the order of their ids.
pub(crate) const EVENT_TREE: Tree = Tree(1);
/// Indexes of a room's events by position.
pub(crate) const ORDER_TREE: Tree = Tree(2);
/// Nodes of state maps: write-once, by hash.
pub(crate) const STATE_TREE: Tree = Tree(3);
/// What a room is now.
pub(crate) const ROOM_TREE: Tree = Tree(4);
/// What belongs to users.
pub(crate) const USER_TREE: Tree = Tree(5);
/// Names to ids.
pub(crate) const NAME_TREE: Tree = Tree(6);
/// Everything else.
pub(crate) const MISC_TREE: Tree = Tree(7);

/// The next free block of ids, by kind of id (0: users, rooms and events alike).
pub static IDS: Keyspace<(u8,), u64> = Keyspace::new(MISC_TREE, 1, "ids", Owned::Each);
/// How far each follower has come in the log.
pub static CURSORS: Keyspace<(String,), Seq> = Keyspace::new(MISC_TREE, 2, "cursors", Owned::Each);
/// Small facts about this server by name, for example the first registration token.
pub static FACTS: Keyspace<(String,), String> = Keyspace::new(MISC_TREE, 3, "facts", Owned::Each);
